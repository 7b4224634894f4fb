/*
 * A dedicated guest's word that its VMM can go (docs/abi.md section 11).
 */
#include "bare.h"

#include <abi/vm.h>

#define SIGNATURE 0x72696148u /* "Hair" */

/* The leaf is the VMM's: where it is gone, so is the VMM. */
static bool has_vmm(void) { return cpuid(CPUID_HAIRLINE).ebx == SIGNATURE; }

void guest_leave(void)
{
    out8(PORT_MODE, 1);
    while (has_vmm())
        __asm__ volatile("pause");
}
