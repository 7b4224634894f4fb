/* Random words of the processor's own (RDRAND: APM3; SDM1 7.3.17). */
#ifndef LIB_HW_RANDOM_H
#define LIB_HW_RANDOM_H

#include <lib/hw/cpuid.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool cpu_has_random(void) { return cpu_cpuid(1, 0).ecx >> 30 & 1; }

/* False: it has none ready, and `*word` is nothing. */
static inline bool cpu_random(uint64_t *word)
{
    bool ready;
    __asm__ volatile("rdrand %0" : "=r"(*word), "=@ccc"(ready));
    return ready;
}

#endif
