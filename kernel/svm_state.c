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

/*
 * A sealed guest's VMM is a doorman. It sees what an instruction gives to the platform, says what the instruction gets,
 * or that it faults, and has no other hand in the registers: who has those has the memory, by any load or store that
 * the guest's own code holds. How a vCPU starts is said by the portal that was there before the VMM.
 */
enum { A = 1, C = 2, D = 4 }; /* rax, rcx, rdx */

static const struct operands {
    uint8_t gives[2], gets[2]; /* by bit 0 of EXITINFO1: OUT and RDMSR; IN and WRMSR */
    uint64_t raises;           /* the fault of the instruction, as EVENTINJ (APM2 15.20) */
} operands[EVENT_COUNT + 1] = {
    [EVENT_PORT] = {{A, 0}, {0, A}, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13},
    [EVENT_MSR] = {{C, A | C | D}, {A | D, 0}, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13},
    [EVENT_VMCALL] = {{0, 0}, {A, A}, 0},
    [EVENT_OPCODE] = {{0, 0}, {0, 0}, INJECT_VALID | INJECT_EXCEPTION | 6},
    [EVENT_COUNT] = {{0, 0}, {0, 0}, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13}, /* INS, OUTS: memory, no register */
};

static const struct operands *operands_of(const struct ec *ec)
{
    bool string = ec->event == EVENT_PORT && ec->vcpu->vmcb->info1 & PORT_STRING;
    return &operands[string ? EVENT_COUNT : ec->event];
}

/* The bits of a register that are an operand. */
static uint64_t operand_bits(const struct ec *ec)
{
    uint64_t size = ec->vcpu->vmcb->info1 >> 4 & 7; /* APM2 15.10.2 */
    if (ec->event == EVENT_VMCALL)
        return ~0ull;
    return ec->event == EVENT_PORT && size < 4 ? (1u << 8 * size) - 1 : 0xffffffff;
}

static bool names_efer(const struct ec *ec) { return ec->event == EVENT_MSR && (uint32_t)ec->regs.rcx == MSR_EFER; }

static void store_sealed(const struct ec *ec, struct exit_state *x)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    uint64_t gives = operands_of(ec)->gives[v->info1 & 1], bits = operand_bits(ec);
    *x = (struct exit_state){0};
    if (ec->event == EVENT_START || ec->event == EVENT_RECALL)
        return;
    x->code = v->code, x->info1 = v->info1;
    x->info2 = ec->event == EVENT_MEMORY ? v->info2 : 0; /* of a port it is where the guest goes on */
    x->efer = names_efer(ec) ? v->efer & ~(uint64_t)EFER_SVME : 0;
    x->rax = gives & A ? v->rax & bits : 0;
    x->rcx = gives & C ? ec->regs.rcx & bits : 0;
    x->rdx = gives & D ? ec->regs.rdx & bits : 0;
}

void vcpu_store(const struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    if (ec->pd->sealed) {
        store_sealed(ec, x);
        return;
    }
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

/* A write has only the value that the guest wrote. */
static void finish_msr_write(struct ec *ec, struct vmcb *v, uint64_t mtd)
{
    uint64_t value = ec->regs.rdx << 32 | (uint32_t)v->rax;
    if (mtd & MTD_APIC && ec->own)
        apic_write_for_guest((uint32_t)ec->regs.rcx - MSR_X2APIC, value);
    if (names_efer(ec)) {
        v->efer = (value & ~(uint64_t)EFER_LMA) | (v->efer & EFER_LMA) | EFER_SVME;
        v->tlb_control = 1;
    }
}

static void finish_instruction(struct ec *ec, struct vmcb *v, const struct exit_state *x, uint64_t mtd)
{
    uint64_t gets = operands_of(ec)->gets[v->info1 & 1], bits = operand_bits(ec);
    if (ec->event == EVENT_MSR && v->info1)
        finish_msr_write(ec, v, mtd);
    if (gets & A)
        v->rax = (x->rax & bits) | (bits < 0xffffffff ? v->rax & ~bits : 0); /* 32 bits clear the upper half (APM1 3.1.2) */
    if (gets & D)
        ec->regs.rdx = x->rdx & bits;
    v->rip = v->next_rip;
    v->shadow = 0;
}

static uint64_t load_sealed(struct ec *ec, struct vmcb *v, const struct exit_state *x, uint64_t mtd)
{
    uint64_t raises = ec->event == EVENT_EXCEPTION ? vmcb_exception(v, v->code - EXIT_EXCEPTION) : operands_of(ec)->raises;
    if (ec->waits) { /* for a start-up IPI: the rest of real mode is there since EVENT_START */
        if (!(mtd & MTD_SEGS) || !ec->pd->sipi)
            return mtd | MTD_HALT;
        v->seg[SEG_CS].selector = (uint16_t)(ec->pd->sipi << 8);
        v->seg[SEG_CS].base = (ec->pd->sipi & 0xffull) << 12;
        ec->waits = 0;
    } else if (mtd & MTD_INJECT && raises && once(x->inject) == raises) {
        v->inject = raises;
    } else if (mtd & MTD_RIP && v->next_rip && ec->event != EVENT_RECALL) {
        finish_instruction(ec, v, x, mtd);
    }
    return mtd;
}

uint64_t vcpu_load(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (ec->pd->sealed && ec->event != EVENT_START)
        return load_sealed(ec, v, x, mtd);
    ec->waits = ec->pd->sealed && mtd & MTD_HALT;
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
    return mtd;
}
