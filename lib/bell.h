/*
 * Bells: semaphores that tell a thread to look again. Lost wake-up: a semaphore counts, so a ring
 * between a thread's look and its sleep ends that sleep at once. Nobody needs the status of a ring
 * or a wait, because a thread looks at what it shares with others before each sleep and after it.
 */
#ifndef LIB_BELL_H
#define LIB_BELL_H

#include <lib/call.h>

/* Ring the bell in slot `bell`. It fails only where no semaphore is there: then nobody waits. */
static inline void bell_ring(uint64_t bell) { ignore(sm_up(bell)); }

/* Sleep until the bell rings, or until the TSC is `deadline`; 0: without limit. It may end early:
 * the caller looks, and waits again. */
static inline void bell_wait(uint64_t bell, uint64_t deadline) { ignore(sm_down(bell, deadline)); }

/* Sleep likewise, until the bell in `bell` rings, and take what rings have piled up there,
   BELL_RINGS at most: all ask for the same look. There can be some only where the sleep was none:
   shorter than 1/2^BELL_MOMENT of a second, which has `tsc_hz` ticks. */
#define BELL_RINGS  64u
#define BELL_MOMENT 20
static inline void bell_wait_all(uint64_t bell, uint64_t deadline, uint64_t tsc_hz)
{
    uint64_t before = tsc(), moment = tsc_hz >> BELL_MOMENT;
    bell_wait(bell, deadline);
    for (uint32_t i = 0; i < BELL_RINGS && tsc() - before < moment; i++)
        if (sm_down(bell, 1) != OK)
            break;
}

#endif
