/*
 * The boot image for UEFI: one PE file, made of the stub (boot/uefi/) and a section for each file.
 */
#ifndef CLI_EFI_H
#define CLI_EFI_H

#include <cli/job.h>

#define EFI_DIGEST 32 /* bytes of a SHA-256 */

/* What a TPM's PCRs will hold, in their bank of SHA-256, once firmware has started the file: 4 and
 * 11; or 2, if it is a driver beneath a host, and no device had an option ROM. */
struct efi_expected {
    uint32_t count;
    struct {
        uint32_t number;
        uint8_t value[EFI_DIGEST];
    } pcr[2];
};

/* Write `file` from a folder that build_stage has filled; the same bytes each time. False after one
   line on stderr: then `file` is as it was. `key`, `cert`: names of PEM files to sign it with, or
   NULL. */
bool efi_write(const struct job *job, const char *folder, const char *file, const char *key,
               const char *cert, struct efi_expected *expected);

/* Tell it on stdout, a line a PCR. */
void efi_show(const struct efi_expected *expected);

/* Is `path` such a file, whole? Says nothing. */
bool efi_is_ours(const char *path);

/* A file's bytes, mapped read-only until the tool ends. */
struct efi_bytes {
    const uint8_t *at;
    uint64_t size;
};

/* Section "kernel" (boot/uefi/handover.h) of the linked kernel `path`, an ELF file with relocations
   (cli/image/efi_kernel.c), its pool by `more` frames longer. False after one line on stderr. */
bool efi_kernel(const char *path, uint32_t more, struct efi_bytes *section);

/* Have the kernel, which stands at whole pages of these `size` bytes, know that its pool is by
   `more` frames longer (cli/image/kernel_pool.c). False after one line on stderr: `path` is none.
 */
bool kernel_pool_tell(uint8_t *bytes, uint64_t size, uint32_t more, const char *path);

/* The bytes of the kernel's ELF32 file `path`, with a longer pool. False after one line on stderr.
 */
bool kernel_pool_lengthen(const char *path, uint32_t more, struct efi_bytes *longer);

/* Map a file that is not empty. False after one line on stderr. */
bool efi_map(const char *path, struct efi_bytes *bytes);

#endif
