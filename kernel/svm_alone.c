/*
 * What the table of alone.c does to a vCPU without a VMM, in terms of the VMCB.
 * Own core.
 */
#include <vcpu.h>
#include <vmcb.h>

static void skip(struct vmcb *v)
{
    v->rip = v->next_rip;
    v->shadow = 0;
}

void vcpu_note_end(const struct ec *ec)
{
    const struct vmcb *v = ec->vcpu->vmcb;
    struct vcpu_stat *s = ec->vcpu->stat;
    s->end_info1 = v->info1, s->end_info2 = v->code == EXIT_MSR ? ec->regs.rcx : v->info2, s->end_rax = v->rax, s->end_rip = v->rip,
    s->end_cr3 = v->cr3;
    __atomic_store_n(&s->end_code, v->code + 1, __ATOMIC_RELEASE);
}

void vcpu_refuse_call(struct ec *ec)
{
    ec->vcpu->vmcb->rax = (uint64_t)-38; /* ENOSYS */
    skip(ec->vcpu->vmcb);
}

bool vcpu_reflect(struct ec *ec)
{
    enum { ALIGNMENT = 17, MACHINE_CHECK = 18 };
    struct vmcb *v = ec->vcpu->vmcb;
    uint64_t vector = v->code - EXIT_EXCEPTION;
    if (vector == MACHINE_CHECK)
        return false;
    v->inject = INJECT_VALID | INJECT_EXCEPTION | vector | (vector == ALIGNMENT ? INJECT_ERROR | v->info1 << 32 : 0);
    return true;
}

bool vcpu_answer_ones(struct ec *ec)
{
    enum { IN = 1, STRING = 4, BYTE = 0x10, WORD = 0x20 }; /* APM2 15.10.2 */
    struct vmcb *v = ec->vcpu->vmcb;
    if (v->code == EXIT_MSR && v->info1 == 0) {
        v->rax = 0xffffffff;
        ec->regs.rdx = 0xffffffff;
    } else if (v->code == EXIT_PORT) {
        if (v->info1 & STRING || (v->info1 >> 16 & 0xffff) - ec->pd->end_port < ec->pd->end_ports)
            return false;
        if (v->info1 & IN)
            v->rax = v->info1 & BYTE ? v->rax | 0xff : v->info1 & WORD ? v->rax | 0xffff : 0xffffffff;
    }
    skip(v);
    return true;
}
