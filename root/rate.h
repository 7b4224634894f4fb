/* The TSC's frequency by the ACPI PM timer, on a machine where anything may come between two instructions. */
#ifndef ROOT_RATE_H
#define ROOT_RATE_H

#include <stdint.h>

struct rate_source {
    uint32_t (*timer)(void); /* counts PM_TIMER_HZ ticks a second, 24 bits or more */
    uint64_t (*tsc)(void);
};

#define PM_TIMER_HZ 3579545ull /* ACPI 6.5 4.8.2.1 */

/* Hz; 0: the timer stands still. Takes about 150 ms. */
uint64_t rate_measure(const struct rate_source *source);

#endif
