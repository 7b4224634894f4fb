/* Counting semaphores. Each has a lock of its own: they are upped from any core. */
#ifndef KERNEL_SM_H
#define KERNEL_SM_H

#include <object.h>

/* The calls; see docs/abi.md. sm_create: graph lock. */
uint64_t sm_create(struct pd *self, uint64_t who, uint64_t count);
uint64_t sm_up(struct pd *self, uint64_t slot);
uint64_t sm_down(struct ec *self, uint64_t slot, uint64_t deadline);

/* The deadline of `ec`'s sm_down() passed. Own core. */
void sm_timeout(struct ec *ec);
/* Take `ec` out of the queue it is in, if any; true: it was in one. */
bool sm_leave(struct ec *ec);
/* Wake all who wait: the semaphore is going away. Graph lock. */
void sm_abort(struct sm *sm);

#endif
