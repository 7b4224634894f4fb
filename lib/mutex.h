/*
 * A mutex between threads of one domain: a counter of holder and waiters, and
 * a semaphore to wait on. No system call without contention.
 */
#ifndef LIB_MUTEX_H
#define LIB_MUTEX_H

#include <lib/call.h>

struct mutex {
    volatile uint32_t word; /* threads that hold it or wait for it, 0 at first */
    uint32_t sm;            /* slot of a semaphore created with count 0        */
};

static inline void mutex_lock(struct mutex *m)
{
    if (__atomic_fetch_add(&m->word, 1, __ATOMIC_ACQUIRE) != 0)
        sm_down(m->sm, 0);
}

static inline void mutex_unlock(struct mutex *m)
{
    if (__atomic_fetch_sub(&m->word, 1, __ATOMIC_RELEASE) != 1)
        sm_up(m->sm);
}

#endif
