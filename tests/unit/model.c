/* See model.h. APM2 and APM3: AMD's manual; SDM3: Intel's. */
#include "test.h"
#include "model.h"
#include <vmcs.h>
#include <core.h>
#include <lib/hw/apic.h>
#include <stdio.h>

enum { READ = 1, WRITE = 2, RW = 3 };
enum rule {
    PLAIN,
    BARRIER,
    BANK,
    BANKS,
    CANONICAL,
    BASE,
    EFER,
    MEMORY_TYPES,
    PAGE,
    ID,
    END,
    ENABLE,
    LVT,
    TIMER,
    INITIAL,
    COMMAND,
    SELF,
    PENDING,
    LOCK
};
enum apic {
    A_ID = 2,
    A_EOI = 0xb,
    A_SVR = 0xf,
    A_ISR = 0x10,
    A_IRR = 0x20,
    A_ICR = 0x30,
    A_TIMER = 0x32,
    A_ERROR = 0x37,
    A_INITIAL = 0x38
};
enum { MASKED = 1 << 16, SOFTWARE_ENABLE = 1 << 8, BASE_X2APIC = 1 << 10, BASE_ENABLE = 1 << 11 };
#define ALL_BITS     (~0ull)
#define PHYSICAL     0xffffffffff000ull /* page-aligned */
#define CR4_KNOWN    0x1ff7fffull
#define CR0_KNOWN    0xe005003full
#define XCR0_KNOWN   0x207ull /* x87, SSE, AVX, PKRU */
#define XCR0_NEEDS_2 0x4ull

/* Each register that the kernel uses: a bit outside `writable` that a write sets is reserved. What
   is not here does not exist. APIC registers are 800h to 83Fh (SDM3 table 11-6, APM2 16.3
   and 16.11). */
static const struct row {
    const char *name;
    uint32_t first, count;
    unsigned access;
    uint64_t writable;
    enum rule rule;
} rows[] = {
    {"APIC_BASE", 0x1b, 1, RW, PHYSICAL | 0xd00, BASE}, /* APM2 16.3.1, 16.9 */
    {"FEATURE_CONTROL", 0x3a, 1, RW, 7, LOCK},          /* SDM3 23.7 */
    {"PRED_CMD", 0x49, 1, WRITE, 1, BARRIER},
    {"MCG_CAP", 0x179, 1, READ, 0, BANKS},
    {"MCG_STATUS", 0x17a, 1, RW, 7, PLAIN},
    {"MC0, MC1, MC2", 0x400, 12, RW, ALL_BITS, BANK},
    {"DEBUGCTL", 0x1d9, 1, RW, 0x3f, PLAIN},                 /* APM2 13.1.3.6 */
    {"PAT", 0x277, 1, RW, 0x0707070707070707, MEMORY_TYPES}, /* APM2 7.8.1 */
    {"APIC ID", 0x802, 1, READ, 0, ID},
    {"APIC version", 0x803, 1, READ, 0, PLAIN},
    {"TPR", 0x808, 1, RW, 0xff, PLAIN},
    {"EOI", 0x80b, 1, WRITE, 0, END},
    {"LDR", 0x80d, 1, READ, 0, PLAIN},
    {"SVR", 0x80f, 1, RW, 0x3ff, ENABLE},
    {"ISR", 0x810, 8, READ, 0, PLAIN},
    {"TMR", 0x818, 8, READ, 0, PLAIN},
    {"IRR", 0x820, 8, READ, 0, PENDING},
    {"ESR", 0x828, 1, RW, 0, PLAIN},
    {"ICR", 0x830, 1, RW, 0xffffffff000ccfff, COMMAND}, /* APM2 16.5, 16.13 */
    {"LVT timer", 0x832, 1, RW, 0x310ff, TIMER},        /* APM2 16.4 */
    {"LVT thermal", 0x833, 1, RW, 0x117ff, LVT},
    {"LVT performance", 0x834, 1, RW, 0x117ff, LVT},
    {"LVT LINT0, 1", 0x835, 2, RW, 0x1d7ff, LVT},
    {"LVT error", 0x837, 1, RW, 0x110ff, LVT},
    {"timer's initial count", 0x838, 1, RW, 0xffffffff, INITIAL},
    {"timer's current count", 0x839, 1, READ, 0, PLAIN},
    {"timer's divider", 0x83e, 1, RW, 0xb, PLAIN},
    {"self-IPI", 0x83f, 1, WRITE, 0xff, SELF},
    {"EFER", 0xc0000080, 1, RW, 0x20fd01, EFER}, /* APM2 3.1.7 */
    {"STAR", 0xc0000081, 1, RW, ALL_BITS, PLAIN},
    {"LSTAR, CSTAR", 0xc0000082, 2, RW, ALL_BITS, CANONICAL},
    {"SFMASK", 0xc0000084, 1, RW, 0xffffffff, PLAIN},
    {"FS, GS, kernel GS", 0xc0000100, 3, RW, ALL_BITS, CANONICAL},
    {"TSC_AUX", 0xc0000103, 1, RW, 0xffffffff, PLAIN},
    {"VM_CR", MSR_VM_CR, 1, RW, 0x1f, PLAIN},           /* APM2 15.30.1 */
    {"VM_HSAVE_PA", 0xc0010117, 1, RW, PHYSICAL, PAGE}, /* APM2 15.30.4 */
    {"FP_CFG", 0xc0011028, 1, RW, ALL_BITS, PLAIN},
    {"DE_CFG", 0xc0011029, 1, RW, ALL_BITS, PLAIN},
    {"BP_CFG", 0xc001102e, 1, RW, ALL_BITS, PLAIN},
    {"DE_CFG2", 0xc00110e3, 1, RW, ALL_BITS, PLAIN},
};
enum { ROWS = COUNT(rows) };
_Static_assert(ROWS <= MACHINE_MSRS / 4, "four words a row");

static const char *broken; /* the first rule, while model_refuses() watches */
static bool watching;

/* Stands where the processor would fault, or do something else than what was written. */
void model_refuse(const char *name, uint64_t v, const char *rule)
{
    if (!watching)
        fail_msg("%s, %llx: %s", name, (unsigned long long)v, rule);
    broken = broken ? broken : rule;
}

const char *model_refuses(void (*sequence)(void))
{
    struct machine was = machine;
    watching = true;
    broken = NULL;
    sequence();
    watching = false;
    machine = was;
    return broken;
}

static unsigned self(void) { return (unsigned)(machine.core - cores); }
struct processor *machine_cpu(void) { return &machine.cpu[self()]; }

static const struct row *row_of(uint32_t msr)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (msr - rows[i].first < rows[i].count)
            return &rows[i];
    return NULL;
}

static bool is_apic(uint32_t msr) { return msr >> 6 == MSR_X2APIC(0) >> 6; }

static uint64_t *value_of(const struct row *r, uint32_t msr)
{
    if (is_apic(msr))
        return &machine_cpu()->apic[msr & 63];
    if (r->rule == BANK)
        return &machine_cpu()->bank[msr - r->first];
    unsigned at = 4 * (unsigned)(r - rows) + (msr - r->first);
    return &machine_cpu()->msr[at % MACHINE_MSRS];
}

static uint64_t *msr(uint32_t number) { return value_of(row_of(number), number); }

/* ---- what a value must be besides, and what its write does --------------------- */
static const char *base_rule(uint64_t was, uint64_t v)
{
    enum { STATE = BASE_X2APIC | BASE_ENABLE };
    if ((v & STATE) == BASE_X2APIC)
        return "there is no x2APIC mode without the APIC (APM2 16.9)";
    if ((was & STATE) == STATE && (v & STATE) == BASE_ENABLE)
        return "from x2APIC mode there is no way back to xAPIC mode but through disabled (APM2 "
               "16.9)";
    if (!(was & BASE_ENABLE) && (v & STATE) == STATE)
        return "from disabled there is no way to x2APIC mode but through xAPIC mode (APM2 16.9)";
    return NULL;
}

static const char *efer_rule(uint64_t was, uint64_t v)
{
    if ((was ^ v) & EFER_LME && machine_cpu()->cr0 & CR0_PG)
        return "LME changes while paging is on (APM2 14.6.1)";
    if (v & EFER_SVME && machine.intel)
        return "there is no SVM";
    if (v & EFER_AIBRSE && (machine.last_leaf < 0x80000021 || !(machine.more_features >> 8 & 1)))
        return "there is no automatic IBRS (APM3 E.4, 8000_0021h EAX[8])";
    if ((was ^ v) & EFER_LMA)
        return "LMA is the processor's (APM2 3.1.7)";
    return NULL;
}

static const char *types_rule(uint64_t v)
{
    for (unsigned i = 0; i < 64; i += 8)
        if ((v >> i & 7) == 2 || (v >> i & 7) == 3)
            return "memory types 2 and 3 are reserved (APM2 7.8.1)";
    return NULL;
}

static const char *lvt_rule(uint64_t v)
{
    bool ignored = !(machine_cpu()->apic[A_SVR] & SOFTWARE_ENABLE) && !(v & MASKED);
    return ignored ? "an APIC that software has disabled keeps its LVT masked (APM2 16.4, SDM3 "
                     "11.4.7.2)"
                   : NULL;
}

static const char *count_rule(uint64_t v)
{
    return v && machine_cpu()->apic[A_TIMER] & MASKED
               ? "the timer that starts is masked: nobody hears of it"
               : NULL;
}

/* Bits 10:8 are the mode, 19:18 the shorthand (APM2 16.5). */
static const char *command_rule(uint64_t v)
{
    unsigned mode = v >> 8 & 7, shorthand = v >> 18 & 3;
    if (mode == 3 || mode == 7)
        return "the message type is reserved";
    if (shorthand == 1 && mode != 0)
        return "what goes to itself by the shorthand is fixed";
    if ((mode == 0 || mode == 1) && (v & 0xff) < 16)
        return "vectors below 16 are illegal (APM2 16.6.2)";
    return NULL;
}

static const char *rule_of(const struct row *r, uint64_t was, uint64_t v)
{
    switch (r->rule) {
    case BASE: return base_rule(was, v);
    case EFER: return efer_rule(was, v);
    case MEMORY_TYPES: return types_rule(v);
    case LVT:
    case TIMER: return lvt_rule(v);
    case INITIAL: return count_rule(v);
    case COMMAND: return command_rule(v);
    case LOCK: return was & 1 || !machine.intel ? "it is locked, or not there" : NULL;
    case SELF: return v < 16 ? "vectors below 16 are illegal (APM2 16.6.2)" : NULL;
    case CANONICAL: return (uint64_t)((int64_t)(v << 16) >> 16) != v ? "it is not canonical" : NULL;
    case PAGE: return v == 0 ? "there is no page" : NULL;
    default: return NULL;
    }
}

/* The highest one in service ends (APM2 16.6.4). */
static void end_of_interrupt(void)
{
    uint64_t *isr = machine_cpu()->apic + A_ISR;
    machine.ended++;
    for (unsigned n = 8; n > 0; n--) {
        uint64_t *word = &isr[n - 1];
        if (*word) {
            *word &= ~(1ull << (63 - __builtin_clzll(*word)));
            return;
        }
    }
}

static void mask_all(void)
{
    for (unsigned r = A_TIMER; r <= A_ERROR; r++)
        machine_cpu()->apic[r] |= MASKED;
}

static void send(uint64_t v)
{
    if (machine.icr)
        machine.icr(v);
    else if ((v & 0x700) == 0x400)
        machine.nmis |= 1u << (v >> 32);
    else if (v & 0x700)
        machine.started++;
    else
        machine.ipis |= 1u << (v >> 32);
}

static void effect_of(enum rule rule, uint64_t v)
{
    switch (rule) {
    case END: end_of_interrupt(); break;
    case ENABLE:
        if (!(v & SOFTWARE_ENABLE))
            mask_all();
        break;
    case INITIAL: machine_cpu()->timer_at = v ? machine.tsc + v : 0; break;
    case COMMAND: send(v); break;
    case BARRIER: machine.barriers++; break;
    default: break;
    }
}

/* ---- the accessors of cpu.h --------------------------------------------------- */
static bool reachable(const struct row *r, uint32_t msr_number, unsigned access, uint64_t v)
{
    enum { ON = BASE_X2APIC | BASE_ENABLE };
    if (!r) {
        model_refuse("an MSR", msr_number, "it is not in the table");
        return false;
    }
    if (is_apic(msr_number) && (*msr(MSR_APIC_BASE) & ON) != ON)
        model_refuse(r->name, v, "the APIC is not in x2APIC mode");
    if (!(r->access & access))
        model_refuse(r->name, v,
                     access == READ ? "it is for writing only" : "it is for reading only");
    return r->access & access;
}

/* The calibration waits with interrupts off; time passes. */
static uint64_t pending(uint32_t number, uint64_t v)
{
    if (number != MSR_X2APIC(A_IRR + VECTOR_TIMER / 32) || counters.apic_per_tsc)
        return v;
    if (!machine_cpu()->timer_at)
        model_refuse("IRR", v, "nothing will come");
    machine.tsc = machine_cpu()->timer_at;
    machine_cpu()->timer_at = 0;
    return v | 1u << VECTOR_TIMER % 32;
}

uint64_t machine_rdmsr(uint32_t number)
{
    if (machine.intel && number >= MSR_VMX_BASIC && number <= 0x490)
        return model_vmx_capability(number);
    const struct row *r = row_of(number);
    if (!reachable(r, number, READ, 0))
        return 0;
    uint64_t v = *value_of(r, number);
    if (r->rule == BANKS)
        return 0x100 | COUNT(machine_cpu()->bank) / 4;
    if (r->rule == ID)
        return self();
    return r->rule == PENDING ? pending(number, v) : v;
}

void machine_wrmsr(uint32_t number, uint64_t v)
{
    const struct row *r = row_of(number);
    if (!reachable(r, number, WRITE, v))
        return;
    uint64_t *value = value_of(r, number);
    const char *rule = v & ~r->writable ? "reserved bits are set" : rule_of(r, *value, v);
    if (rule)
        model_refuse(r->name, v, rule);
    bool ignored = (r->rule == LVT || r->rule == TIMER) && rule;
    *value = v | (ignored ? MASKED : 0);
    effect_of(r->rule, v);
}

/* APM2 3.1.1 */
void machine_set_cr0(uint64_t v)
{
    struct processor *p = machine_cpu();
    if (v & ~CR0_KNOWN)
        model_refuse("CR0", v, "reserved bits are set");
    if ((v & CR0_PG) == 0 || !(v & CR0_PE))
        model_refuse("CR0", v, "64-bit code cannot do without paging and protection");
    if ((v >> 29 & 3) == 1)
        model_refuse("CR0", v, "NW is set and CD is not");
    if (p->vmxon && !(v & CR0_NE))
        model_refuse("CR0", v, "NE is 1 in VMX operation (SDM3 23.8)");
    p->cr0 = v;
}

/* SDM3 17.2.6 */
void machine_set_dr6(uint64_t v)
{
    if (v >> 32)
        model_refuse("DR6", v, "the upper half is not 0");
    machine_cpu()->dr6 = v;
}

/* APM2 3.1.3 */
void machine_set_cr4(uint64_t v)
{
    if (v & ~CR4_KNOWN)
        model_refuse("CR4", v, "reserved bits are set");
    if (!(v & CR4_PAE))
        model_refuse("CR4", v, "long mode needs PAE");
    if (v & CR4_VMXE ? !machine.intel : machine_cpu()->vmxon)
        model_refuse("CR4", v, "VMXE is not there, or goes in VMX operation (SDM3 23.8)");
    machine_cpu()->cr4 = v;
}

void machine_set_cr3(uint64_t v)
{
    if (v & ~(PHYSICAL | 0x18))
        model_refuse("CR3", v, "reserved bits are set");
    machine_cpu()->cr3 = v;
    if (machine.flushed)
        machine.flushed();
}

/* MPX, AVX-512 and AMX are of more than one bit (SDM1 13.3). */
static bool is_half(uint64_t v, uint64_t states) { return v & states && (v & states) != states; }

/* APM2 11.5.2 */
void machine_xsetbv(uint64_t v)
{
    if (!(machine_cpu()->cr4 & CR4_OSXSAVE))
        model_refuse("XCR0", v, "CR4.OSXSAVE is off");
    bool halves = is_half(v, 0x18) || is_half(v, 0xe0) || is_half(v, 0x60000);
    if (v & ~(XCR0_KNOWN | machine.more_states) || !(v & 1) || (v & 6) == XCR0_NEEDS_2 || halves ||
        (v & 0xe0 && !(v & 4)))
        model_refuse("XCR0", v, "these states cannot be on together");
    machine_cpu()->xcr0 = v;
}

struct cpuid machine_cpuid(uint32_t leaf)
{
    if (leaf == 0x80000000)
        return (struct cpuid){machine.last_leaf, 0, 0, 0};
    if (leaf == 0x80000021)
        return (struct cpuid){machine.more_features, 0, 0, 0};
    if (leaf == 7 && machine.all_features)
        return (struct cpuid){~0u, ~0u, ~0u, ~0u};
    if (leaf == 0)
        return (struct cpuid){0, ~0u, machine.intel ? CPUID_INTEL : 0, ~0u};
    if (leaf == 1)
        return (struct cpuid){
            machine.signature, ~0u,
            (machine.below ? ~0u : ~0u >> 1) & ~(machine.no_x2apic ? 1u << 21 : 0u), ~0u};
    if (leaf == 0x8000000a) /* APM3 E.4.9: bit 3, NRIPS */
        return (struct cpuid){
            1, 64, 0, (machine.no_next_rip ? ~8u : ~0u) & (machine.no_barrier ? ~64u : ~0u)};
    if (machine.no_barrier && (leaf == 7 || leaf == 0x80000008)) /* APM3 E.4.7; SDM2 CPUID */
        return (struct cpuid){0, ~(1u << 12), ~0u, ~(1u << 26)};
    return leaf == 0xd ? (struct cpuid){(uint32_t)(XCR0_KNOWN | machine.more_states), MACHINE_FPU,
                                        MACHINE_FPU, 0}
                       : (struct cpuid){0, ~0u, ~0u, ~0u};
}

/* With TS set these fault (APM2 11.5.1). */
static void check_fpu(const void *area)
{
    if (machine_cpu()->cr0 & CR0_TS || !(machine_cpu()->cr4 & CR4_OSXSAVE))
        model_refuse("XSAVE, XRSTOR", machine_cpu()->cr0, "CR0.TS is set, or CR4.OSXSAVE is off");
    if ((uint64_t)area % 64)
        model_refuse("XSAVE, XRSTOR", (uint64_t)area,
                     "the area does not begin at a multiple of 64");
}

void machine_xsave(void *area)
{
    machine.buffered = true;
    check_fpu(area);
    memcpy(area, machine_cpu()->fpu, MACHINE_FPU);
}

void machine_xrstor(const void *area)
{
    check_fpu(area);
    memcpy(machine_cpu()->fpu, area, MACHINE_FPU);
}

static void check_svm(const char *what, uint64_t pa)
{
    if (!(*msr(MSR_EFER) & EFER_SVME))
        model_refuse(what, pa, "EFER.SVME is off (APM2 15.4)");
    if (pa & ~PHYSICAL || !pa)
        model_refuse(what, pa, "this is no page");
}

void machine_vmsave(uint64_t pa) { check_svm("VMSAVE", pa); }

/* What the kernel alone decides of the checks of APM2 15.5.1; a guest's own registers and what its
   VMM injects may be anything: the processor says EXIT_INVALID. */
void model_vmrun(const struct vmcb *v)
{
    check_svm("VMRUN", cpu_pa(v));
    if (!*msr(MSR_VM_HSAVE))
        model_refuse("VMRUN", cpu_pa(v), "VM_HSAVE_PA is not set (APM2 15.30.4)");
    if (!(v->intercept2 & 1) || !v->asid || !(v->efer & EFER_SVME))
        model_refuse("VMRUN", cpu_pa(v),
                     "VMRUN is not intercepted, the ASID is 0, or EFER.SVME is off (APM2 15.5.1)");
    if (v->intercept1 & I1_INTR && !(v->vintr & VINTR_MASKING))
        model_refuse(
            "VMRUN", cpu_pa(v),
            "without V_INTR_MASKING the guest's IF holds the host's interrupts (APM2 15.21.1)");
    if ((v->iopm_pa | v->msrpm_pa | v->nested_cr3) & ~PHYSICAL)
        model_refuse("VMRUN", cpu_pa(v), "a table is no page");
}

/* Opcodes' bytes; 0: no instruction. Of INVD and the like, too: the processor says it of all. */
static uint64_t length_of(uint64_t code)
{
    switch (code) {
    case EXIT_HLT:
    case EXIT_IRET: return 1;
    case EXIT_CPUID:
    case EXIT_MSR:
    case 0x76: return 2; /* INVD */
    case EXIT_CR8: return 4;
    default: return code >= 0x80 && code <= EXIT_XSETBV ? 3 : 0;
    }
}

void model_exit(struct vmcb *v)
{
    uint64_t length = length_of(v->code), port = v->code == EXIT_PORT;
    if (machine.no_next_rip)
        return;
    v->next_rip = length ? v->rip + machine.prefixes + length : machine.wild_next_rip;
    v->next_rip = port ? v->info2 : v->next_rip;
}

void model_in_service(uint32_t vector)
{
    machine_cpu()->apic[A_ISR + vector / 32] |= 1ull << vector % 32;
}

/* The APIC after INIT (APM2 16.3.2), and off altogether: firmware may leave it so. The rest is
 * boot/start.S's. */
void model_reset(void)
{
    for (unsigned i = 0; i < MACHINE_CORES; i++) {
        machine.core = &cores[i];
        struct processor *p = machine_cpu();
        *p = (struct processor){
            .cr0 = 0x80010033, .cr2 = 0xdead000, .cr4 = CR4_PAE, .xcr0 = 1, .dr6 = 0xffff0ff0};
        *msr(MSR_EFER) = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
        *msr(MSR_APIC_BASE) = 0xfee00000;
        *msr(MSR_PAT) = 0x0606060606060606;
        *msr(MSR_TSC_AUX) = 7;
        p->apic[A_SVR] = 0xff;
        mask_all();
    }
}
