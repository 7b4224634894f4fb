/*
 * A lock between threads of the VMM. It is nobody's while it is free: a thread
 * that waits may itself wait for time, so none is handed the lock; it looks
 * again after a nap. Whoever has a lock does so for a short piece of work, and
 * the worker never with so little of its budget left that it would be
 * suspended with it (lib/pace.h).
 */
#ifndef VMM_LOCK_H
#define VMM_LOCK_H

#include <lib/pace.h>
#include <vmm/vmm.h>

#define NAP_SHORTEST 18 /* of a second, 1/2^18: 4 microseconds, */
#define NAP_LONGEST  14 /* to 61 */

struct lock {
    uint32_t taken, holder; /* holder: the vCPU whose handler it is, or NO_VCPU */
    uint32_t missed;        /* the worker could not have it */
};

static inline bool lock_try(struct lock *l, uint32_t self)
{
    if (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE))
        return false;
    l->holder = self;
    return true;
}

/* The other side of a dedicated VM's is on another core, and no deadline comes on a core of one's own: it spins there. */
static inline void lock_take(struct lock *l, uint32_t self)
{
    for (uint32_t shift = NAP_SHORTEST; !lock_try(l, self); shift -= shift > NAP_LONGEST)
        if (dedicated())
            __asm__ volatile("pause");
        else
            sm_down(VMM_SM_NAP, tsc() + (config()->tsc_hz >> shift));
}

/* The worker's try: if it fails, whoever has the lock rings the worker's bell when he gives it back. The note comes
   before the second try, and the giver looks for it after he has given the lock back: one of the two sees the other. */
static inline bool lock_try_or_note(struct lock *l)
{
    if (lock_try(l, NO_VCPU))
        return true;
    __atomic_store_n(&l->missed, 1, __ATOMIC_SEQ_CST);
    return lock_try(l, NO_VCPU);
}

static inline void lock_give(struct lock *l)
{
    __atomic_store_n(&l->taken, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&l->missed, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&l->missed, 0, __ATOMIC_SEQ_CST))
        sm_up(VMM_SM_WORK);
}

#endif
