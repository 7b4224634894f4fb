/* The local APIC in x2APIC mode: its registers are MSRs (APM2 16.3, 16.11; SDM3 10.12, table 10-6).
 */
#ifndef LIB_HW_APIC_H
#define LIB_HW_APIC_H

#define MSR_X2APIC(reg) (0x800u + (unsigned)(reg))

enum apic_register {
    APIC_ID = 0x02,
    APIC_VERSION = 0x03,
    APIC_TPR = 0x08, /* task priority */
    APIC_PPR = 0x0a, /* processor priority */
    APIC_EOI = 0x0b,
    APIC_LDR = 0x0d, /* logical destination */
    APIC_SVR = 0x0f, /* spurious interrupt vector, enable */
    APIC_ISR = 0x10, /* in service; 8 registers, and so the next two */
    APIC_TMR = 0x18, /* trigger mode */
    APIC_IRR = 0x20, /* interrupt request */
    APIC_ESR = 0x28, /* error status */
    APIC_LVT_CMCI = 0x2f,
    APIC_ICR = 0x30, /* interrupt command */
    APIC_ICR_HIGH,   /* its destination, only where there is no x2APIC mode */
    APIC_LVT_TIMER = 0x32,
    APIC_LVT_THERMAL,
    APIC_LVT_PERF,
    APIC_LVT_LINT0,
    APIC_LVT_LINT1,
    APIC_LVT_ERROR,
    APIC_TIMER_INITIAL = 0x38, /* count */
    APIC_TIMER_CURRENT,
    APIC_TIMER_DIVIDE = 0x3e,
    APIC_SELF_IPI,
    APIC_REGISTERS
};

/* Local vectors (APM2 16.4; SDM3 10.5.1). */
#define APIC_LVT_MASKED  0x10000u
#define APIC_SOFTWARE_ON 0x100u /* in the SVR */
#define APIC_DIVIDE_BY_1 0xbu
#define APIC_DIVIDE_BITS 0xbu                                        /* of the divider */
enum apic_timer_mode { APIC_ONESHOT, APIC_PERIODIC, APIC_DEADLINE }; /* bits 18, 17 */
/* Delivery modes: bits 10..8 of a local vector, of the ICR and of a message's data (APM2 16.5). */
enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6
};
#define APIC_DELIVERY(mode) ((unsigned)(mode) << 8)
#define APIC_ASSERT         0x4000u /* in the ICR: not the end of an INIT */
#define APIC_SENDING        0x1000u /* in the ICR, not in x2APIC mode: not yet taken */

#endif
