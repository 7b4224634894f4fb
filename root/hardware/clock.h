/* Time: the TSC's frequency, and the date. */
#ifndef ROOT_CLOCK_H
#define ROOT_CLOCK_H

#include <root/hardware/acpi.h>
#include <lib/call.h>

struct clock {
    uint64_t tsc_hz;
    uint64_t wall_ns, wall_tsc; /* UTC, ns since 1970, at TSC = wall_tsc */
};

/* By the PM timer, else by what the processor says, else by the RTC. BAD_ARG: none of them runs. */
uint64_t clock_init(const struct acpi *acpi, struct clock *clock) WARN_UNUSED;

/* `ms` milliseconds as TSC ticks, rounded down. After clock_init. */
uint64_t clock_ticks(uint64_t ms);
/* Sleep until the TSC reaches `until`; at once if it has. */
void clock_sleep(uint64_t until);

#endif
