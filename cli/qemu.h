/*
 * The command line of QEMU for a job.
 */
#ifndef CLI_QEMU_H
#define CLI_QEMU_H

#include <cli/job.h>

#define QEMU_ARGS 256

/* QEMU's program: $HAIRLINE_QEMU or the usual one. */
const char *qemu_program(void);

/* All of its arguments for the files in `folder`: the tool's own, then `args` (both lists end with NULL); false
   after one line on stderr. */
bool qemu_arguments(const char *folder, const struct job *job, char *const args[], const char *argv[QEMU_ARGS]);

#endif
