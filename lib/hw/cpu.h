/* Values of the processor that more than one room knows. */
#ifndef LIB_HW_CPU_H
#define LIB_HW_CPU_H

#include <stdint.h>

#define PAT_RESET 0x0007040600070406ull /* APM2 7.8.2; SDM3 11.12.4 */

#define CPUID_INTEL 0x6c65746eu /* leaf 0, ecx: "ntel" */

#define CPUID_ADDRESSES 0x80000008u /* leaf; eax bits 7..0: those of a physical address */

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

#endif
