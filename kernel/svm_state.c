/*
 * AMD SVM: a vCPU's state, copied in groups of registers out of the VMCB at an exit
 * and into it at the reply. Own core.
 */
#include <apic.h>
#include <core.h>
#include <svm.h>

/* Groups that no frequent exit has to do with. */
#define RARE_IN  (uint64_t)(MTD_REST | MTD_TIMER | MTD_CONTROL | MTD_SEGS | MTD_SYSCALL)
#define RARE_OUT (RARE_IN | MTD_FLAGS | MTD_EFER | MTD_CR8 | MTD_TSC | MTD_APIC)

uint64_t svm_efer(const struct ec *ec) { return ec->vcpu->vmcb->efer & ~(uint64_t)EFER_SVME; }

static RARE void store_rare(const struct ec *ec, const struct vmcb *v, struct exit_state *x,
                            uint64_t mtd)
{
    if (mtd & MTD_REST)
        cpu_copy_words(&x->rsi, &ec->regs.rsi, 11);
    if (mtd & MTD_TIMER)
        x->deadline = ec->timer.deadline;
    if (mtd & MTD_CONTROL) {
        x->cr0 = v->cr0, x->cr2 = v->cr2, x->cr3 = v->cr3, x->cr4 = v->cr4;
        x->xcr0 = ec->vcpu->xcr0, x->dr6 = v->dr6, x->dr7 = v->dr7;
    }
    if (mtd & MTD_SEGS) {
        cpu_copy_words((uint64_t *)x->seg, (const uint64_t *)v->seg, sizeof v->seg / 8);
        x->cpl = v->cpl;
    }
    if (mtd & MTD_SYSCALL) {
        cpu_copy_words(&x->star, &v->star, 8);
        x->pat = v->pat;
    }
}

_Static_assert((int)EXIT_READ == PORT_IN && (int)EXIT_STRING == PORT_STRING, "svm_info");

static inline void store_info(const struct ec *ec, const struct vmcb *v, unsigned event,
                              struct exit_info *info)
{
    uint64_t i = v->info1;
    if (event == EVENT_PORT) { /* APM2 15.10.2 */
        info->number = (uint16_t)(i >> 16);
        info->size = i >> 4 & 7;
        info->flags = (uint8_t)((i & (PORT_IN | PORT_STRING)) | (i & PORT_IN ? 0 : EXIT_WRITE));
    } else if (event == EVENT_MSR) { /* APM2 15.11 */
        info->number = (uint32_t)ec->regs.rcx;
        info->flags = i & 1 ? EXIT_WRITE : EXIT_READ;
    } else if (event == EVENT_MEMORY) { /* APM2 15.25.6 */
        info->address = v->info2;
        info->flags = i & NPF_WRITE ? EXIT_WRITE : EXIT_READ;
        info->flags = i & NPF_FETCH ? EXIT_EXECUTE : info->flags;
    } else if (event == EVENT_EXCEPTION) { /* APM2 15.12 */
        info->number = (uint32_t)(v->code - EXIT_EXCEPTION);
        info->error = info->number == 17 ? (uint32_t)i : 0;
        info->flags = info->number == 17 ? EXIT_ERROR : 0;
    }
}

void svm_info(const struct ec *ec, unsigned event, struct exit_info *info)
{
    *info = (struct exit_info){0};
    store_info(ec, ec->vcpu->vmcb, event, info);
}

/* Without the kernel's own RFLAGS.TF. */
static inline uint64_t own_flags(const struct ec *ec, const struct vmcb *v)
{
    bool steps = ec->vcpu->step && !ec->vcpu->traced;
    return steps ? v->rflags & ~(uint64_t)RFLAGS_TF : v->rflags;
}

/* The vector on offer. It is kept while a write to CR8 is stepped over. */
static inline uint64_t offered(const struct ec *ec, uint64_t vintr)
{
    if (vintr & VINTR_IRQ || ec->vcpu->step == STEP_CR8)
        return (vintr >> 32 & 0xff) | INTR_PENDING;
    return 0;
}

void svm_store(const struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    if (mtd & MTD_ACDB)
        x->rax = v->rax, x->rcx = ec->regs.rcx, x->rdx = ec->regs.rdx, x->rbx = ec->regs.rbx;
    if (mtd & MTD_RIP)
        x->rip = v->rip, x->next_rip = v->next_rip;
    if (mtd & MTD_FLAGS)
        x->rflags = own_flags(ec, v), x->rsp = v->rsp;
    if (mtd & MTD_INFO)
        store_info(ec, v, ec->event, &x->info);
    if (mtd & MTD_INJECT) {
        x->inject = v->inject;
        x->intr = offered(ec, v->vintr);
        x->shadow = (v->shadow & SHADOW_INTR) | (v->intercept1 & I1_IRET ? SHADOW_NMI : 0);
    }
    if (mtd & (MTD_EFER | MTD_CR8)) {
        x->efer = svm_efer(ec);
        x->cr8 = v->vintr & VINTR_TPR;
    }
    if (mtd & RARE_IN)
        store_rare(ec, v, x, mtd);
}

/* V_IRQ (APM2 15.21.4): the processor delivers the vector once RFLAGS.IF and CR8 allow. CR8 writes
   exit while it is on offer: svm.c, step_cr8. */
static void offer(struct vmcb *v, uint64_t intr)
{
    uint64_t vector = intr & 0xff, keep = v->vintr & (0xff | VINTR_MASKING);
    v->vintr = intr & INTR_PENDING ? keep | VINTR_IRQ | (vector >> 4) << 16 | vector << 32 : keep;
    v->intercept_cr = intr & INTR_PENDING ? CR8_WRITE : 0;
}

static void load_control(struct ec *ec, struct vmcb *v, const struct exit_state *x)
{
    struct core *c = cpu_core();
    v->cr0 = x->cr0, v->cr2 = x->cr2, v->cr3 = x->cr3, v->cr4 = x->cr4;
    uint64_t trap = v->inject == SVM_TRAP ? v->dr6 & DR6_STEP : 0; /* of this same reply */
    v->dr6 = x->dr6 | trap, v->dr7 = x->dr7;
    uint64_t xcr0 = once(x->xcr0) & 7;
    if (xcr0 == 1 || xcr0 == 3 || xcr0 == 7) {
        if (c->loaded == ec)
            vcpu_unload(c);
        ec->vcpu->xcr0 = xcr0;
    }
    v->tlb_control = svm_flush;
}

/* What the VMM says of flags is about the guest's own. Of offers and events, too: the guest tries
   its write to CR8 again, and what is delivered before takes flags along that are the guest's. */
static RARE void cancel_step(struct ec *ec, struct vmcb *v)
{
    v->rflags = own_flags(ec, v);
    if (ec->vcpu->step == STEP_CR8) {
        v->vintr |= VINTR_IRQ;
        v->intercept_cr = CR8_WRITE;
    } else {
        __atomic_fetch_or(&ec->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    }
    ec->vcpu->step = STEP_NONE;
}

static RARE void load_rare(struct ec *ec, struct vmcb *v, const struct exit_state *x, uint64_t mtd)
{
    if (mtd & MTD_REST)
        cpu_copy_words(&ec->regs.rsi, &x->rsi, 11);
    if (mtd & MTD_FLAGS) {
        if (ec->vcpu->step)
            cancel_step(ec, v);
        v->rflags = x->rflags, v->rsp = x->rsp;
    }
    if (mtd & MTD_APIC && ec->core_mode)
        apic_write_for_guest(once(x->apic_reg), once(x->apic_value));
    if (mtd & MTD_TIMER)
        vcpu_set_deadline(ec, once(x->deadline));
    if (mtd & MTD_TSC)
        v->tsc_offset = x->tsc_offset;
    if (mtd & MTD_CR8 && !ec->core_mode) /* there, it is that of the core's APIC */
        v->vintr = (v->vintr & ~(uint64_t)VINTR_TPR) | (x->cr8 & VINTR_TPR);
    if (mtd & MTD_EFER) {
        /* mutant: guest-efer */
        v->efer = x->efer | EFER_SVME;
        v->tlb_control = svm_flush;
    }
    if (mtd & MTD_CONTROL)
        load_control(ec, v, x);
    if (mtd & MTD_SEGS) {
        cpu_copy_words((uint64_t *)v->seg, (const uint64_t *)x->seg, sizeof v->seg / 8);
        v->cpl = x->cpl & 3;
    }
    if (mtd & MTD_SYSCALL) {
        cpu_copy_words(&v->star, &x->star, 8);
        v->pat = x->pat;
    }
}

uint64_t svm_load(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (mtd & MTD_ACDB)
        v->rax = x->rax, ec->regs.rcx = x->rcx, ec->regs.rdx = x->rdx, ec->regs.rbx = x->rbx;
    if (mtd & MTD_RIP) {
        v->rip = x->rip;
        v->shadow = 0;
        if (__builtin_expect((v->rflags & RFLAGS_TF) != 0, 0) && v->next_rip &&
            v->rip == v->next_rip)
            svm_trap(v);
    }
    if (mtd & MTD_INJECT) {
        uint64_t inject = once(x->inject);
        if (__builtin_expect(ec->vcpu->step == STEP_CR8, 0))
            cancel_step(ec, v);
        if (inject & INJECT_VALID) /* else a redelivery stays */
            v->inject = inject;
        if ((v->inject & (INJECT_VALID | INJECT_TYPE)) == (INJECT_VALID | INJECT_NMI))
            v->intercept1 |= I1_IRET;
        if (!ec->core_mode) /* there, the core's APIC is the guest's */
            offer(v, once(x->intr));
    }
    if (mtd & RARE_OUT)
        load_rare(ec, v, x, mtd);
    return mtd;
}

void svm_write_efer(struct ec *ec, uint64_t value)
{
    struct vmcb *v = ec->vcpu->vmcb;
    v->efer = (value & ~(uint64_t)EFER_LMA) | (v->efer & EFER_LMA) | EFER_SVME;
    v->tlb_control = svm_flush;
}

void svm_start_at(struct ec *ec, uint8_t page)
{
    struct segment *cs = &ec->vcpu->vmcb->seg[SEG_CS];
    cs->selector = (uint16_t)(page << 8);
    cs->base = (uint64_t)page << 12;
    ec->vcpu->vmcb->inject = 0;
    ec->vcpu->vmcb->intercept1 &= ~(uint32_t)I1_IRET;
}

/* Until the next IRET there is one at work. It goes before an exception, which comes again when its
   instruction does. */
bool svm_give_nmi(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (v->intercept1 & I1_IRET)
        return false;
    v->intercept1 |= I1_IRET;
    v->inject = INJECT_VALID | INJECT_NMI | 2;
    return true;
}

void svm_record(const struct ec *ec, struct vcpu_stat *s)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    s->end_code = v->code, s->end_rax = v->rax, s->end_rip = v->rip, s->end_cr3 = v->cr3;
}
