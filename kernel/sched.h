/*
 * The scheduler of one core: fixed priorities, round robin within one, budget
 * and period. Own core only; no lock.
 */
#ifndef KERNEL_SCHED_H
#define KERNEL_SCHED_H

#include <core.h>

/* CALL_SC_CREATE. Graph lock. */
uint64_t sc_create(struct pd *self, uint64_t who, uint64_t priority, uint64_t budget, uint64_t period);

/* `ec` (of this core) becomes ready on its SC: taken from a semaphore's queue, recalled, or given an SC. */
void sched_wake(struct ec *ec);
/* A new SC that another core made: ready it. Own core. */
void sched_add(struct sc *sc);
/* The current EC stops running; its SC leaves the queue. */
void sched_block(void);
/* Choose what runs next and arm the timer. Sets current (NULL: nothing). */
void sched_pick(void);
/* Make `ec` current on the time that is running now; loads its address space. */
void sched_switch(struct ec *ec);
/* The local timer fired. */
void sched_tick(void);
/* Take what is dead (destroy.c) out of this core's queues. */
void sched_purge(void);

/* `t` fires at `deadline` (TSC, not 0). */
void timer_set(struct timer *t, uint64_t deadline);
void timer_clear(struct timer *t);
/* Set the hardware for the earliest of timers and the end of the slice. */
void sched_arm(void);

#endif
