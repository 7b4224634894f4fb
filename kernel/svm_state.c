/*
 * A vCPU's state as its VMM sees it: groups of registers copied out of the VMCB
 * at an exit and into it at the reply. Own core.
 */
#include <apic.h>
#include <core.h>
#include <sched.h>
#include <vcpu.h>
#include <vmcb.h>

#define MTD_RARE (uint64_t)(MTD_CONTROL | MTD_SEGS | MTD_SYSCALL)

static void store_rare(const struct ec *ec, const struct vmcb *v, struct exit_state *x, uint64_t mtd)
{
    if (mtd & MTD_CONTROL) {
        x->cr0 = v->cr0, x->cr2 = v->cr2, x->cr3 = v->cr3, x->cr4 = v->cr4;
        x->xcr0 = ec->vcpu->xcr0, x->dr6 = v->dr6, x->dr7 = v->dr7;
    }
    if (mtd & MTD_SEGS) {
        cpu_copy_words((uint64_t *)x->seg, (const uint64_t *)v->seg, sizeof v->seg / 8);
        x->cpl = v->cpl;
    }
    if (mtd & MTD_SYSCALL) {
        x->star = v->star, x->lstar = v->lstar, x->cstar = v->cstar, x->sfmask = v->sfmask, x->kernel_gs = v->kernel_gs;
        x->sysenter_cs = v->sysenter_cs, x->sysenter_esp = v->sysenter_esp, x->sysenter_eip = v->sysenter_eip, x->pat = v->pat;
    }
}

void vcpu_store(const struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    if (mtd & MTD_ACDB)
        x->rax = v->rax, x->rcx = ec->regs.rcx, x->rdx = ec->regs.rdx, x->rbx = ec->regs.rbx;
    if (mtd & MTD_REST)
        cpu_copy_words(&x->rsi, &ec->regs.rsi, 11);
    if (mtd & MTD_RIP)
        x->rip = v->rip, x->next_rip = v->next_rip;
    if (mtd & MTD_FLAGS)
        x->rflags = v->rflags, x->rsp = v->rsp;
    if (mtd & MTD_QUAL)
        x->code = v->code, x->info1 = v->info1, x->info2 = v->info2;
    if (mtd & MTD_INJECT) {
        x->inject = v->inject;
        x->intr = v->vintr & VINTR_IRQ ? (v->vintr >> 32 & 0xff) | INTR_PENDING : 0;
        x->shadow = (v->shadow & SHADOW_INTR) | (v->intercept1 & I1_IRET ? SHADOW_NMI : 0);
    }
    if (mtd & MTD_TIMER)
        x->deadline = ec->timer.deadline;
    if (mtd & MTD_EFER)
        x->efer = v->efer & ~(uint64_t)EFER_SVME;
    if (mtd & MTD_RARE)
        store_rare(ec, v, x, mtd);
}

/* V_IRQ (APM2 15.21.4): the processor delivers the vector once RFLAGS.IF and CR8 allow. CR8 writes
   exit while it is on offer, so that the VMM can withdraw it. */
static void offer(struct vmcb *v, uint64_t intr)
{
    uint64_t vector = intr & 0xff, keep = v->vintr & (0xff | VINTR_MASKING);
    v->vintr = intr & INTR_PENDING ? keep | VINTR_IRQ | (vector >> 4) << 16 | vector << 32 : keep;
    v->intercept_cr = intr & INTR_PENDING ? CR8_WRITE : 0;
}

static void set_deadline(struct ec *ec, uint64_t deadline)
{
    if (deadline == ec->timer.deadline)
        return;
    timer_clear(&ec->timer);
    if (deadline)
        timer_set(&ec->timer, deadline);
}

static void load_control(struct ec *ec, struct vmcb *v, const struct exit_state *x)
{
    struct core *c = cpu_core();
    v->cr0 = x->cr0, v->cr2 = x->cr2, v->cr3 = x->cr3, v->cr4 = x->cr4;
    v->dr6 = x->dr6, v->dr7 = x->dr7;
    uint64_t xcr0 = once(x->xcr0) & 7;
    if (xcr0 == 1 || xcr0 == 3 || xcr0 == 7) {
        if (c->loaded == ec)
            vcpu_unload(c);
        ec->vcpu->xcr0 = xcr0;
    }
    v->tlb_control = 1;
}

static void load_rare(struct ec *ec, struct vmcb *v, const struct exit_state *x, uint64_t mtd)
{
    if (mtd & MTD_CONTROL)
        load_control(ec, v, x);
    if (mtd & MTD_SEGS) {
        cpu_copy_words((uint64_t *)v->seg, (const uint64_t *)x->seg, sizeof v->seg / 8);
        v->cpl = x->cpl & 3;
    }
    if (mtd & MTD_SYSCALL) {
        v->star = x->star, v->lstar = x->lstar, v->cstar = x->cstar, v->sfmask = x->sfmask, v->kernel_gs = x->kernel_gs;
        v->sysenter_cs = x->sysenter_cs, v->sysenter_esp = x->sysenter_esp, v->sysenter_eip = x->sysenter_eip, v->pat = x->pat;
    }
}

void vcpu_load(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (mtd & MTD_ACDB)
        v->rax = x->rax, ec->regs.rcx = x->rcx, ec->regs.rdx = x->rdx, ec->regs.rbx = x->rbx;
    if (mtd & MTD_REST)
        cpu_copy_words(&ec->regs.rsi, &x->rsi, 11);
    if (mtd & MTD_RIP) {
        v->rip = x->rip;
        v->shadow = 0;
    }
    if (mtd & MTD_FLAGS)
        v->rflags = x->rflags, v->rsp = x->rsp;
    if (mtd & MTD_INJECT) {
        uint64_t inject = once(x->inject);
        if (inject & INJECT_VALID) /* else a redelivery stays */
            v->inject = inject;
        if ((v->inject & (INJECT_VALID | INJECT_TYPE)) == (INJECT_VALID | INJECT_NMI))
            v->intercept1 |= I1_IRET;
        if (!ec->own) /* there, the core's APIC is the guest's */
            offer(v, once(x->intr));
    }
    if (mtd & MTD_APIC && ec->own)
        apic_write_for_guest(once(x->apic_reg), once(x->apic_value));
    if (mtd & MTD_TIMER)
        set_deadline(ec, once(x->deadline));
    if (mtd & MTD_TSC)
        v->tsc_offset = x->tsc_offset;
    if (mtd & MTD_EFER) {
        v->efer = x->efer | EFER_SVME;
        v->tlb_control = 1;
    }
    if (mtd & MTD_RARE)
        load_rare(ec, v, x, mtd);
}
