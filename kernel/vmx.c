/*
 * Intel VMX: the VMCS of each vCPU, what exits, and the exits that are the
 * kernel's own business. Own core, where nothing else is said.
 */
#include <apic.h>
#include <core.h>
#include <vmx.h>

static uint8_t region[MAX_CORES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE))); /* VMXON */

static uint32_t revision(void) { return (uint32_t)cpu_rdmsr(MSR_VMX_BASIC) & 0x7fffffff; }

void vmx_core_init(struct core *c)
{
    enum { LOCKED = 1, OUTSIDE_SMX = 4 };
    uint64_t control = cpu_rdmsr(MSR_FEATURE_CONTROL), pa = cpu_pa(region[c->number]);
    if (!(control & LOCKED))
        cpu_wrmsr(MSR_FEATURE_CONTROL, control | LOCKED | OUTSIDE_SMX);
    cpu_set_cr4(cpu_cr4() | CR4_VMXE);
    *(uint32_t *)(void *)region[c->number] = revision();
    if (!cpu_vmxon(pa))
        panic("VMXON fails on core", c->number, 0);
}

/* The bits that the processor wants to be 1 beside those that we want (SDM3 A.3). All that we want
   may be 1: boot/processor.c has seen to that. */
static uint64_t with_fixed(uint32_t msr, uint64_t wanted)
{
    return wanted | (uint32_t)cpu_rdmsr(msr);
}

/* The true capability MSR of one that fixes more than it must (SDM3 A.3.1). */
static uint32_t true_msr(uint32_t msr)
{
    return cpu_rdmsr(MSR_VMX_BASIC) >> 55 & 1 ? msr + 0xc : msr;
}

void vmx_set_control(uint64_t field, uint64_t bits, bool on)
{
    uint64_t v = cpu_vmread(field);
    cpu_vmwrite(field, on ? v | bits : v & ~bits);
}

static void write_controls(const struct ec *ec)
{
    cpu_vmwrite(VMCS_PIN, with_fixed(true_msr(MSR_VMX_PIN), PIN_INTR | PIN_NMI | PIN_VIRTUAL_NMIS));
    cpu_vmwrite(VMCS_PRIMARY,
                with_fixed(true_msr(MSR_VMX_PRIMARY),
                           PRIMARY_TSC_OFFSET | PRIMARY_HLT | PRIMARY_MWAIT | PRIMARY_RDPMC |
                               PRIMARY_CR8 | PRIMARY_PORTS | PRIMARY_MSR_BITMAP | PRIMARY_MONITOR |
                               PRIMARY_SECONDARY));
    cpu_vmwrite(VMCS_SECONDARY,
                with_fixed(MSR_VMX_SECONDARY, SECONDARY_EPT | SECONDARY_RDTSCP | SECONDARY_VPID |
                                                  SECONDARY_UNRESTRICTED));
    cpu_vmwrite(VMCS_EXIT, with_fixed(true_msr(MSR_VMX_EXIT), EXIT_CONTROLS));
    cpu_vmwrite(VMCS_ENTRY, with_fixed(true_msr(MSR_VMX_ENTRY), ENTRY_CONTROLS));
    /* #DB and #AC loop for ever if a guest wants; #MC */
    cpu_vmwrite(VMCS_EXCEPTIONS, 1u << 1 | 1u << 17 | 1u << 18);
    cpu_vmwrite(VMCS_MSR_BITMAP, vmx_msrs_pa(MAP_SHARED));
    cpu_vmwrite(VMCS_VPID, 1);                             /* all guests': vmx_current */
    cpu_vmwrite(VMCS_EPTP, ec->pd->table_pa | 6 | 3 << 3); /* write-back, four levels */
    cpu_vmwrite(VMCS_CR0_MASK, CR0_KEPT);
    cpu_vmwrite(VMCS_CR4_MASK, CR4_KEPT);
    static const uint16_t zero[] = {
        VMCS_PF_MASK,     VMCS_PF_MATCH,    VMCS_CR3_TARGETS,  VMCS_EXIT_STORES,   VMCS_EXIT_LOADS,
        VMCS_ENTRY_LOADS, VMCS_INJECT,      VMCS_TSC_OFFSET,   VMCS_CR0_SHADOW,    VMCS_CR4_SHADOW,
        VMCS_DEBUGCTL,    VMCS_BLOCKING,    VMCS_ACTIVITY,     VMCS_PENDING_DEBUG, VMCS_RSP,
        VMCS_RIP,         VMCS_SYSENTER_CS, VMCS_SYSENTER_ESP, VMCS_SYSENTER_EIP,  VMCS_CR3,
        VMCS_EFER};
    for (unsigned i = 0; i < sizeof zero / sizeof zero[0]; i++)
        cpu_vmwrite(zero[i], 0);
    cpu_vmwrite(VMCS_LINK, ~0ull);
    cpu_vmwrite(VMCS_PAT, PAT_RESET);
    cpu_vmwrite(VMCS_CR0, CR0_NE);
    cpu_vmwrite(VMCS_CR4, CR4_KEPT);
    cpu_vmwrite(VMCS_RFLAGS, RFLAGS_FIXED);
    cpu_vmwrite(VMCS_DR7, 0x400);
}

/* The kernel's state on that vCPU's core. All cores have the same control registers. */
static void write_host(const struct core *c)
{
    extern const uint8_t vmx_back[];
    cpu_vmwrite(VMCS_HOST_CR0, cpu_cr0() | CR0_TS);
    cpu_vmwrite(VMCS_HOST_CR3, objects[1].pd.table_pa);
    cpu_vmwrite(VMCS_HOST_CR4, cpu_cr4());
    cpu_vmwrite(VMCS_HOST_EFER, cpu_rdmsr(MSR_EFER));
    cpu_vmwrite(VMCS_HOST_PAT, PAT_RESET);
    static const uint16_t zero[] = {0xc00,  0xc06,  0xc08,
                                    0xc0a,                   /* ES DS FS GS: threads have none */
                                    0x6c06,                  /* FS base */
                                    0x4c00, 0x6c10, 0x6c12}; /* SYSENTER */
    for (unsigned i = 0; i < sizeof zero / sizeof zero[0]; i++)
        cpu_vmwrite(zero[i], 0);
    cpu_vmwrite(VMCS_HOST_CS, SEL_KERNEL_CODE);
    cpu_vmwrite(VMCS_HOST_SS, SEL_KERNEL_DATA);
    cpu_vmwrite(VMCS_HOST_TR, SEL_TSS);
    cpu_vmwrite(VMCS_HOST_GS_BASE, (uint64_t)c);
    cpu_vmwrite(VMCS_HOST_TR_BASE, (uint64_t)&c->tss);
    cpu_vmwrite(VMCS_HOST_GDTR_BASE, (uint64_t)c->gdt);
    cpu_vmwrite(VMCS_HOST_IDTR_BASE, core_idt());
    cpu_vmwrite(VMCS_HOST_RSP, c->stack_top);
    cpu_vmwrite(VMCS_HOST_RIP, (uint64_t)vmx_back);
}

/* Any core makes or changes a VMCS that no core holds: it holds it meanwhile, instead of the vCPU
   that it had. */
static void edit(struct ec *ec, bool begin)
{
    if (begin) {
        vcpu_unload(cpu_core());
        cpu_vmptrld(ec->vmcb_pa);
    } else {
        cpu_vmclear(ec->vmcb_pa);
    }
}

void vmx_new(struct ec *ec)
{
    ec->way = WAY_VMX;
    ec->vmcb_pa = cpu_pa(ec->vcpu->vmcs);
    *(uint32_t *)ec->vcpu->vmcs = revision();
    cpu_vmclear(ec->vmcb_pa);
    ec->vcpu->dr6 = 0xffff0ff0;
    edit(ec, true);
    write_controls(ec);
    write_host(&cores[ec->core]);
    edit(ec, false);
}

void vmx_take_core(struct ec *ec)
{
    edit(ec, true);
    vmx_set_control(VMCS_PIN, PIN_INTR, false);
    vmx_set_control(VMCS_PRIMARY, PRIMARY_HLT | PRIMARY_CR8, false);
    cpu_vmwrite(VMCS_MSR_BITMAP, vmx_msrs_pa(MAP_OWN));
    edit(ec, false);
}

void vmx_disengage(struct ec *ec)
{
    vcpu_load_core(cpu_core(), ec);
    vmx_set_control(VMCS_PRIMARY, PRIMARY_MWAIT | PRIMARY_MONITOR, false);
    cpu_vmwrite(VMCS_MSR_BITMAP, vmx_msrs_pa(MAP_ALONE));
}

/* One VMCS a core is active: who is not current any more is back in its frame, which may be freed.
   INVEPT: the core forgets all that it knows by nested tables. That is all that it knows of guests,
   of whatever VPID: with EPT nothing is kept by linear addresses alone (SDM3 28.3.2, 28.3.3.1). */
void vmx_current(struct ec *ec, bool is)
{
    struct core *c = cpu_core();
    if (!is) {
        /* Use after free: the core may be abroad in this vCPU, which may be dead and freed as soon
           as the rendezvous is answered. */
        vmx_go_home();
        ec->vcpu->dr6 = cpu_dr6();
        cpu_vmclear(ec->vmcb_pa);
        return;
    }
    cpu_vmptrld(ec->vmcb_pa);
    cpu_invept();
    cpu_set_dr6(ec->vcpu->dr6);
    cpu_wrmsr(MSR_CSTAR, ec->vcpu->msr[VMX_CSTAR]);
    c->launched = 0;
    c->host_cr3 = 0;
}

/* ---- exits ---- */

static const uint8_t vmx_events[VMX_REASONS] = {
    [VMX_INTR] = CAUSE_INTR, [VMX_TRIPLE] = EVENT_SHUTDOWN, [VMX_CPUID] = CAUSE_CPUID,
    [VMX_HLT] = EVENT_HLT,   [VMX_VMCALL] = EVENT_VMCALL,   [VMX_PORT] = EVENT_PORT,
    [VMX_RDMSR] = EVENT_MSR, [VMX_STATE] = EVENT_INVALID,   [VMX_EPT_ENTRY] = EVENT_MEMORY,
};

/* The entry. Of an exit before it are all fields but the reason and the qualification. */
static bool has_failed(uint64_t reason) { return cpu_core()->refused || reason & VMX_FAILED; }

/* SDM3 27.2.3: an IRET that did not end has unblocked NMIs. `event`: of VMCS_EVENT, or the
   qualification of an access. While something was being delivered the bit means nothing. */
static void block_nmi_again(uint64_t event)
{
    if (event & EVENT_UNBLOCKED_NMI && !(cpu_vmread(VMCS_VECTORING) & INJECT_VALID))
        vmx_set_control(VMCS_BLOCKING, BLOCKING_NMI, true);
}

/* A #DB that exits has not yet changed DR6 and DR7, and its injection does not (SDM3 27.1, 26.6.1).
 */
static void debug_exception(void)
{
    enum { GENERAL_DETECT = 1 << 13 };
    cpu_set_dr6(cpu_dr6() | (cpu_vmread(VMCS_QUALIFICATION) & 0xe00f));
    cpu_vmwrite(VMCS_DR7, cpu_vmread(VMCS_DR7) & ~(uint64_t)GENERAL_DETECT);
}

/* #DB, #AC, #MC; an NMI of the kernel's. */
static unsigned exception(void)
{
    uint64_t event = cpu_vmread(VMCS_EVENT), vector = event & 0xff;
    if (vector == 2) {
        cpu_end_nmi();
        return CAUSE_NMI;
    }
    block_nmi_again(event);
    if ((event & INJECT_TYPE) == 5 << 8) /* INT1, which exits before it is done (SDM3 27.3.3) */
        vmx_skip();
    if (vector == 1)
        debug_exception();
    if (vector == 18)
        cpu_wrmsr(MSR_MCG_STATUS, 0);
    return EVENT_EXCEPTION;
}

/* The register of a MOV to or from a control register (SDM3 27.2.1). */
static uint64_t *vmx_operand(struct ec *ec, uint64_t number)
{
    struct regs *r = &ec->regs;
    uint64_t *const low[] = {&r->rax, &r->rcx, &r->rdx, &r->rbx,
                             &r->rsp, &r->rbp, &r->rsi, &r->rdi};
    return number < 8 ? low[number] : &r->r8 + (number - 8);
}

/* CR8 is the kernel's to keep while the vCPU shares its core. */
static void move_cr8(struct ec *ec, uint64_t *reg, bool write)
{
    if (write && *reg > 15) {
        vmx_skip_or_fault(ec, false);
        return;
    }
    if (write)
        ec->vcpu->cr8 = (uint8_t)*reg;
    else
        *reg = ec->vcpu->cr8;
    cpu_vmwrite(VMCS_RSP, ec->regs.rsp);
    vmx_skip();
    vmx_offer(ec);
}

/* CR0_KEPT, CR4_KEPT. The guest sees its own NE, CD and NW: they are noted, and the instruction,
   which is made again, changes the rest. NW without CD, VMXE and MCE it cannot have. */
static unsigned control_register(struct ec *ec)
{
    enum { LOAD, STORE };
    uint64_t q = cpu_vmread(VMCS_QUALIFICATION), *reg = vmx_operand(ec, q >> 8 & 15);
    ec->regs.rsp = cpu_vmread(VMCS_RSP);
    if ((q & 15) == 8)
        move_cr8(ec, reg, (q >> 4 & 3) == LOAD);
    else if ((q & 15) == 0 && (*reg & (CR0_CD | CR0_NW)) != CR0_NW)
        cpu_vmwrite(VMCS_CR0_SHADOW, *reg & CR0_KEPT);
    else
        vmx_skip_or_fault(ec, false);
    return CAUSE_STEP;
}

/* The IRET of an NMI's handler. A VMM that has another one for its guest learns that by a recall.
 */
static unsigned nmi_window(struct ec *ec)
{
    vmx_set_control(VMCS_PRIMARY, PRIMARY_NMI_WINDOW, false);
    __atomic_fetch_or(&ec->hazard, ec->nmi_kept ? HAZARD_NMI : 0, __ATOMIC_ACQ_REL);
    __atomic_fetch_or(&ec->hazard, ec->core_mode ? 0 : HAZARD_RECALL, __ATOMIC_ACQ_REL);
    return CAUSE_NMI;
}

static bool is_xcr0(uint64_t v)
{
    enum { SSE_AVX = 6, AVX = 4, MPX = 0x18, AVX512 = 0xe0, AMX = 0x60000, KNOWN = 0x602ff };
    static const uint32_t together[] = {MPX, AVX512, AMX};
    for (unsigned i = 0; i < sizeof together / sizeof together[0]; i++)
        if ((v & together[i]) != 0 && (v & together[i]) != together[i])
            return false;
    /* mutant: vmx-xcr0 */
    return v & 1 && !(v & ~(vcpu_states & KNOWN)) && (v & SSE_AVX) != AVX &&
           ((v & AVX512) == 0 || v & AVX);
}

/* It exits always. Of a vCPU that has its core the kernel answers (SDM1 13.3). */
static unsigned set_xcr0(struct ec *ec)
{
    uint64_t v = ec->regs.rdx << 32 | (uint32_t)ec->regs.rax;
    bool legal = (uint32_t)ec->regs.rcx == 0 && is_xcr0(v);
    if (!ec->core_mode)
        return EVENT_XSETBV;
    if (legal)
        cpu_xsetbv(v);
    vmx_skip_or_fault(ec, legal);
    return CAUSE_STEP;
}

/* The state, or a control, was refused. Whether it counts as launched is not told. No exit has
   changed the vectoring information, nor taken back the event of the entry (SDM3 26.8). */
static unsigned refused(struct ec *ec)
{
    cpu_core()->refused = 0;
    cpu_wrmsr(MSR_MCG_STATUS, 0); /* a machine check may have come in between (SDM3 26.8) */
    vmx_inject(ec, 0);
    vcpu_unload(cpu_core());
    return EVENT_INVALID;
}

unsigned vmx_event(struct ec *ec)
{
    uint64_t reason = cpu_vmread(VMCS_REASON);
    if (has_failed(reason))
        return refused(ec);
    switch (reason) {
    case VMX_EVENT: return exception();
    case VMX_CR: return control_register(ec);
    case VMX_INTR_WINDOW: vmx_offer(ec); return CAUSE_STEP;
    case VMX_NMI_WINDOW: return nmi_window(ec);
    case VMX_XSETBV: return set_xcr0(ec);
    case VMX_WRMSR: return vmx_keep_msr(ec) ? CAUSE_STEP : EVENT_MSR;
    case VMX_EPT: block_nmi_again(cpu_vmread(VMCS_QUALIFICATION)); return EVENT_MEMORY;
    default: return reason < VMX_REASONS && vmx_events[reason] ? vmx_events[reason] : EVENT_OPCODE;
    }
}

/* SDM3 27.2.4. NMIs are not blocked by one that did not get in. */
void vmx_deliver_again(struct ec *ec, uint64_t vectoring)
{
    if (has_failed(cpu_vmread(VMCS_REASON)))
        return;
    uint64_t event = vectoring & ~(uint64_t)EVENT_UNBLOCKED_NMI & 0xffffffff;
    if ((event & INJECT_TYPE) == INJECT_NMI)
        vmx_set_control(VMCS_BLOCKING, BLOCKING_NMI, false);
    if (event & INJECT_ERROR)
        event |= cpu_vmread(VMCS_VECTORING_ERROR) << 32;
    cpu_vmwrite(VMCS_INJECT_LENGTH, cpu_vmread(VMCS_LENGTH));
    vmx_inject(ec, event);
}

/* vmx_state.c, next_rip: nothing is kept of an instruction but the event. */
void vmx_no_instruction(struct ec *ec) { (void)ec; }
