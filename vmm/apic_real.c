/*
 * The local APIC of a dedicated vCPU is its core's own; what the guest does with
 * it does not exit, but for little that comes here until the VMM leaves: start-up
 * of other vCPUs, local vectors, and the timer's speed.
 *
 * The timer's current count is answered from the TSC, for those who calibrate
 * the timer by it: as if counting down from the top since the last write of the
 * divider, for the kernel does not let us see those of the initial count.
 */
#include <vmm/apic.h>

/* Have the kernel write the real register; it lets through only what cannot upset the core. */
static void pass(struct utcb *u, uint32_t reg, uint32_t value)
{
    u->exit.apic_reg = reg;
    u->exit.apic_value = value;
    u->mtd |= MTD_APIC;
}

bool apic_real_read(const struct vcpu *v, uint32_t reg, uint64_t *value)
{
    uint64_t gone = scale(tsc() - v->count_start, config()->apic_per_tsc) >> timer_shift(v->reg[REG_DIVIDE]);
    *value = gone < ~0u ? ~0u - gone : 0;
    return reg == REG_CURRENT;
}

bool apic_real_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    switch (reg) {
    case REG_ICR: return ((word >> 8 & 7) == DELIVER_INIT || (word >> 8 & 7) == DELIVER_SIPI) && apic_icr(v, value);
    case REG_LVT + 1 ... REG_LVT + LVT_ENTRIES - 1: pass(u, reg, word); return true;
    case REG_DIVIDE:
        v->reg[REG_DIVIDE] = word & 0xb;
        v->count_start = tsc();
        pass(u, reg, word);
        return true;
    default: return false;
    }
}
