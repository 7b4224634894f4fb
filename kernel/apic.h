/* The core's own local APIC (APM2 16): timer and IPIs. x2APIC mode where the processor has it. */
#ifndef KERNEL_APIC_H
#define KERNEL_APIC_H

#include <core.h>
#include <lib/hw/apic.h>

/* Are APICs in x2APIC mode? Else their IDs have 8 bits, and no guest can have one, for the page of
   registers has the ICR in it. */
extern bool apic_x2;
/* On, everything masked but our timer. Own core. */
void apic_init(struct core *c);
/* It stays as the installed system has it, in x2APIC mode. Own core. */
void apic_adopt(struct core *c);
/* How many APIC ticks a TSC tick is; once, on the boot core, interrupts off. */
void apic_calibrate(void);
/* Interrupt this core at TSC `at`, or some tenths of a second earlier (the tick then arms again);
 * 0: never. */
void apic_set_timer(uint64_t at);
/* To another core, or this one: `what` is a vector, SEND_NMI, SEND_INIT, or SEND_STARTUP with the
   physical page where that core begins (APM2 16.5). The fence: a write to an x2APIC
   register waits for no store before it (SDM3 10.12.3); the other core would not see what it is
   called for. */
#define SEND_NMI     APIC_DELIVERY(APIC_NMI)
#define SEND_INIT    APIC_DELIVERY(APIC_INIT)
#define SEND_STARTUP APIC_DELIVERY(APIC_STARTUP)
void apic_send(uint32_t apic_id, uint32_t what);
/* As after a reset, but in x2APIC mode: for a guest. Takes the interrupts that wait. Own core, on
   which nobody sends the kernel any more. */
void apic_clear(void);
/* End all that a guest left in service. Own core. */
void apic_drain(void);
/* Let all in that waits, when nobody sends any more. Own core. */
void apic_let_in(void);
/* What a guest does itself with an MSR, or a register of the APIC. */
enum { READ = 1, WRITE = 2 };
/* Of a guest with a core of its own, with register `reg` of the APIC: READ, WRITE; while it has a
   VMM, and without one. */
unsigned apic_passed(uint32_t reg, bool disengaged);
/* For a guest: write `value` to LVT entry 33h..37h, made harmless (fixed or NMI, else masked), or
 * the divider 3Eh. Own core. */
void apic_write_for_guest(uint64_t reg, uint64_t value);
void apic_eoi(void);

#endif
