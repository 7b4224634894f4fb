/*
 * What each VM is promised of the time of the cores it runs on; docs/threat-model.md, "What a VM gets".
 */
#ifndef CLI_PROMISE_H
#define CLI_PROMISE_H

#include <cli/job.h>

/* Parts of core `core`, in [0, 1], that all vCPUs of VM `vm` together are promised there. */
double promise_of(const struct job *job, uint32_t vm, uint32_t core);

/* A line for each VM on stdout. */
void promise_print(const struct job *job);

#endif
