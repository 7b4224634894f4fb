/*
 * QEMU, an emulated machine with AMD's SVM, with the job's files and its
 * console on two pipes.
 */
#ifndef CLI_QEMU_H
#define CLI_QEMU_H

#include <cli/job.h>
#include <cli/machine/machine.h>

/* Prepare the folder and start QEMU with `args` (ended by NULL) after its own arguments; false
   after one line on stderr. */
bool qemu_start(struct machine *machine, const struct job *job, char *const args[]);

#endif
