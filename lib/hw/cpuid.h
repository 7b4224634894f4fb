/* The CPUID instruction (APM3; SDM2). */
#ifndef LIB_HW_CPUID_H
#define LIB_HW_CPUID_H

#include <lib/hw/cpu.h>

static inline struct cpuid cpu_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "0"(leaf), "2"(subleaf));
    return r;
}

#endif
