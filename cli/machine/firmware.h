/*
 * UEFI firmware of the emulated machine: OVMF with Secure Boot on, which trusts a key made for this
 * run alone, a TPM beside it (swtpm), and the boot image, signed, on a disk. Beneath a host (`mode:
 * host`) with Secure Boot off, and the image as a driver.
 */
#ifndef CLI_FIRMWARE_H
#define CLI_FIRMWARE_H

#include <cli/job.h>

#include <sys/types.h>

/* Make all that in a folder that build_stage has filled, and start the TPM, which ends with QEMU.
   Its process; 0 after one line on stderr. */
pid_t firmware_start(const struct job *job, const char *folder);

/* QEMU's words for it, ended by NULL. */
const char *const *firmware_arguments(const struct job *job, const char *folder);

#endif
