/*
 * On a core of its own: an interrupt every 8,192 ticks. An emulator that runs
 * its cores in turn lets none run past the next timer, so that what one core
 * measures in ticks is not what another does meanwhile.
 */
#include <guest/bare/bare.h>

#define TICK     0x71u
#define EVERY    8192u
#define PERIODIC (1u << 17)

void guest_main(void)
{
    guest_apic_enable();
    guest_handler[TICK] = guest_eoi;
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), PERIODIC | TICK);
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), EVERY);
    guest_print("metronome: at work\n");
    for (;;)
        wait_interrupt();
}
