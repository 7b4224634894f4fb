/*
 * AMD SVM, the half of virt.h that is not on the way of every exit: what is
 * intercepted, and the exits by which the kernel itself gets a guest back.
 */
#include <apic.h>
#include <core.h>
#include <svm.h>

/* APM2 15.10.1. All ones: every port exits. Of the installed system: those that pd.end_port and
   pd.end_too name. */
static uint8_t iopm[3 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint8_t iopm_installed[3 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
/* APM2 15.11. Of vCPUs that share their core; that have one; that have disengaged, too; of the
   installed system's. */
static uint8_t msrpm[4][2 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
enum { MAP_SHARED, MAP_OWN, MAP_ALONE, MAP_INSTALLED, MAPS };
static struct vmcb host_vmcb[MAX_CORES] __attribute__((aligned(PAGE_SIZE)));
static uint8_t host_save[MAX_CORES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/* MSRs a guest reads and writes itself: VMRUN, VMSAVE and VMLOAD switch each of them. */
static const uint32_t own_msrs[] = {
    0xc0000100, 0xc0000101, 0xc0000102,             /* FS.base GS.base KernelGSbase */
    0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR LSTAR CSTAR SFMASK */
    0x174,      0x175,      0x176,                  /* SYSENTER CS ESP EIP */
};

/* MSRs that the installed system does not have, of those that the machine has. What it writes there
   vanishes, but for EFER and the ICR (vcpu_exit.h); it reads ones, and in VM_CR that there is no
   SVM (APM2 15.30.1). */
static const uint32_t kept_msrs[] = {
    MSR_EFER, MSR_APIC_BASE, MSR_X2APIC(APIC_ICR), MSR_VM_CR, MSR_VM_HSAVE,
    /* What moves memory under Hairline's (APM2 A.9): SYSCFG; IORRs; TOP_MEM and TOP_MEM2; the
       window of PCI configuration; base, window, mask and control of SMM. */
    0xc0010010, 0xc0010016, 0xc0010017, 0xc0010018, 0xc0010019, 0xc001001a, 0xc001001d, 0xc0010058,
    0xc0010111, 0xc0010112, 0xc0010113, 0xc0010116,
    /* What is below all: microcode; and which accesses to ports call SMM. */
    0xc0010020, 0xc0010050, 0xc0010051, 0xc0010052, 0xc0010053, 0xc0010054, 0xc0010055, 0xc0010056};

/* Two bits for each MSR, in three ranges of 800h bytes: from 0, C000_0000h and C001_0000h. An
   access that is not `allowed` exits. */
static void msr_set(unsigned map, uint32_t msr, unsigned allowed)
{
    uint32_t bit = 2 * (msr % 4), range = msr >= 0xc0000000;
    range += msr >= 0xc0010000;
    uint32_t at = range * 0x800 + (msr & 0x1fff) / 4;
    /* mutant: msr-bits */
    msrpm[map][at] = (uint8_t)((msrpm[map][at] | 3u << bit) & ~(allowed << bit));
}

static void allow_apic(unsigned map)
{
    for (uint32_t r = 0; r < APIC_REGISTERS; r++)
        /* mutant: apic-pass */
        msr_set(map, MSR_X2APIC(r), apic_passed(r, map == MAP_ALONE));
}

void svm_init(void)
{
    for (uint32_t i = 0; i < sizeof iopm; i++)
        iopm[i] = 0xff;
    for (unsigned map = 0; map < MAP_INSTALLED; map++) {
        for (uint32_t i = 0; i < sizeof msrpm[map]; i++)
            msrpm[map][i] = 0xff;
        for (uint32_t i = 0; i < sizeof own_msrs / sizeof own_msrs[0]; i++)
            msr_set(map, own_msrs[i], READ | WRITE);
        if (map != MAP_SHARED)
            allow_apic(map);
    }
    msr_set(MAP_ALONE, MSR_EFER, READ);
    for (uint32_t i = 0; i < sizeof kept_msrs / sizeof kept_msrs[0]; i++)
        msr_set(MAP_INSTALLED, kept_msrs[i], READ);
    msr_set(MAP_INSTALLED, MSR_VM_CR, 0);
    msr_set(MAP_INSTALLED, MSR_VM_HSAVE, 0);
}

/* 8000_000Ah EDX[3]: the processor saves the next instruction's address (APM2 15.7.1). */
bool svm_guesses_rip;
/* EDX[6]: guests' translations go without the host's (APM2 15.16.1). */
uint32_t svm_flush;

void svm_core_init(struct core *c)
{
    svm_guesses_rip = !(cpu_cpuid(0x8000000a, 0).edx >> 3 & 1);
    svm_flush = cpu_cpuid(0x8000000a, 0).edx >> 6 & 1 ? 3 : 1;
    cpu_wrmsr(MSR_EFER, cpu_rdmsr(MSR_EFER) | EFER_SVME);
    cpu_wrmsr(MSR_VM_HSAVE, cpu_pa(&host_save[c->number]));
    if (virt_since_power_on)
        cpu_wrmsr(MSR_VM_CR, cpu_rdmsr(MSR_VM_CR) | VM_CR_R_INIT);
    c->host_vmcb_pa = cpu_pa(&host_vmcb[c->number]);
    cpu_vmsave(c->host_vmcb_pa);
}

void svm_new(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    ec->way = WAY_SVM;
    v->intercept_exception =
        1u << 1 | 1u << 17 | 1u << 18; /* #DB and #AC loop for ever if a guest wants; #MC */
    v->intercept1 = I1_INTR | I1_NMI | I1_INIT | I1_RDPMC | I1_CPUID | I1_RSM | I1_INVD | I1_HLT |
                    I1_INVLPGA | I1_PORT | I1_MSR | I1_FREEZE | I1_SHUTDOWN;
    v->intercept2 = I2_SVM | I2_MONITOR | I2_MWAIT | I2_XSETBV;
    v->iopm_pa = cpu_pa(iopm);
    v->msrpm_pa = cpu_pa(msrpm[MAP_SHARED]);
    v->asid = 1; /* one for all: the TLB is flushed when a core changes vCPUs */
    v->vintr = VINTR_MASKING;
    v->nested = 1;
    v->nested_cr3 = ec->pd->table_pa;
    v->efer = EFER_SVME;
    v->pat = PAT_RESET;
    ec->vmcb_pa = cpu_pa(v);
}

void svm_take_core(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    v->intercept1 &= ~(uint32_t)(I1_INTR | I1_HLT);
    v->intercept2 &= ~(uint32_t)I2_XSETBV;
    v->vintr = 0;
    v->msrpm_pa = cpu_pa(msrpm[MAP_OWN]);
}

/* All translations of the one ASID, which all guests have, go at its next entry (APM2 15.16.2). */
void svm_current(struct ec *ec, bool is)
{
    if (is)
        ec->vcpu->vmcb->tlb_control = svm_flush;
}

/* What exited has nothing to do with the event that comes now. */
void svm_no_instruction(struct ec *ec) { ec->vcpu->vmcb->next_rip = 0; }

void svm_disengage(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    v->intercept2 &= ~(uint32_t)(I2_MONITOR | I2_MWAIT);
    uint32_t installed = I1_RDPMC | I1_FREEZE | (virt_since_power_on ? 0 : I1_CPUID);
    v->intercept1 &= ~(ec->pd->ports ? installed : (uint32_t)I1_CPUID);
    v->msrpm_pa = cpu_pa(msrpm[ec->pd->ports ? MAP_INSTALLED : MAP_ALONE]);
    if (!ec->pd->ports)
        return;
    /* The byte of PM1 control with SLP_TYP and SLP_EN, and one more: each access that has one of
       them exits. */
    uint16_t sleep = (uint16_t)(ec->pd->end_port + 1), too = ec->pd->end_too;
    v->iopm_pa = cpu_pa(iopm_installed);
    iopm_installed[sleep / 8] |= (uint8_t)(1u << sleep % 8);
    iopm_installed[too / 8] |= (uint8_t)(1u << too % 8);
    v->intercept_exception &= ~(1u << 18); /* the machine's own handler is its */
}

/* Instructions that exit; what is not here is svm_rare_event()'s. */
const struct svm_exit svm_exits[SVM_EXITS] = {
    [EXIT_CPUID - EXIT_FIRST] = {CAUSE_CPUID, 2},
    [EXIT_HLT - EXIT_FIRST] = {EVENT_HLT, 1},
    [EXIT_PORT - EXIT_FIRST] = {EVENT_PORT, 0},
    [EXIT_MSR - EXIT_FIRST] = {EVENT_MSR, 2},
    [EXIT_VMMCALL - EXIT_FIRST] = {EVENT_VMCALL, 3},
    [EXIT_XSETBV - EXIT_FIRST] = {EVENT_XSETBV, 3},
    [EXIT_MONITOR - EXIT_FIRST... EXIT_MWAIT - EXIT_FIRST] = {EVENT_OPCODE, 3},
};

/* One instruction of the guest's, and back. */
static void step(struct ec *ec, enum step why)
{
    struct vmcb *v = ec->vcpu->vmcb;
    ec->vcpu->traced = (v->rflags & RFLAGS_TF) != 0;
    ec->vcpu->step = (uint8_t)why;
    v->rflags |= RFLAGS_TF;
}

/* The IRET of an NMI's handler. A VMM that has another one for its guest learns that by a recall.
   Another one that the kernel keeps comes after one step, the IRET: before it, it would take the
   frame that the IRET pops. */
static unsigned end_nmi(struct ec *ec, struct vmcb *v)
{
    v->intercept1 &= ~(uint32_t)I1_IRET;
    if (ec->nmi_kept)
        step(ec, STEP_NMI);
    __atomic_fetch_or(&ec->hazard, ec->core_mode ? 0 : HAZARD_RECALL, __ATOMIC_ACQ_REL);
    return CAUSE_NMI;
}

/* The guest lowers or raises its priority while a vector is on offer, which one emulator cannot
   bear: the offer is taken back for that instruction. If the guest has taken it, nothing is left to
   be withdrawn: the write goes on. */
static unsigned step_cr8(struct ec *ec, struct vmcb *v)
{
    v->intercept_cr = 0;
    if (v->vintr & VINTR_IRQ)
        step(ec, STEP_CR8);
    v->vintr &= ~(uint64_t)VINTR_IRQ;
    return CAUSE_STEP;
}

/* After the write to CR8. If the guest steps through it, too, the #DB is also its own. */
static unsigned end_cr8_step(const struct ec *ec, struct vmcb *v)
{
    v->vintr |= VINTR_IRQ;
    v->intercept_cr = CR8_WRITE;
    if (ec->vcpu->traced)
        return EVENT_EXCEPTION;
    v->rflags &= ~(uint64_t)RFLAGS_TF;
    v->dr6 &= ~(uint64_t)DR6_STEP;
    return CAUSE_STEP;
}

/* #DB: of a step of the kernel's own, or the guest's. */
static unsigned end_step(struct ec *ec, struct vmcb *v)
{
    enum step why = (enum step)ec->vcpu->step;
    ec->vcpu->step = STEP_NONE;
    if (why == STEP_CR8)
        return end_cr8_step(ec, v);
    if (why == STEP_NONE)
        return EVENT_EXCEPTION;
    __atomic_fetch_or(&ec->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    return CAUSE_NMI; /* the IRET has set RFLAGS.TF anew */
}

unsigned svm_rare_event(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    v->next_rip = 0;
    /* Seen: with MCIP set the next one would reset the machine (APM2 9.3.1). A guest with CR4.MCE
       clear may shut down by it. */
    if (v->code == EXIT_EXCEPTION + 18 || v->code == EXIT_SHUTDOWN)
        cpu_wrmsr(MSR_MCG_STATUS, 0);
    switch (v->code) {
    case EXIT_IRET: return end_nmi(ec, v);
    case EXIT_CR8: return step_cr8(ec, v);
    case EXIT_EXCEPTION + 1: return end_step(ec, v);
    case EXIT_EXCEPTION + 17:
    case EXIT_EXCEPTION + 18: return EVENT_EXCEPTION;
    case EXIT_INTR: return CAUSE_INTR;
    case EXIT_INIT: /* it stays pending: svm_enter's STGI takes it */
    case EXIT_NMI: return CAUSE_NMI;
    case EXIT_SHUTDOWN: return EVENT_SHUTDOWN;
    case EXIT_NPF: return EVENT_MEMORY;
    default: return (uint32_t)v->code == EXIT_INVALID ? EVENT_INVALID : EVENT_OPCODE;
    }
}

/* The state was refused: a flush may not have been made, and an emulator may have cleared
   V_INTR_MASKING: a guest with RFLAGS.IF clear would keep the core for good. */
void svm_refused(const struct ec *ec)
{
    ec->vcpu->vmcb->tlb_control = svm_flush;
    ec->vcpu->vmcb->vintr |= ec->core_mode ? 0 : VINTR_MASKING;
}
