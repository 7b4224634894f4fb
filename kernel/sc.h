/* Scheduling contexts: time of a core, with a priority. */
#ifndef KERNEL_SC_H
#define KERNEL_SC_H

#include <object.h>

/* CALL_SC_CREATE; see docs/abi.md. Needs SYS_TIME, and EC_BIND to the EC. With SC_WHOLE_CORE also
   SYS_CORE: the vCPU gets its core, on which nothing may have time, until it dies. `budget`,
   `period`: TSC ticks. Graph lock. */
uint64_t sc_create(struct pd *self, uint64_t who, uint64_t priority, uint64_t budget,
                   uint64_t period);

#endif
