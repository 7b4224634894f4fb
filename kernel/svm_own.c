/*
 * A vCPU with a core of its own, in terms of the VMCB: its ICR and its NMIs,
 * which the kernel sees to with a VMM and without; and the table of DESIGN
 * section 4, which is all that is left when the VMM has gone. Own core, no lock.
 */
#include <alone.h>
#include <vcpu.h>
#include <vmcb.h>

static void go_on(struct vmcb *v, uint64_t rip)
{
    v->rip = rip;
    v->shadow = 0;
}

/* Until the next IRET there is one at work, with which this is one: a processor would keep it for after (APM2 8.1.4). It
   goes before an exception, which comes again when its instruction does. */
void vcpu_give_nmi(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (v->intercept1 & I1_IRET)
        return;
    v->intercept1 |= I1_IRET;
    v->inject = INJECT_VALID | INJECT_NMI | 2;
}

/* A write to the ICR that the filter dealt with. */
static bool writes_icr(struct ec *ec, struct vmcb *v)
{
    if ((uint32_t)ec->regs.rcx != MSR_X2APIC_ICR || v->info1 != 1 || !icr_write(ec, ec->regs.rdx << 32 | (uint32_t)v->rax))
        return false;
    go_on(v, v->rip + 2);
    return true;
}

/* The core's interrupts are the guest's; an NMI is for the kernel, or tells of a hazard, and it has done so when we get here. */
bool vcpu_own_exit(struct ec *ec, struct vmcb *v)
{
    bool icr = v->code == EXIT_MSR && writes_icr(ec, v), nmi = v->code == EXIT_NMI || v->code == EXIT_IRET;
    ec->vcpu->stat->exits[CAUSE_ICR] += icr;
    ec->vcpu->stat->exits[CAUSE_NMI] += nmi;
    if (v->code == EXIT_IRET)
        v->intercept1 &= ~(uint32_t)I1_IRET;
    return icr || nmi;
}

/* Quiet: reads give ones, writes vanish. Not a string instruction, nor a port that ends the guest. */
static bool answer_ones(struct ec *ec, struct vmcb *v)
{
    enum { IN = 1, STRING = 4, BYTE = 0x10, WORD = 0x20 }; /* APM2 15.10.2 */
    uint64_t i = v->info1;
    if (v->code == EXIT_MSR) {
        v->rax = i ? v->rax : 0xffffffff;
        ec->regs.rdx = i ? ec->regs.rdx : 0xffffffff;
        go_on(v, v->rip + 2);
        return true;
    }
    if (i & STRING || (i >> 16 & 0xffff) - ec->pd->end_port < ec->pd->end_ports)
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

void vcpu_alone_exit(struct ec *ec, struct vmcb *v)
{
    uint64_t *exits = ec->vcpu->stat->exits, vector = v->code - EXIT_EXCEPTION;
    bool quiet = ec->pd->left == 1 + AFTER_QUIET;
    if (v->code == EXIT_VMMCALL) {
        exits[EVENT_VMCALL]++;
        v->rax = (uint64_t)-38; /* ENOSYS */
        go_on(v, v->rip + 3);
    } else if (vector == 1 || vector == 17) { /* #DB, #AC with its error code: the guest gets it */
        exits[EVENT_EXCEPTION]++;
        v->inject = INJECT_VALID | INJECT_EXCEPTION | vector | (vector == 17 ? INJECT_ERROR | v->info1 << 32 : 0);
    } else if (quiet && (v->code == EXIT_PORT || v->code == EXIT_MSR) && answer_ones(ec, v)) {
        exits[v->code == EXIT_MSR ? EVENT_MSR : EVENT_PORT]++;
    } else {
        end(ec, v);
    }
}
