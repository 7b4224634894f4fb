/* The processor of a VMM's unit tests, of either vendor: in lib/hw/cpuid.h's place (-include). */
#ifndef LIB_HW_CPUID_H
#define LIB_HW_CPUID_H

#include <lib/hw/cpu.h>

#define cpu_cpuid fake_cpuid
struct cpuid fake_cpuid(uint32_t leaf, uint32_t subleaf);

#endif
