/*
 * A dedicated guest's word that its VMM can go (docs/abi.md section 11). It
 * sleeps until then, for others need the emulator's time.
 */
#include "bare.h"

#include <abi/vm.h>

#define SIGNATURE 0x72696148u /* "Hair" */
#define WAKE      0x70
#define NAP       5000000u /* timer ticks */
#define MASKED    0x10000u

/* The leaf is the VMM's: where it is gone, so is the VMM. */
static bool has_vmm(void) { return cpuid(CPUID_HAIRLINE).ebx == SIGNATURE; }

void guest_leave(void)
{
    void (*kept)(struct frame *) = guest_handler[WAKE];
    guest_handler[WAKE] = guest_eoi;
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), WAKE);
    out8(PORT_MODE, 1);
    while (has_vmm()) {
        wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), NAP);
        wait_interrupt();
    }
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), 0);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), MASKED);
    __asm__ volatile("sti; nop; cli" : : : "memory"); /* one that came meanwhile */
    guest_handler[WAKE] = kept;
}
