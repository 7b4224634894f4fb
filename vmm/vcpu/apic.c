/*
 * The local APIC of each vCPU, reached by MSRs only (x2APIC, SDM3 10.12).
 *
 * An interrupt is posted into the target's IRR by whoever has it. The target's
 * handler moves the most urgent one from there to the hardware, which delivers
 * it when the guest can take it (V_IRQ, APM2 15.21.4). The next exit finds the
 * offer gone, and the vector in service, or takes it back into the IRR.
 *
 * The task priority (TPR) is the guest's CR8: the processor's own, which holds
 * back what it was offered. We learn of it where that matters: when the guest
 * reads or writes it as an MSR, and when it halts.
 */
#include <vmm/vcpu/apic.h>
#include <lib/hw/cpu.h>
#include <lib/string.h>

#define NOMINAL_HZ 1000000000ull /* the timer's clock before its divider */
#define INIT_DEASSERT                                                                              \
    0x8500u /* ICR bits 15, 14, 10..8: an end of INIT, which has no effect (SDM3 10.6.1) */
#define VERSION 0x50014u /* integrated, 6 LVT entries */

#define BIT(n) (1ull << (n))
/* Registers that read as they are kept; the TMR is zero: all interrupts are edges. */
#define PLAIN                                                                                      \
    (BIT(APIC_ID) | BIT(APIC_VERSION) | BIT(APIC_TPR) | BIT(APIC_LDR) | BIT(APIC_SVR) |            \
     0xffull << APIC_TMR | BIT(APIC_ESR) | 0x3full << APIC_LVT_TIMER | BIT(APIC_TIMER_INITIAL) |   \
     BIT(APIC_TIMER_DIVIDE))
enum shorthand { TO_FIELD, TO_SELF, TO_ALL, TO_OTHERS };

struct vcpu vcpus[PLAN_VCPUS];
static uint64_t tsc_per_tick, tick_per_tsc; /* 32.32 fixed point */

void apic_init(void)
{
    uint64_t hz = config()->tsc_hz;
    tsc_per_tick = (hz / NOMINAL_HZ << 32) + ((hz % NOMINAL_HZ) << 32) / NOMINAL_HZ;
    tick_per_tsc = (NOMINAL_HZ << 32) / hz;
    for (uint32_t i = 0; i < PLAN_VCPUS; i++) {
        vcpus[i].id = i;
        vcpus[i].pat = PAT_RESET;
        vcpus[i].idle = i ? IDLE_SIPI : RUNNING;
        apic_reset(&vcpus[i]);
    }
}

void apic_reset(struct vcpu *v)
{
    for (uint32_t i = 0; i < 4; i++) {
        __atomic_store_n(&v->irr[i], 0, __ATOMIC_RELAXED);
        v->isr[i] = 0;
    }
    memset(v->reg, 0, sizeof(v->reg));
    for (uint32_t i = 0; i < LVT_ENTRIES; i++)
        v->reg[APIC_LVT_TIMER + i] = APIC_LVT_MASKED;
    v->reg[APIC_ID] = apic_id(v->id);
    v->reg[APIC_VERSION] = VERSION;
    v->reg[APIC_LDR] = v->id >> 4 << 16 | 1u << (v->id & 15); /* SDM3 10.12.10.2 */
    v->reg[APIC_SVR] = 0xff;
    v->offer = 0;
    v->icr = v->deadline = v->period = 0;
    v->eoi_word = NULL;
    v->eoi_lent = v->nmi_kept = false;
    v->nmi_end = NO_RIP;
}

/* ---- priorities ------------------------------------------------------------ */

static uint64_t load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

/* The highest vector in a set, 0 if it is empty. Others may add to it meanwhile, nobody takes away.
 */
static uint32_t highest(const uint64_t set[4])
{
    uint32_t i = 3;
    while (i > 0 && !load(&set[i]))
        i--;
    uint64_t word = load(&set[i]);
    return word ? 64 * i + (63 ^ (uint32_t)__builtin_clzll(word)) : 0;
}

/* Processor priority: the class of the most urgent thing under way (SDM3 10.8.3.1). */
static uint32_t priority(const struct vcpu *v)
{
    uint32_t service = highest(v->isr) & 0xf0;
    return v->reg[APIC_TPR] >= service ? v->reg[APIC_TPR] : service;
}

/* What holds an offer back: while the guest runs the processor compares it with CR8, when it is
   halted we do, for it is to wake up for what it gets. */
static uint32_t held_below(const struct vcpu *v)
{
    return v->idle == IDLE_HLT ? priority(v) : highest(v->isr);
}

/* CR8 has the upper half; of the lower one the guest has left zeros if it wrote CR8 since. */
void apic_see_cr8(struct vcpu *v, const struct exit_state *s)
{
    uint32_t class = (uint32_t)s->cr8 & 15;
    if (v->reg[APIC_TPR] >> 4 != class)
        v->reg[APIC_TPR] = class << 4;
}

/* Did the guest end the offered interrupt by the word in its memory? The word is good for one
 * interrupt. */
static bool ended_by_word(struct vcpu *v)
{
    if (!v->eoi_lent)
        return false;
    v->eoi_lent = false;
    bool done = *v->eoi_word == 0;
    *v->eoi_word = 0;
    return done;
}

bool apic_eoi_word(struct vcpu *v, uint64_t value)
{
    v->eoi_lent = false;
    v->eoi_word = value & 1 ? guest_memory(value & ~3ull, sizeof(*v->eoi_word)) : NULL;
    return v->eoi_word || !(value & 1);
}

static void end_of_interrupt(struct vcpu *v)
{
    uint32_t vector = highest(v->isr);
    v->isr[vector >> 6] &= ~BIT(vector & 63);
}

void apic_enter(struct vcpu *v, const struct exit_state *s)
{
    uint32_t vector = v->offer;
    bool done = ended_by_word(v);
    v->offer = 0;
    if (s->intr & INTR_PENDING)
        __atomic_fetch_or(&v->irr[vector >> 6], BIT(vector & 63), __ATOMIC_RELAXED);
    else if (!done)
        v->isr[vector >> 6] |= BIT(vector & 63);
}

static inline bool empty(const uint64_t set[4])
{
    return !(load(&set[0]) | load(&set[1]) | load(&set[2]) | load(&set[3]));
}

/* Take the most urgent vector that may be delivered out of the IRR, to be offered; 0: there is
 * none. */
static uint32_t next_offer(struct vcpu *v)
{
    uint32_t vector = highest(v->irr);
    if (vector >> 4 <= held_below(v) >> 4)
        return 0;
    __atomic_fetch_and(&v->irr[vector >> 6], ~BIT(vector & 63), __ATOMIC_RELAXED);
    v->offer = vector;
    /* With no other waiting or under way, nothing needs to happen when the guest ends this one. */
    v->eoi_lent = v->eoi_word && empty(v->isr) && empty(v->irr);
    if (v->eoi_lent)
        *v->eoi_word = 1;
    return vector;
}

uint32_t apic_next(const struct vcpu *v) { return highest(v->irr); }

void apic_leave(struct vcpu *v, struct utcb *u)
{
    if (dedicated()) {
        apic_real_leave(v, u);
        return;
    }
    uint32_t vector = empty(v->irr) ? 0 : next_offer(v);
    uint64_t intr = vector ? vector | INTR_PENDING : 0;
    if (u->exit.intr == intr)
        return;
    u->exit.intr = intr;
    u->mtd |= MTD_INJECT;
}

/* ---- sending ---------------------------------------------------------------- */

/* It fails only where there is no such vCPU, and then the VM was not built. */
static void recall(uint32_t target) { ignore(ec_recall(VMM_VCPU + target)); }

void apic_post(uint32_t target, uint32_t vector, uint32_t self)
{
    uint64_t bit = BIT(vector & 63);
    if (vector < 16)
        return;
    if (!(__atomic_fetch_or(&vcpus[target].irr[vector >> 6], bit, __ATOMIC_SEQ_CST) & bit) &&
        target != self)
        recall(target);
}

void apic_request(uint32_t target, enum request what)
{
    __atomic_fetch_or(&vcpus[target].request, what, __ATOMIC_SEQ_CST);
    recall(target);
}

static uint64_t everybody(void) { return ~0ull >> (64 - config()->plan.vcpus); }

/* x2APIC clusters of sixteen (SDM3 10.12.10.2). */
uint64_t apic_targets(uint32_t field, bool logical)
{
    uint64_t targets = 0;
    if (field == APIC_EVERYBODY)
        return everybody();
    for (uint32_t i = 0; i < config()->plan.vcpus; i++) {
        uint32_t id = apic_id(i);
        bool named = logical ? field >> 16 == id >> 4 && field >> (id & 15) & 1 : field == id;
        targets |= (uint64_t)named << i;
    }
    return targets;
}

static void deliver(uint64_t targets, uint32_t mode, uint32_t vector, uint32_t self)
{
    if (mode == APIC_LOWEST)
        targets &= ~(targets - 1);
    for (; targets; targets &= targets - 1) {
        uint32_t target = (uint32_t)__builtin_ctzll(targets);
        switch (mode) {
        case APIC_FIXED:
        case APIC_LOWEST: apic_post(target, vector, self); break;
        case APIC_NMI: apic_request(target, REQUEST_NMI); break;
        case APIC_INIT: apic_request(target, REQUEST_INIT); break;
        case APIC_STARTUP:
            __atomic_store_n(&vcpus[target].sipi, vector, __ATOMIC_SEQ_CST);
            apic_request(target, REQUEST_SIPI);
            break;
        }
    }
}

/* Interrupt command register (SDM3 10.12.9). */
bool apic_icr(struct vcpu *v, uint64_t icr)
{
    uint32_t low = (uint32_t)icr;
    uint64_t self = 1ull << v->id, targets = 0;
    switch (low >> 18 & 3) {
    case TO_FIELD: targets = apic_targets((uint32_t)(icr >> 32), low >> 11 & 1); break;
    case TO_SELF: targets = self; break;
    case TO_ALL: targets = everybody(); break;
    case TO_OTHERS: targets = everybody() & ~self; break;
    }
    v->icr = icr;
    if ((low & 0xc700) != INIT_DEASSERT)
        deliver(targets, low >> 8 & 7, low & 0xff, v->id);
    return true;
}

/* ---- timer (SDM3 10.5.4) ------------------------------------------------------ */

static enum apic_timer_mode timer_mode(const struct vcpu *v)
{
    return v->reg[APIC_LVT_TIMER] >> 17 & 3;
}

/* The deadline after the one that has passed; 0: none. A periodic timer that is late by a whole
   period or more starts anew from `now`. */
static uint64_t next_deadline(const struct vcpu *v, uint64_t now)
{
    uint64_t next = v->deadline + v->period;
    if (!v->period)
        return 0;
    return next > now ? next : now + v->period;
}

void apic_tick(struct vcpu *v, struct utcb *u)
{
    uint64_t now = tsc();
    if (v->deadline && v->deadline <= now) {
        if (!(v->reg[APIC_LVT_TIMER] & APIC_LVT_MASKED))
            apic_post(v->id, v->reg[APIC_LVT_TIMER] & 0xff, v->id);
        v->deadline = next_deadline(v, now);
    }
    u->exit.deadline = v->deadline;
    u->mtd |= MTD_TIMER;
}

static void timer_arm(struct vcpu *v, struct utcb *u, uint64_t deadline, uint64_t period)
{
    v->deadline = deadline;
    v->period = period;
    apic_tick(v, u);
}

/* TSC ticks that `count` takes. */
static uint64_t timer_ticks(const struct vcpu *v, uint32_t count)
{
    return scale((uint64_t)count << timer_shift(v->reg[APIC_TIMER_DIVIDE]), tsc_per_tick);
}

/* Count down from `count`; what comes after that is as the mode says. */
static void timer_go(struct vcpu *v, struct utcb *u, uint32_t count)
{
    uint64_t period =
        timer_mode(v) == APIC_PERIODIC ? timer_ticks(v, v->reg[APIC_TIMER_INITIAL]) : 0;
    timer_arm(v, u, count ? tsc() + timer_ticks(v, count) : 0, period);
}

static void timer_count(struct vcpu *v, struct utcb *u, uint32_t count)
{
    if (timer_mode(v) == APIC_DEADLINE)
        return;
    v->reg[APIC_TIMER_INITIAL] = count;
    timer_go(v, u, count);
}

static uint32_t timer_current(const struct vcpu *v)
{
    uint64_t now = tsc();
    if (v->deadline <= now || timer_mode(v) == APIC_DEADLINE)
        return 0;
    return (uint32_t)(scale(v->deadline - now, tick_per_tsc) >>
                      timer_shift(v->reg[APIC_TIMER_DIVIDE]));
}

uint64_t apic_deadline_read(const struct vcpu *v)
{
    return timer_mode(v) == APIC_DEADLINE && v->deadline ? v->deadline + v->tsc_offset : 0;
}

void apic_deadline_write(struct vcpu *v, struct utcb *u, uint64_t value)
{
    uint64_t now = tsc(), guest_now = now + v->tsc_offset, left = value - guest_now;
    uint64_t deadline = left < ~now ? now + left : ~0ull;
    if (timer_mode(v) == APIC_DEADLINE)
        timer_arm(v, u, value > guest_now ? deadline : value != 0, 0);
}

/* The count goes on from where it is, at the new speed. */
static void divide_write(struct vcpu *v, struct utcb *u, uint32_t value)
{
    uint32_t count = timer_current(v);
    v->reg[APIC_TIMER_DIVIDE] = value & APIC_DIVIDE_BITS;
    if (count)
        timer_go(v, u, count);
}

/* Between one-shot and periodic the count goes on, too; deadlines are another timer
 * (SDM3 10.5.4.1). */
static void lvt_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint32_t value)
{
    enum apic_timer_mode before = timer_mode(v);
    v->reg[reg] = value & (reg == APIC_LVT_TIMER ? 0x700ffu : 0x107ffu);
    if ((before == APIC_DEADLINE) != (timer_mode(v) == APIC_DEADLINE))
        timer_arm(v, u, 0, 0);
    else if (v->deadline && before != timer_mode(v))
        v->period = timer_mode(v) == APIC_PERIODIC ? timer_ticks(v, v->reg[APIC_TIMER_INITIAL]) : 0;
}

/* ---- registers ------------------------------------------------------------------ */

static uint32_t word32(const uint64_t set[4], uint32_t i)
{
    return (uint32_t)(set[i / 2] >> 32 * (i % 2));
}

bool apic_read(struct vcpu *v, const struct exit_state *s, uint32_t reg, uint64_t *value)
{
    if (reg == APIC_TPR || reg == APIC_PPR)
        apic_see_cr8(v, s);
    switch (reg) {
    case APIC_PPR: *value = priority(v); return true;
    case APIC_ISR ... APIC_ISR + 7: *value = word32(v->isr, reg - APIC_ISR); return true;
    case APIC_IRR ... APIC_IRR + 7: *value = word32(v->irr, reg - APIC_IRR); return true;
    case APIC_ICR: *value = v->icr; return true;
    case APIC_TIMER_CURRENT: *value = timer_current(v); return true;
    default: *value = v->reg[reg]; return PLAIN >> reg & 1;
    }
}

bool apic_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value)
{
    switch (reg) {
    case APIC_EOI: end_of_interrupt(v); return true;
    case APIC_ICR: return apic_icr(v, value);
    case APIC_SELF_IPI: apic_post(v->id, value & 0xff, v->id); return true;
    case APIC_TIMER_INITIAL: timer_count(v, u, (uint32_t)value); return true;
    case APIC_TPR:
        v->reg[reg] = value & 0xff;
        u->mtd |= u->exit.cr8 == (value >> 4 & 15) ? 0 : MTD_CR8;
        u->exit.cr8 = value >> 4 & 15;
        return true;
    case APIC_SVR: v->reg[reg] = value & 0x3ff; return true;
    case APIC_ESR: return value == 0;
    case APIC_LVT_TIMER ... APIC_LVT_TIMER + LVT_ENTRIES - 1:
        lvt_write(v, u, reg, (uint32_t)value);
        return true;
    case APIC_TIMER_DIVIDE: divide_write(v, u, (uint32_t)value); return true;
    default: return false;
    }
}

void apic_send_msi(uint32_t address, uint32_t data, uint32_t self)
{
    uint32_t field = address >> 12 & 0xff;
    deliver(apic_targets(field == 0xff ? APIC_EVERYBODY : field, address >> 2 & 1), data >> 8 & 7,
            data & 0xff, self);
}
