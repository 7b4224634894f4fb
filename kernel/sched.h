/*
 * The scheduler of one core: fixed priorities, round robin within one, budget
 * and period. Own core only; no lock.
 */
#ifndef KERNEL_SCHED_H
#define KERNEL_SCHED_H

#include <core.h>

/* `ec` (of this core) becomes ready on its SC: taken from a semaphore's queue, recalled, or given
 * an SC. */
void sched_wake(struct ec *ec);
/* The same for an EC of any core, which its own core readies. Any core. */
void sched_wake_anywhere(struct ec *ec);
/* Make an SC ready, or if its budget is used up, have its timer do so. Own core. */
void sched_add(struct sc *sc);
/* The current EC stops running; its SC leaves the queue. */
void sched_block(void);
/* Choose what runs next and arm the timer. Sets current (NULL: nothing). */
void sched_pick(void);
/* Make `ec` current on the time that is running now; loads its address space. */
void sched_switch(struct ec *ec);
/* The local timer fired. */
void sched_tick(void);
/* Take what is dead (pd_destroy.c) out of this core's queues. */
void sched_purge(void);

/* `t` fires at `deadline` (TSC, not 0). */
void sched_timer_set(struct timer *t, uint64_t deadline);
void sched_timer_clear(struct timer *t);
/* Set the hardware for the earliest of timers and the end of the slice. */
void sched_arm(void);

#endif
