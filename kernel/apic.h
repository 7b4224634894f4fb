/* The core's own local APIC in x2APIC mode (APM2 16.3, 16.9): timer and IPIs. */
#ifndef KERNEL_APIC_H
#define KERNEL_APIC_H

#include <core.h>

/* x2APIC on, everything masked but our timer. Own core. */
void apic_init(struct core *c);
/* How many APIC ticks a TSC tick is; once, on the boot core, interrupts off. */
void apic_calibrate(void);
/* Interrupt this core at TSC `at`, or some tenths of a second earlier (the tick then arms again); 0: never. */
void apic_set_timer(uint64_t at);
/* To another core, or this one: `what` is a vector or SEND_NMI. */
#define SEND_NMI (4u << 8)
static inline void apic_send(uint32_t apic_id, uint32_t what) { cpu_wrmsr(MSR_X2APIC_ICR, (uint64_t)apic_id << 32 | 1 << 14 | what); }
/* As after a reset, but in x2APIC mode: for a guest. Takes the interrupts that wait. Own core, on which nobody
   sends the kernel any more. */
void apic_clear(void);
/* End all that a guest left in service. Own core. */
void apic_drain(void);
/* Let all in that waits, when nobody sends any more. Own core. */
void apic_let_in(void);
/* For a guest: write `value` to LVT entry 33h..37h, made harmless (fixed or NMI, else masked), or the divider 3Eh. Own core. */
void apic_write_for_guest(uint64_t reg, uint64_t value);
/* INIT, SIPI, SIPI: start the core at physical page `page` (APM2 16.5). */
void apic_start(uint32_t apic_id, uint8_t page);
void apic_eoi(void);

#endif
