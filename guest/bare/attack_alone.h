/*
 * What a dedicated guest does to the little that is left of its hypervisor
 * once its VMM has gone. attack_alone.c has the table of its acts.
 */
#ifndef GUEST_ATTACK_ALONE_H
#define GUEST_ATTACK_ALONE_H

#include "bare.h"

#define EXCEPTION_DB  1
#define EXCEPTION_NMI 2
#define EXCEPTION_UD  6
#define EXCEPTION_GP  13

/* There is no console any more: the way it ends tells. This one is a triple fault, with RIP in the
 * act itself. */
static inline __attribute__((always_inline)) void expect(bool good)
{
    static const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } nothing;
    if (!good)
        __asm__ volatile("lidt %0; int3" : : "m"(nothing) : "memory");
}

/* Writes the ICR, and a little later returns: without that two cores at it keep all others of the
 * emulator waiting. */
static inline __attribute__((always_inline)) void send_icr(uint64_t icr)
{
    wrmsr(MSR_X2APIC(APIC_ICR), icr);
    for (uint64_t end = rdtsc() + 50000; rdtsc() < end;)
        __asm__ volatile("pause");
}

/* Interrupts and exceptions that came, by vector. */
extern volatile uint64_t taken[256];

/* attack_alone_icr.c: `passes` times every value of the ICR that could reach somebody else; first
 * of them with the VMM. */
void icr_engaged(uint64_t passes, uint64_t unused);
void act_icr(uint64_t passes, uint64_t unused);

#endif
