/* Registers of the local APIC, by MSR - 800h (SDM3 table 10-6), for both of its files. */
#ifndef VMM_APIC_H
#define VMM_APIC_H

#include <vmm/vcpu.h>

enum reg {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_LVT = 0x32,
    REG_INITIAL = 0x38,
    REG_CURRENT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF = 0x3f
};
#define LVT_ENTRIES 6u
#define LVT_MASKED  0x10000u
enum delivery { DELIVER_FIXED = 0, DELIVER_LOWEST = 1, DELIVER_NMI = 4, DELIVER_INIT = 5, DELIVER_SIPI = 6 };

/* value * factor, which is 32.32 fixed point. */
static inline uint64_t scale(uint64_t value, uint64_t factor) { return (uint64_t)(((unsigned __int128)value * factor) >> 32); }

/* log2 of the timer's divider: the register's bits 3, 1, 0 code 2, 4, .. 128, 1. */
static inline uint32_t timer_shift(uint32_t divide) { return (((divide >> 1 & 4) | (divide & 3)) + 1) & 7; }

#endif
