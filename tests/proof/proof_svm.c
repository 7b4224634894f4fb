/*
 * The virtualization hardware: whatever a VMM sends, its guest stays behind the
 * kernel's intercepts, maps and nested table; CPUID look-ups stay in their table.
 */
#include "small.h"
#include <apic.c>
#include <svm.c>
#include <svm_state.c>
#include <vcpu.c>
#include <svm_guest.c>

struct object objects[OBJECTS];
struct kernel_stat counters;
static struct core this_core;
static struct vmcb block;
enum { ROWS = 5 };
static struct cpuid_row row[ROWS];
static struct vcpu machine = {.vmcb = &block, .cpuid = row};
static struct exit_state message;

struct core *cpu_core(void) { return &this_core; }
void cpu_copy_words(uint64_t *to, const uint64_t *from, uint64_t words)
{
    for (uint64_t i = 0; i < words; i++)
        to[i] = from[i];
}
void sched_timer_set(struct timer *t, uint64_t deadline) { t->deadline = deadline; }
void sched_timer_clear(struct timer *t) { t->deadline = 0; }

/* Any rows in any order: only the table is read, and what answers is what was asked for, or zeros.
 */
void cpuid(void)
{
    __CPROVER_havoc_object(row);
    machine.cpuid_rows = any() & 7;
    assume(machine.cpuid_rows <= ROWS);
    index_rows(&machine);
    uint32_t leaf = (uint32_t)any(), subleaf = (uint32_t)any();
    const struct cpuid_row *r = find_row(&machine, leaf, subleaf);
    bool zeros = !r->eax && !r->ebx && !r->ecx && !r->edx && !r->flags;
    check(zeros || (r->leaf == leaf && (r->subleaf == subleaf || r->subleaf == CPUID_ANY)));
}

/* A sorted table: a row that is there is found. */
void cpuid_sorted(void)
{
    __CPROVER_havoc_object(row);
    uint64_t k = any();
    machine.cpuid_rows = ROWS;
    assume(k < ROWS && (row[k].leaf & 0x3fffffff) < CPUID_LEAVES);
    for (uint32_t i = 1; i < ROWS; i++)
        assume(row[i - 1].leaf < row[i].leaf ||
               (row[i - 1].leaf == row[i].leaf && row[i - 1].subleaf < row[i].subleaf));
    for (uint32_t i = 0; i < ROWS; i++)
        assume(i == k || row[i].leaf != row[k].leaf || row[i].subleaf != CPUID_ANY);
    index_rows(&machine);
    check(find_row(&machine, row[k].leaf, row[k].subleaf) == &row[k]);
}

/* APM2 15.11: bits 0 (read) and 1 (write) of each MSR's pair, in 800h bytes for 0..1FFFh and 800h
 * for C0000000h..C0001FFFh. */
static uint32_t byte_of(uint32_t msr)
{
    return (msr >= 0xc0000000 ? 0x800 : 0) + (msr & 0x1fff) / 4;
}
static uint8_t bits_of(uint32_t msr, unsigned access) { return (uint8_t)(access << 2 * (msr & 3)); }

/* Whatever byte is looked at, and whatever it was. */
void msr(void)
{
    uint64_t n = any(), at = any();
    unsigned access = any() & 3;
    assume(n < sizeof own_msrs / sizeof own_msrs[0] && at < sizeof msrpm[0]);
    uint32_t m = own_msrs[n];
    check(m < 0x2000 || (m >= 0xc0000000 && m < 0xc0002000));
    uint8_t before = msrpm[MAP_OWN][at] = (uint8_t)any();
    msr_set(MAP_OWN, m, access);
    check(msrpm[MAP_OWN][at] ==
          (at == byte_of(m) ? (before | bits_of(m, 3)) & (uint8_t)~bits_of(m, access) : before));
}

/* A guest with a core of its own is given its local APIC, MSRs 800h..83Fh, and nothing else; what
 * it writes to the ICR (830h) always exits.
 */
static void apic_of(unsigned map, uint64_t at)
{
    uint8_t before = msrpm[map][at];
    allow_apic(map);
    check((at >= byte_of(0x800) && at <= byte_of(0x83f)) || msrpm[map][at] == before);
    check(msrpm[map][byte_of(0x830)] & bits_of(0x830, WRITE));
}

void apic(void)
{
    __CPROVER_havoc_object(msrpm);
    uint64_t at = any();
    assume(at < sizeof msrpm[0]);
    apic_of(MAP_OWN, at);
    apic_of(MAP_ALONE, at);
}

/* What the kernel keeps in every VMCB; of a vCPU with a core of its own, too. IRET is intercepted
 * while an NMI is handled. */
static bool is_fenced(const struct vmcb *v, uint64_t nested_cr3, bool own)
{
    static struct vmcb fresh;
    static struct vcpu fresh_vcpu = {.vmcb = &fresh};
    static struct pd fresh_pd;
    static struct ec fresh_ec = {.vcpu = &fresh_vcpu, .pd = &fresh_pd};
    fresh_pd.table_pa = nested_cr3;
    svm_new(&fresh_ec);
    if (own)
        svm_take_core(&fresh_ec);
    return (v->intercept1 | I1_IRET) == (fresh.intercept1 | I1_IRET) &&
           v->intercept2 == fresh.intercept2 && v->iopm_pa == fresh.iopm_pa &&
           v->intercept_exception == fresh.intercept_exception && v->msrpm_pa == fresh.msrpm_pa &&
           v->asid == 1 && v->nested == 1 && v->nested_cr3 == nested_cr3 && v->efer & EFER_SVME &&
           (v->vintr & VINTR_MASKING) == (fresh.vintr & VINTR_MASKING) &&
           !(v->intercept_cr & ~(uint32_t)CR8_WRITE);
}

/* Is anything on offer while the guest steps over its write to CR8? */
static bool offers_in_step(const struct vmcb *v)
{
    return machine.step == STEP_CR8 && (v->vintr & VINTR_IRQ || v->intercept_cr);
}

uint64_t cpu_pa(const void *kernel_address)
{
    if (kernel_address == iopm)
        return 0x1000;
    return kernel_address == msrpm[MAP_OWN] ? 0x2000 : 0x3000;
}

void fence(void)
{
    static struct ec ec;
    static struct pd pd;
    static struct vcpu_stat counters;
    uint64_t nested_cr3 = any();
    ec.core_mode = any() & 1;
    ec.pd = &pd;
    pd.sealed = any() & 1;
    ec.event = any() % EVENT_COUNT;
    machine.counters = &counters;
    __CPROVER_havoc_object(&block);
    __CPROVER_havoc_object(&message);
    assume(is_fenced(&block, nested_cr3, ec.core_mode));
    ec.vcpu = &machine;
    machine.xcr0 = 7;
    machine.step = one_of(STEP_NONE, STEP_NMI, STEP_CR8);
    machine.traced = any() & 1;
    assume(machine.step != STEP_CR8 || !ec.core_mode); /* no CR8 write exits there */
    assume(!offers_in_step(&block));
    svm_take(&ec, &message, any());
    check(is_fenced(&block, nested_cr3, ec.core_mode));
    check(!offers_in_step(&block));
    check(machine.xcr0 == 1 || machine.xcr0 == 3 || machine.xcr0 == 7);
}
