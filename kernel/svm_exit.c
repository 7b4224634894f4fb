/*
 * AMD SVM: what an exit means and who sees to it: the kernel (CPUID; of a vCPU
 * with a core of its own, its ICR and its NMIs), the VMM, or, when that has left,
 * the few lines of alone_exit(). Own core; no lock.
 */
#include <alone.h>
#include <ipc.h>
#include <vcpu.h>
#include <vmcb.h>

/* What the exit codes from 40h on mean; those not named are EVENT_OPCODE. */
static const struct {
    uint8_t event, length; /* length: of the instruction, where it is always the same */
} exits[] = {
    [EXIT_EXCEPTION + 1 - EXIT_FIRST] = {EVENT_EXCEPTION, 0},
    [EXIT_EXCEPTION + 17 - EXIT_FIRST] = {EVENT_EXCEPTION, 0},
    [EXIT_EXCEPTION + 18 - EXIT_FIRST] = {EVENT_EXCEPTION, 0},
    [EXIT_INTR - EXIT_FIRST] = {CAUSE_INTR, 0},
    [EXIT_NMI - EXIT_FIRST] = {CAUSE_NMI, 0},
    [EXIT_CPUID - EXIT_FIRST] = {CAUSE_CPUID, 2},
    [EXIT_IRET - EXIT_FIRST] = {CAUSE_NMI, 0},
    [EXIT_HLT - EXIT_FIRST] = {EVENT_HLT, 1},
    [EXIT_PORT - EXIT_FIRST] = {EVENT_PORT, 0},
    [EXIT_MSR - EXIT_FIRST] = {EVENT_MSR, 2},
    [EXIT_SHUTDOWN - EXIT_FIRST] = {EVENT_SHUTDOWN, 0},
    [EXIT_VMMCALL - EXIT_FIRST] = {EVENT_VMCALL, 3},
    [EXIT_XSETBV - EXIT_FIRST] = {EVENT_XSETBV, 3},
};

static void go_on(struct vmcb *v, uint64_t rip)
{
    v->rip = rip;
    v->shadow = 0;
}

/* The row that answers (leaf, subleaf), found from the leaf's first row; a row of zeros if there is none. */
static const struct cpuid_row *find_row(const struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    static const struct cpuid_row nothing;
    uint32_t i = leaf & 0x3fffffff;
    i = i < CPUID_LEAVES ? v->cpuid_first[leaf >> 30][cpu_unknown(i) & (CPUID_LEAVES - 1)] : 0;
    for (; i && i <= v->cpuid_rows; i++) {
        const struct cpuid_row *r = &v->cpuid[i - 1];
        if (r->leaf != leaf)
            break;
        if (r->subleaf == subleaf || r->subleaf == CPUID_ANY)
            return r;
    }
    return &nothing;
}

static void answer_cpuid(struct ec *ec, struct vmcb *v)
{
    const struct cpuid_row *r = find_row(ec->vcpu, (uint32_t)v->rax, (uint32_t)ec->regs.rcx);
    v->rax = r->eax;
    ec->regs.rbx = r->ebx;
    ec->regs.rcx = r->ecx | (r->flags & CPUID_OSXSAVE && v->cr4 & CR4_OSXSAVE ? 1u << 27 : 0);
    ec->regs.rdx = r->edx;
    go_on(v, v->rip + 2);
}

/* Codes outside the table. */
static unsigned rare_event(uint64_t code)
{
    return code == EXIT_NPF ? EVENT_MEMORY : code == EXIT_CR8 ? EVENT_CR8 : (uint32_t)code == EXIT_INVALID ? EVENT_INVALID : EVENT_OPCODE;
}

static unsigned classify(struct vmcb *v)
{
    uint64_t i = v->code - EXIT_FIRST;
    v->next_rip = 0;
    if (i >= sizeof exits / sizeof exits[0])
        return rare_event(v->code);
    if (exits[i].length)
        v->next_rip = v->rip + exits[i].length;
    else if (v->code == EXIT_PORT && !(v->info1 & PORT_STRING))
        v->next_rip = v->info2;
    return exits[i].event ? exits[i].event : EVENT_OPCODE;
}

/* An exit of a vCPU that has a VMM. */
static void engaged_exit(struct ec *ec, struct vmcb *v)
{
    unsigned event = classify(v);
    ec->vcpu->stat->exits[event]++;
    if (event == EVENT_INVALID && !ec->own) /* an emulator may have cleared it: a guest with RFLAGS.IF clear would keep the core for good */
        v->vintr |= VINTR_MASKING;
    if (event == CAUSE_CPUID)
        answer_cpuid(ec, v);
    else if (event == CAUSE_INTR || event == CAUSE_NMI)
        cpu_irq_window();
    else
        ipc_event(ec, event);
}

/* A write to the ICR that the filter dealt with. */
static bool writes_icr(struct ec *ec, struct vmcb *v)
{
    if ((uint32_t)ec->regs.rcx != MSR_X2APIC_ICR || v->info1 != 1 || !icr_write(ec, ec->regs.rdx << 32 | (uint32_t)v->rax))
        return false;
    ec->vcpu->stat->exits[CAUSE_ICR]++;
    go_on(v, v->rip + 2);
    return true;
}

/* The core's interrupts are the guest's; an NMI is for the kernel, or tells of a hazard, and it has done so when we get here. */
static bool own_exit(struct ec *ec, struct vmcb *v)
{
    if (v->code == EXIT_MSR)
        return writes_icr(ec, v);
    if (v->code != EXIT_NMI && v->code != EXIT_IRET)
        return false;
    ec->vcpu->stat->exits[CAUSE_NMI]++;
    return true;
}

/* Quiet: reads give ones, writes vanish. Not a string instruction, nor a port that ends the guest. */
static bool answer_ones(struct ec *ec, struct vmcb *v)
{
    enum { IN = 1, BYTE = 0x10, WORD = 0x20 }; /* APM2 15.10.2 */
    uint64_t i = v->info1, port = i >> 16 & 0xffff;
    if (v->code == EXIT_MSR) {
        v->rax = i ? v->rax : 0xffffffff;
        ec->regs.rdx = i ? ec->regs.rdx : 0xffffffff;
        go_on(v, v->rip + 2);
        return true;
    }
    if (i & PORT_STRING || port == ec->pd->end_too || port - ec->pd->end_port < ec->pd->end_ports)
        return false;
    if (i & IN)
        v->rax = i & BYTE ? v->rax | 0xff : i & WORD ? v->rax | 0xffff : 0xffffffff;
    go_on(v, v->info2);
    return true;
}

/* The VM is over: say where and why. This core waits to be taken back (vcpu_prepare). */
static void end(struct ec *ec, const struct vmcb *v)
{
    struct vcpu_stat *s = ec->vcpu->stat;
    s->end_info1 = v->info1, s->end_info2 = v->code == EXIT_MSR ? ec->regs.rcx : v->info2;
    s->end_rax = v->rax, s->end_rip = v->rip, s->end_cr3 = v->cr3;
    __atomic_fetch_or(&ec->hazard, HAZARD_END, __ATOMIC_ACQ_REL);
    __atomic_store_n(&s->end_code, v->code + 1, __ATOMIC_RELEASE);
}

/* Of a vCPU whose VMM has left: DESIGN section 4. */
static void alone_exit(struct ec *ec, struct vmcb *v)
{
    uint64_t *count = ec->vcpu->stat->exits, vector = v->code - EXIT_EXCEPTION;
    if (v->code == EXIT_VMMCALL) {
        count[EVENT_VMCALL]++;
        v->rax = (uint64_t)-38; /* ENOSYS */
        go_on(v, v->rip + 3);
    } else if (vector == 1 || vector == 17) { /* #DB, #AC with its error code: the guest gets it */
        count[EVENT_EXCEPTION]++;
        v->inject = vmcb_exception(v, vector);
    } else if (ec->pd->left == 1 + AFTER_QUIET && (v->code == EXIT_PORT || v->code == EXIT_MSR) && answer_ones(ec, v)) {
        count[v->code == EXIT_MSR ? EVENT_MSR : EVENT_PORT]++;
    } else {
        end(ec, v);
    }
}

void vcpu_exit(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if ((uint32_t)v->code != EXIT_INVALID) /* then it may not have been obeyed */
        v->tlb_control = 0;
    if (v->code == EXIT_EXCEPTION + 18)
        cpu_wrmsr(MSR_MCG_STATUS, 0); /* seen: with MCIP set the next machine check would reset the machine (APM2 9.3.1) */
    v->inject = v->exit_int & INJECT_VALID ? v->exit_int : 0; /* APM2 15.7.1: what was being delivered is delivered again */
    if (v->code == EXIT_IRET) { /* of an NMI's handler. A VMM that has another one for it learns that by a recall */
        v->intercept1 &= ~(uint32_t)I1_IRET;
        __atomic_fetch_or(&ec->hazard, ec->own ? 0 : HAZARD_RECALL, __ATOMIC_ACQ_REL);
    }
    if (ec->own && own_exit(ec, v))
        return;
    if (ec->own == OWN_LEFT)
        alone_exit(ec, v);
    else
        engaged_exit(ec, v);
}
