/* Counting semaphores. Each has a lock of its own: they are upped from any core. */
#ifndef KERNEL_SM_H
#define KERNEL_SM_H

#include <object.h>

/* The calls; see docs/abi.md. */
/* Needs PD_CREATE to the payer. Graph lock. */
uint64_t sm_create(struct pd *self, uint64_t who, uint64_t count);
/* Needs SM_UP. Wakes the first waiter, on its own core, or counts. Any core; takes the semaphore's
 * lock only. */
uint64_t sm_up(struct pd *self, uint64_t slot);
/* Needs SM_DOWN. Counts down, or blocks the caller `self`, which is current on this core. Takes the
 * semaphore's lock only. */
uint64_t sm_down(struct ec *self, uint64_t slot, uint64_t deadline);

/* The deadline of `ec`'s sm_down() passed. Own core. */
void sm_timeout(struct ec *ec);
/* Take `ec` out of the queue it is in, if any; true: it was in one. */
bool sm_leave(struct ec *ec);
/* Wake all who wait: the semaphore is going away. Graph lock. */
void sm_abort(struct sm *sm);

#endif
