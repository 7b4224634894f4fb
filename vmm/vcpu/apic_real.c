/*
 * The local APIC of a dedicated vCPU is its core's own: the guest's accesses do
 * not exit. Exceptions, until the VMM leaves: INIT and SIPI to other vCPUs, local
 * vectors, and the timer's divider and current count.
 *
 * The current count is computed from the TSC, for guests that calibrate the timer
 * by it. It counts down from the top since the last write of the divider: writes
 * of the initial count do not exit, so they are not seen here.
 */
#include <vmm/vcpu/apic.h>

/* Have the kernel write the real register with this reply, by the MTD_APIC group: it lets through
 * only what cannot harm the core (kernel/apic.c). */
static void apic_real_pass(struct utcb *u, uint32_t reg, uint32_t value)
{
    u->exit.apic_reg = reg;
    u->exit.apic_value = value;
    u->mtd |= MTD_APIC;
}

bool apic_real_read(const struct vcpu *v, uint32_t reg, uint64_t *value)
{
    uint64_t gone = scale(tsc() - v->count_start, config()->apic_per_tsc) >>
                    timer_shift(v->reg[APIC_TIMER_DIVIDE]);
    *value = gone < ~0u ? ~0u - gone : 0;
    return reg == APIC_TIMER_CURRENT;
}

bool apic_real_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    switch (reg) {
    case APIC_ICR:
        return ((word >> 8 & 7) == APIC_INIT || (word >> 8 & 7) == APIC_STARTUP) &&
               apic_icr(v, value);
    case APIC_LVT_TIMER + 1 ... APIC_LVT_TIMER + LVT_ENTRIES - 1:
        apic_real_pass(u, reg, word);
        return true;
    case APIC_TIMER_DIVIDE:
        v->reg[APIC_TIMER_DIVIDE] = word & APIC_DIVIDE_BITS;
        v->count_start = tsc();
        apic_real_pass(u, reg, word);
        return true;
    default: return false;
    }
}

void apic_real_leave(struct vcpu *v, struct utcb *u)
{
    uint32_t vector = apic_next(v);
    if (vector && !(u->mtd & MTD_APIC)) {
        __atomic_fetch_and(&v->irr[vector >> 6], ~(1ull << (vector & 63)), __ATOMIC_RELAXED);
        apic_real_pass(u, APIC_SELF_IPI, vector);
    }
    if (apic_next(v))
        ignore(ec_recall(VMM_VCPU + v->id)); /* cannot fail: it is there, this is its handler */
}
