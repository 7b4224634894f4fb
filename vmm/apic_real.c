/*
 * The local APIC of a dedicated vCPU is its core's own; what the guest does with
 * it does not exit, but for little that comes here until the VMM leaves: start-up
 * of other vCPUs, local vectors, and the timer's speed.
 *
 * The timer's current count is answered from the TSC, for those who calibrate
 * the timer by it: as if counting since the last write of the divider or of the
 * initial count, whichever of them the kernel lets us see.
 */
#include <vmm/apic.h>

#define LVT_KEPT 0x107ffu
#define LVT_MODE 0x700u

/* What could upset the core becomes masked: SMI, INIT, ExtINT, a vector that is none. */
static uint32_t harmless(uint32_t lvt)
{
    uint32_t mode = (lvt & LVT_MODE) >> 8;
    bool good = mode == DELIVER_NMI || (mode == DELIVER_FIXED && ((lvt & 0xff) >= 16 || lvt & LVT_MASKED));
    return good ? lvt & LVT_KEPT : LVT_MASKED;
}

/* Have the kernel write the real register. */
static void pass(struct utcb *u, uint32_t reg, uint32_t value)
{
    u->exit.apic_reg = reg;
    u->exit.apic_value = value;
    u->mtd |= MTD_APIC;
}

static void count_from(struct vcpu *v, uint32_t initial)
{
    v->reg[REG_INITIAL] = initial;
    v->count_start = tsc();
}

bool apic_real_read(const struct vcpu *v, uint32_t reg, uint64_t *value)
{
    uint64_t initial = v->reg[REG_INITIAL];
    uint64_t gone = scale(tsc() - v->count_start, config()->apic_per_tsc) >> timer_shift(v->reg[REG_DIVIDE]);
    *value = gone < initial ? initial - gone : 0;
    return reg == REG_CURRENT;
}

bool apic_real_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    switch (reg) {
    case REG_ICR: return ((word >> 8 & 7) == DELIVER_INIT || (word >> 8 & 7) == DELIVER_SIPI) && apic_icr(v, value);
    case REG_LVT + 1 ... REG_LVT + LVT_ENTRIES - 1: pass(u, reg, harmless(word)); return true;
    case REG_INITIAL:
        count_from(v, word);
        pass(u, reg, word);
        return true;
    case REG_DIVIDE:
        v->reg[REG_DIVIDE] = word & 0xb;
        count_from(v, ~0u);
        pass(u, reg, word & 0xb);
        return true;
    default: return false;
    }
}
