/*
 * A lock between threads of the VMM. It is not fair: a thread that waits looks
 * again after a nap. A queue would hand the lock to a thread that may have no
 * time just then, and all others would wait for that (lock convoy).
 *
 * Priority inversion: a holder that is suspended keeps all others waiting. So a
 * lock is held for a short piece of work only, and the worker takes one only
 * with enough of its budget left for the piece (lib/pace.h).
 */
#ifndef VMM_LOCK_H
#define VMM_LOCK_H

#include <lib/pace.h>
#include <vmm/vmm.h>

#define NAP_SHORTEST 18 /* 1/2^18 of a second: 4 microseconds  */
#define NAP_LONGEST  14 /* 1/2^14 of a second: 61 microseconds */

struct lock {
    uint32_t taken, holder; /* holder: the vCPU whose handler it is, or NO_VCPU */
    uint32_t missed;        /* the worker found it taken, and wants its bell rung */
};

static inline bool lock_try(struct lock *l, uint32_t self)
{
    if (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE))
        return false;
    l->holder = self;
    return true;
}

/* Take the lock, as vCPU `self` or NO_VCPU. A dedicated VM's threads spin: the holder runs on
 * another core, and on an owned core no deadline would end a nap, because the timer is the guest's.
 */
static inline void lock_take(struct lock *l, uint32_t self)
{
    for (uint32_t shift = NAP_SHORTEST; !lock_try(l, self); shift -= shift > NAP_LONGEST)
        if (dedicated())
            __asm__ volatile("pause");
        else
            bell_wait(VMM_SM_NAP, tsc() + (config()->tsc_hz >> shift));
}

/* The worker's try. If it fails, the holder rings the worker's bell when it gives the lock back.

   Lost wake-up: the holder can give the lock back between the worker's first try and its note. So
   the note comes before a second try, and the holder reads the note after it has freed the lock,
   both with full ordering: either the second try succeeds, or the holder sees the note and rings.
 */
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
    if (__atomic_load_n(&l->missed, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&l->missed, 0, __ATOMIC_SEQ_CST))
        bell_ring(VMM_SM_WORK);
}

#endif
