/* What both files of the local APIC need. */
#ifndef VMM_APIC_H
#define VMM_APIC_H

#include <vmm/vcpu/vcpu.h>
#include <lib/hw/apic.h>

/* Timer, thermal sensor, counters, LINT0, LINT1, error. */
#define LVT_ENTRIES 6u

/* value * factor, which is 32.32 fixed point. */
static inline uint64_t scale(uint64_t value, uint64_t factor)
{
    return (uint64_t)(((unsigned __int128)value * factor) >> 32);
}

/* log2 of the timer's divider: the register's bits 3, 1, 0 code 2, 4, .. 128, 1. */
static inline uint32_t timer_shift(uint32_t divide)
{
    return (((divide >> 1 & 4) | (divide & 3)) + 1) & 7;
}

/* The most urgent vector in its IRR; 0: none. */
uint32_t apic_next(const struct vcpu *v);
/* Last in an exit of a dedicated vCPU: its core's own APIC gets a waiting vector, as an IPI to
   itself, and does all the rest. A reply carries one. If it carries something else already, or more
   vectors wait, the vCPU is recalled. */
void apic_real_leave(struct vcpu *v, struct utcb *u);

#endif
