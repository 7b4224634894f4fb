/* The TSC's frequency by another clock, on a machine where anything may come between two
 * instructions. */
#ifndef ROOT_RATE_H
#define ROOT_RATE_H

#include <stdint.h>

struct rate_source {
    uint32_t (*timer)(void);
    uint64_t (*tsc)(void);
};

#define PM_TIMER_HZ 3579545ull /* ACPI 6.5 4.8.2.1 */

/* Hz; 0: the timer stands still. Takes about 150 ms. The timer counts PM_TIMER_HZ ticks a second,
 * in 24 bits or more. */
uint64_t rate_measure(const struct rate_source *source);
/* The same by a clock of seconds, 0..59. Takes up to 4 s. */
uint64_t rate_measure_seconds(const struct rate_source *source);

#endif
