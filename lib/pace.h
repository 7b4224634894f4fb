/*
 * How a thread with a budget keeps clear of its end: it works in short steps
 * and rests after each for as long as leaves it three quarters of its budget.
 * So it is never suspended in the middle of a step, and others of its core and
 * priority below get their time between two steps, not after all of them.
 */
#ifndef LIB_PACE_H
#define LIB_PACE_H

#include <lib/call.h>

#define PACE_STEP 15 /* of a second, 1/2^15: 31 microseconds of work */
#define PACE_COST 17 /* 1/2^17: 8 microseconds for a sleep and a wake-up, more than both take and the kernel charges */

struct pace {
    uint64_t tsc_hz, budget, period; /* ticks */
    uint64_t start, until;           /* of the step; of the rest */
};

/* A step begins: the TSC at which it should be over. */
static inline uint64_t pace_begin(struct pace *p)
{
    p->start = tsc();
    return p->start + (p->tsc_hz >> PACE_STEP);
}

/* The step is over. One that took far longer was interrupted by others: that time was not this thread's. */
static inline void pace_end(struct pace *p)
{
    uint64_t used = tsc() - p->start, most = 4 * (p->tsc_hz >> PACE_STEP);
    used = (used < most ? used : most) + (p->tsc_hz >> PACE_COST);
    p->until = p->start + used * p->period / (p->budget - p->budget / 4);
}

/* Rest until the next step may begin. `sm`: a semaphore that nobody ups. */
static inline void pace_rest(const struct pace *p, uint64_t sm)
{
    if (tsc() < p->until)
        sm_down(sm, p->until);
}

#endif
