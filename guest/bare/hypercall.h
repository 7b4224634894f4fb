/* A guest's hypercalls are written as VMMCALL, AMD's; VMCALL, Intel's, is as long. Each is #UD on
   the other's processor. */
#ifndef GUEST_HYPERCALL_H
#define GUEST_HYPERCALL_H

#include <lib/hw/cpuid.h>
#include <stdint.h>

/* Those in [code, end) become what the processor here has. */
static inline void guest_fit_hypercalls(volatile uint8_t *code, const volatile uint8_t *end)
{
    if (cpu_cpuid(0, 0).ecx != CPUID_INTEL)
        return;
    for (; code + 2 < end; code++)
        if (code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xd9)
            code[2] = 0xc1;
}

#endif
