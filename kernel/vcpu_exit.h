/*
 * An exit, and who sees to it: the kernel (CPUID; of a vCPU with a core of its own,
 * its ICR and its NMIs), the VMM, or, when that has left, the few lines of
 * disengaged_exit(). Own core; no lock. Each vendor compiles it with its own accessors
 * (virt.h), so nothing here asks whose processor this is; pt_event() does, for the VMM.
 */
#ifndef KERNEL_VCPU_EXIT_H
#define KERNEL_VCPU_EXIT_H

#include <apic.h>
#include <icr.h>
#include <pt.h>

/* The row that answers (leaf, subleaf), found from the leaf's first row; a row of zeros if there is
 * none. */
static const struct cpuid_row *find_row(const struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    static const struct cpuid_row nothing;
    uint32_t i = leaf & 0x3fffffff;
    i = i < CPUID_LEAVES ? v->cpuid_first[leaf >> 30][cpu_unknown(i) & (CPUID_LEAVES - 1)] : 0;
    for (; i && i <= v->cpuid_rows; i++) {
        const struct cpuid_row *r = &v->cpuid[i - 1];
        /* mutant: cpuid-leaf */
        if (r->leaf != leaf)
            break;
        if (r->subleaf == subleaf || r->subleaf == CPUID_ANY)
            return r;
    }
    return &nothing;
}

/* The APIC ID of the processor for which a vCPU of the installed system stands. Firmware's start of
   a processor finds its stack by it. */
static uint32_t installed_id(const struct ec *ec)
{
    uint32_t i = 0;
    while (i < MAX_CORES - 1 && cores[i].installed != ec)
        i++;
    return cores[i].apic_id;
}

/* The installed system's is the processor's. Where it has no IOMMU, because that is the kernel's,
   Linux stays in x2APIC mode only beneath a hypervisor that it knows; of what that could do there
   is nothing (Linux, arch/x86/kernel/apic/apic.c: try_to_enable_x2apic). */
static RARE struct cpuid_row installed_row(const struct ec *ec, struct control *c, uint32_t leaf,
                                           uint32_t subleaf)
{
    enum { OSXSAVE = 1u << 27, HYPERVISOR = 1u << 31, INVLPGB = 1 << 3, OSPKE = 1 << 4 };
    enum { FRED = 1 << 17 };
    struct cpuid r = cpu_cpuid(leaf, subleaf);
    if (leaf == 1) {
        r.ecx = (r.ecx & ~(uint32_t)OSXSAVE) | HYPERVISOR;
        r.ebx = (r.ebx & 0xffffff) | installed_id(ec) << 24;
    }
    if (leaf == 7 && subleaf == 0)
        r.ecx = (r.ecx & ~(uint32_t)OSPKE) | (guest_cr4(c) & CR4_PKE ? OSPKE : 0);
    if (leaf == 7 && subleaf == 1)
        r.eax &= ~(uint32_t)FRED; /* its stacks are not switched (APM2 B, VMCB 0B8h) */
    if (leaf == 0xb || leaf == 0x80000026)
        r.edx = installed_id(ec);
    if (leaf == 0x8000001e)
        r.eax = installed_id(ec);
    if (leaf == 0x80000008)
        r.ebx &= ~(uint32_t)INVLPGB; /* #UD in a guest (APM2 B, VMCB 090h) */
    if (leaf == 0x40000000)
        r = (struct cpuid){0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}; /* KVMKVMKVM */
    if (leaf == 0x40000001)
        r = (struct cpuid){0};
    return (struct cpuid_row){leaf,  subleaf, leaf == 1 ? CPUID_OSXSAVE : 0, r.eax, r.ebx,
                              r.ecx, r.edx};
}

static void answer_cpuid(struct ec *ec, struct control *c)
{
    uint64_t *rax = guest_rax(ec, c);
    uint32_t leaf = (uint32_t)*rax, subleaf = (uint32_t)ec->regs.rcx;
    const struct cpuid_row r =
        ec->pd->ports ? installed_row(ec, c, leaf, subleaf) : *find_row(ec->vcpu, leaf, subleaf);
    *rax = r.eax;
    ec->regs.rbx = r.ebx;
    ec->regs.rcx = r.ecx | (r.flags & CPUID_OSXSAVE && guest_cr4(c) & CR4_OSXSAVE ? 1u << 27 : 0);
    ec->regs.rdx = r.edx;
    guest_skip(c);
}

/* What the kernel sees to. The interrupts of a core of its own are not the kernel's to take. */
static void kernel_exit(struct ec *ec, struct control *c, unsigned cause)
{
    if (cause == CAUSE_CPUID)
        answer_cpuid(ec, c);
    else if (!ec->core_mode)
        cpu_irq_window();
}

/* A write to the ICR that the filter dealt with. */
static bool writes_icr(struct ec *ec, struct control *c)
{
    if (!guest_wrote_msr(c) || (uint32_t)ec->regs.rcx != MSR_X2APIC(APIC_ICR) ||
        !icr_write(ec, ec->regs.rdx << 32 | (uint32_t)*guest_rax(ec, c)))
        return false;
    ec->vcpu->counters->exits[CAUSE_ICR]++;
    guest_skip(c);
    return true;
}

/* Quiet: reads give ones, writes vanish. Not a string instruction, nor a port that ends the guest.
 */
static bool answer_ones(struct ec *ec, struct control *c, unsigned event, const struct exit_info *i)
{
    uint64_t *rax = guest_rax(ec, c), ones = ~0u >> (32 - 8 * (event == EVENT_PORT ? i->size : 4));
    bool ends = i->number == ec->pd->end_too || i->number - ec->pd->end_port < ec->pd->end_ports;
    if (event == EVENT_PORT && (i->flags & EXIT_STRING || ends))
        return false;
    if (i->flags & EXIT_READ) /* 32 bits clear the upper half (APM1 3.1.2) */
        *rax = ones == 0xffffffff ? ones : *rax | ones;
    if (i->flags & EXIT_READ && event == EVENT_MSR)
        ec->regs.rdx = 0xffffffff;
    /* Banks of machine checks, which are beyond the map: there is no error (APM2 9.3). */
    if (i->flags & EXIT_READ && event == EVENT_MSR && i->number >> 12 == 0xc0002)
        *rax = ec->regs.rdx = 0;
    guest_skip(c);
    return true;
}

/* The VM is over: say where and why. This core waits to be taken back (vcpu_prepare). */
static RARE void end(struct ec *ec, unsigned event, const struct exit_info *info)
{
    struct vcpu_stat *s = ec->vcpu->counters;
    s->end_info = *info;
    guest_record(ec, s);
    __atomic_fetch_or(&ec->hazard, HAZARD_END, __ATOMIC_ACQ_REL);
    __atomic_store_n(&s->end_event, event + 1, __ATOMIC_RELEASE);
}

/* What the installed system did that a machine without Hairline does otherwise, or not at all. */
static RARE bool installed_exit(struct ec *ec, struct control *c, unsigned event,
                                const struct exit_info *i)
{
    enum { SLEEP = 0x3c00 }; /* SLP_TYP and SLP_EN of PM1 control (ACPI 6.5, 4.8.3.2.1) */
    uint64_t *rax = guest_rax(ec, c);
    if (event == EVENT_OPCODE || event == EVENT_VMCALL) {
        if (event == EVENT_VMCALL && ec->pd->disengaged == 1 + AFTER_LEAVE && guest_is_kernel(c))
            cpu_go((uint64_t)boot_pml4, BOOT_LEAVE_AT, ec->regs.rdi, ec->vmcb_pa);
        guest_inject(c, INJECT_VALID | INJECT_EXCEPTION | 6); /* #UD: there is no virtualization */
        return true;
    }
    if (event == EVENT_MSR && i->number == MSR_EFER)
        guest_write_efer(ec, ec->regs.rdx << 32 | (uint32_t)*rax);
    else if (event == EVENT_PORT && i->flags & EXIT_READ)
        *rax = (*rax & (i->size == 1 ? ~0xffull : ~0xffffull)) | cpu_inb((uint16_t)i->number);
    else if (event != EVENT_PORT || /* power-off ends it */
             (i->number == ec->pd->end_port && (*rax & SLEEP) == ec->pd->end_ports))
        return false;
    guest_skip(c);
    return true;
}

/* Of a vCPU whose VMM has left: docs/decisions/0027. */
static RARE void disengaged_exit(struct ec *ec, struct control *c, unsigned event)
{
    uint64_t *count = &ec->vcpu->counters->exits[event];
    struct exit_info info;
    guest_info(ec, event, &info);
    if (ec->pd->ports && installed_exit(ec, c, event, &info)) {
        /* it goes on */
    } else if (event == EVENT_VMCALL) {
        *guest_rax(ec, c) = (uint64_t)-38; /* ENOSYS */
        guest_skip(c);
    } else if (event == EVENT_EXCEPTION && info.number != 18) { /* #DB, #AC: the guest gets it */
        guest_inject(c, exit_exception(&info));
    } else if (ec->pd->disengaged == 1 + AFTER_STRICT ||
               (event != EVENT_PORT && event != EVENT_MSR) || !answer_ones(ec, c, event, &info)) {
        end(ec, event, &info);
        return;
    }
    ++*count;
}

static void guest_exit(struct ec *ec)
{
    struct control *c = guest_control(ec);
    guest_left(ec, c);
    if (ec->core_mode && writes_icr(ec, c))
        return;
    unsigned event = guest_event(ec, c);
    if (event < EVENT_COUNT && ec->core_mode == CORE_DISENGAGED) {
        disengaged_exit(ec, c, event);
        return;
    }
    ec->vcpu->counters->exits[event]++;
    if (event < EVENT_COUNT)
        pt_event(ec, event);
    else
        kernel_exit(ec, c, event);
}

#endif
