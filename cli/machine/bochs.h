/*
 * Bochs, an emulated machine with Intel's VMX: no IOMMU, no devices of its
 * own for VMs, and slow. It boots a disc with the job's files.
 */
#ifndef CLI_BOCHS_H
#define CLI_BOCHS_H

#include <cli/job.h>
#include <cli/machine/machine.h>

/* Has that machine all that the job asks of it? False after one line on stderr. */
bool bochs_takes(const struct job *job);

/* Make the disc and start Bochs with `args` (ended by NULL), options of its own, after the tool's;
   false after one line on stderr. `silent`: nobody types. */
bool bochs_start(struct machine *machine, const struct job *job, char *const args[], bool silent);

#endif
