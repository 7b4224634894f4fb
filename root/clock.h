/* Time: the TSC's frequency, and the date. */
#ifndef ROOT_CLOCK_H
#define ROOT_CLOCK_H

#include <root/acpi.h>

struct clock {
    uint64_t tsc_hz;
    uint64_t wall_ns, wall_tsc; /* UTC, ns since 1970, at TSC = wall_tsc */
};

/* False: the machine has no PM timer that runs. */
bool clock_init(const struct acpi *acpi, struct clock *clock);

/* Milliseconds as TSC ticks. */
uint64_t clock_ticks(uint64_t ms);
/* Sleep until the TSC reaches `until`. */
void clock_sleep(uint64_t until);

#endif
