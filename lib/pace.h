/*
 * Pacing of a thread that has a budget a period: it works in short steps, and
 * rests between them so long that it spends three quarters of the budget at most.
 * A rest costs more than a short step, so it is put off until what is owed is
 * worth a whole step.
 * Priority inversion: a thread whose budget ends in the middle of a step is
 * suspended with whatever lock it holds; this one is not. And threads of lower
 * priority on its core run between two steps, not after all of them.
 */
#ifndef LIB_PACE_H
#define LIB_PACE_H

#include <lib/bell.h>

#define PACE_STEP 15 /* 1/2^15 of a second: 31 microseconds of work */
#define PACE_COST                                                                                  \
    17 /* 1/2^17 of a second: 8 microseconds, more than a sleep and a wake-up take and the kernel  \
          charges for them */

struct pace {
    uint64_t tsc_hz, budget, period; /* ticks */
    uint64_t start, until;           /* of the step; of the rest */
};

/* Ticks of which `used` are three quarters of the budget. */
static inline uint64_t pace_share(const struct pace *p, uint64_t used)
{
    return used * p->period / (p->budget - p->budget / 4);
}

/* A step begins. The TSC at which it should be over. */
static inline uint64_t pace_begin(struct pace *p)
{
    p->start = tsc();
    return p->start + (p->tsc_hz >> PACE_STEP);
}

/* The step is over: note until when to rest. A step that took more than four times as long was
 * preempted, and that time was not charged to this thread. */
static inline void pace_end(struct pace *p)
{
    uint64_t used = tsc() - p->start, most = 4 * (p->tsc_hz >> PACE_STEP);
    used = (used < most ? used : most) + (p->tsc_hz >> PACE_COST);
    p->until = (p->until > p->start ? p->until : p->start) + pace_share(p, used);
}

/* Rest until the next step may begin, if a step's rest or more is owed. `sm`: a semaphore that
   nobody ups. */
static inline void pace_rest(const struct pace *p, uint64_t sm)
{
    if (tsc() + pace_share(p, p->tsc_hz >> PACE_STEP) < p->until)
        bell_wait(sm, p->until);
}

#endif
