/*
 * Exits of a vCPU: one entry for each event, run by the vCPU's handler thread
 * on an empty stack. Each learns whether the offered interrupt was taken, does
 * its work, offers the next, and replies only the register groups it changed.
 */
#include <lib/hw/apic.h>
#include <lib/hw/cpuid.h>
#include <vmm/vcpu/vcpu.h>

#define GP_FAULT                                                                                   \
    (INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13) /* error code 0 in the high half */
#define UD_FAULT  (INJECT_VALID | INJECT_EXCEPTION | 6)
#define NMI_EVENT (INJECT_VALID | INJECT_NMI | 2)
#define EFLAGS_IF (1u << 9)
#define NO_HYPERCALL                                                                               \
    (-1000ll)           /* "no such call" in the hypercall convention of the clock leaf's owner */
#define MOMENT_SHIFT 18 /* of a second, 1/2^18: 4 microseconds */

static struct exit_state *enter(struct vcpu *v, struct utcb *u)
{
    u->mtd = 0;
    if (v->offer)
        apic_enter(v, &u->exit);
    return &u->exit;
}

/* Back to a guest that was running. */
static void __attribute__((noreturn)) resume(struct vcpu *v, struct utcb *u)
{
    apic_leave(v, u);
    pt_reply(0);
}

/* Back to the guest, or to its sleep. */
static void __attribute__((noreturn)) rest(struct vcpu *v, struct utcb *u)
{
    if (v->idle != IDLE_SIPI)
        apic_leave(v, u);
    if (v->idle == IDLE_HLT && v->offer)
        v->idle = RUNNING;
    if (v->idle != RUNNING)
        u->mtd |= MTD_HALT;
    pt_reply(0);
}

static void __attribute__((noreturn)) die(struct utcb *u)
{
    u->mtd = MTD_KILL;
    pt_reply(0);
}

/* Go on at `next`; with RIP the kernel ends an interrupt shadow, too. */
static void skip(struct utcb *u, uint64_t next)
{
    u->exit.rip = next;
    u->mtd |= MTD_RIP;
}

static void inject(struct utcb *u, uint64_t event)
{
    u->exit.inject = event;
    u->mtd |= MTD_INJECT;
}

/* Come back after the guest has run for a moment. */
static void look_again(const struct vcpu *v, struct utcb *u)
{
    uint64_t soon = tsc() + (config()->tsc_hz >> MOMENT_SHIFT);
    u->exit.deadline = v->deadline && v->deadline < soon ? v->deadline : soon;
    u->mtd |= MTD_TIMER;
}

void vcpu_start(struct vcpu *v, struct utcb *u)
{
    u->mtd = 0;
    if (v->id == 0)
        state_boot(u, &boot);
    rest(v, u);
}

/* One NMI is kept while others are blocked: from its delivery to the IRET of its handler, at which
   a recall comes, for the moment that this takes. It waits for whatever else is to be delivered,
   too. */
static void serve_nmi(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = &u->exit;
    bool blocked = s->shadow & SHADOW_NMI;
    if (v->nmi_blocked && !blocked)
        v->nmi_end = s->rip;
    v->nmi_blocked = blocked;
    if (!v->nmi_kept || blocked)
        return;
    v->idle = RUNNING;
    if (s->inject & INJECT_VALID || s->rip == v->nmi_end) {
        look_again(v, u);
        return;
    }
    inject(u, NMI_EVENT);
    v->nmi_kept = false;
    v->nmi_blocked = true;
    v->nmi_end = NO_RIP;
}

/* INIT, SIPI and NMI that others sent (SDM3 8.4, 10.5.1). */
static void serve(struct vcpu *v, struct utcb *u)
{
    uint32_t request = __atomic_exchange_n(&v->request, 0, __ATOMIC_SEQ_CST);
    if (request & REQUEST_INIT) {
        apic_reset(v);
        v->idle = IDLE_SIPI;
        u->exit.intr = u->exit.inject = 0;
        u->mtd |= MTD_INJECT;
    }
    if (request & REQUEST_SIPI && v->idle == IDLE_SIPI) {
        state_real(u, __atomic_load_n(&v->sipi, __ATOMIC_SEQ_CST));
        v->idle = RUNNING;
    }
    v->nmi_kept |= request & REQUEST_NMI && v->idle != IDLE_SIPI;
}

void vcpu_recall(struct vcpu *v, struct utcb *u)
{
    enter(v, u);
    if (vm_ended())
        die(u);
    if (__atomic_load_n(&v->request, __ATOMIC_RELAXED))
        serve(v, u);
    if (!dedicated())
        apic_tick(v, u);
    serve_nmi(v, u);
    rest(v, u);
}

void vcpu_port(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    uint32_t port = s->info.number, size = s->info.size, mask = ~0u >> (32 - 8 * size);
    if (s->info.flags & EXIT_STRING) {
        inject(u, GP_FAULT);
        resume(v, u);
    }
    if (s->info.flags & EXIT_READ) {
        uint32_t value = devices_in(v->id, port, size) & mask;
        s->rax = size == 4 ? value : (s->rax & ~(uint64_t)mask) | value;
        u->mtd |= MTD_ACDB;
    } else {
        devices_out(v->id, port, size, (uint32_t)s->rax & mask);
    }
    if (vm_ended())
        die(u);
    skip(u, s->next_rip);
    resume(v, u);
}

/* The APIC's registers are MSRs 800h to 83Fh. False: #GP. */
static bool msr_value(struct vcpu *v, struct utcb *u, uint32_t msr, uint64_t *value)
{
    uint32_t reg = msr - MSR_X2APIC(0);
    if (reg >= APIC_REGISTERS)
        return msr_read(v, u, msr, value);
    return dedicated() ? apic_real_read(v, reg, value) : apic_read(v, &u->exit, reg, value);
}

static bool read_msr(struct vcpu *v, struct utcb *u, uint32_t msr)
{
    uint64_t value;
    if (!msr_value(v, u, msr, &value))
        return false;
    u->exit.rax = (uint32_t)value;
    u->exit.rdx = value >> 32;
    u->mtd |= MTD_ACDB;
    return true;
}

static bool write_msr(struct vcpu *v, struct utcb *u, uint32_t msr)
{
    uint64_t value = u->exit.rdx << 32 | (uint32_t)u->exit.rax;
    uint32_t reg = msr - MSR_X2APIC(0);
    if (reg >= APIC_REGISTERS)
        return msr_write(v, u, msr, value);
    return dedicated() ? apic_real_write(v, u, reg, value) : apic_write(v, u, reg, value);
}

void vcpu_msr(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    uint32_t msr = s->info.number;
    if (s->info.flags & EXIT_WRITE ? write_msr(v, u, msr) : read_msr(v, u, msr))
        skip(u, s->next_rip);
    else
        inject(u, GP_FAULT);
    if (v->nmi_kept && u->mtd & MTD_TIMER) /* a timer's new time would hide that one */
        look_again(v, u);
    resume(v, u);
}

void vcpu_hlt(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    v->idle = (s->rflags & EFLAGS_IF) ? IDLE_HLT : IDLE_DEAF;
    apic_see_cr8(v, s);
    skip(u, s->next_rip);
    rest(v, u);
}

void vcpu_vmcall(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    s->rax = (uint64_t)NO_HYPERCALL;
    u->mtd |= MTD_ACDB;
    skip(u, s->next_rip);
    resume(v, u);
}

static void __attribute__((noreturn)) fatal(struct utcb *u, enum vm_reason reason, uint64_t value)
{
    vm_end(reason, value, u->exit.rip, u->exit.cr3);
    die(u);
}

void vcpu_memory(struct vcpu *v, struct utcb *u)
{
    (void)v;
    fatal(u, REASON_MEMORY, u->exit.info.address);
}

void vcpu_shutdown(struct vcpu *v, struct utcb *u) { fatal(u, REASON_TRIPLE, v->id); }

void vcpu_invalid(struct vcpu *v, struct utcb *u) { fatal(u, REASON_INVALID, v->id); }

void vcpu_opcode(struct vcpu *v, struct utcb *u)
{
    enter(v, u);
    inject(u, UD_FAULT);
    resume(v, u);
}

/* XCR0 takes x87 alone, with SSE, or with SSE and AVX if the processor has it (APM2 11.5.2). */
static bool xcr0_legal(uint64_t value)
{
    return (value == 1 || value == 3 || value == 7) && (value & ~cpu_cpuid(0xd, 0).eax) == 0;
}

void vcpu_xsetbv(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    uint64_t value = s->rdx << 32 | (uint32_t)s->rax;
    if (s->cpl == 0 && (uint32_t)s->rcx == 0 && xcr0_legal(value)) {
        s->xcr0 = value;
        u->mtd |= MTD_CONTROL;
        skip(u, s->next_rip);
    } else {
        inject(u, GP_FAULT);
    }
    resume(v, u);
}

/* #DB, #AC, #MC, watched against endless delivery only: the guest gets them. */
void vcpu_exception(struct vcpu *v, struct utcb *u)
{
    struct exit_state *s = enter(v, u);
    inject(u, exit_exception(&s->info));
    resume(v, u);
}
