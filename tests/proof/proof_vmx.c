/*
 * Intel's virtualization hardware, as proof_svm.c has AMD's: whatever a VMM sends and whatever a
 * guest exits by, the kernel's part of the VMCS stays, and the kernel loads nothing that would
 * fault; what MSR bitmaps let pass is what a list says, and all else exits.
 */
#include "small.h"
#include <cpu.h>

static void watched_wrmsr(uint32_t msr, uint64_t v);
static uint64_t watched_rdmsr(uint32_t msr);
static void watched_dr6(uint64_t v);
#define cpu_wrmsr(msr, v) watched_wrmsr(msr, v)
#define cpu_rdmsr(msr)    watched_rdmsr(msr)
#define cpu_set_dr6(v)    watched_dr6(v)
#include <apic.c>
#include <vmx.c>
#include <vmx_msr.c>
#include <vmx_state.c>
#include <vcpu.c>
#include <vmx_guest.c>

struct object objects[OBJECTS];
struct kernel_stat counters;
static struct core this_core;
static struct vcpu machine;
static struct vcpu_stat stat;
static struct exit_state message;
static struct pd guest;
static struct ec ec;

struct core *cpu_core(void) { return &this_core; }
uint64_t cpu_tsc(void) { return any(); }
void cpu_copy_words(uint64_t *to, const uint64_t *from, uint64_t words)
{
    for (uint64_t i = 0; i < words; i++)
        to[i] = from[i];
}
void sched_timer_set(struct timer *t, uint64_t deadline) { t->deadline = deadline; }
void sched_timer_clear(struct timer *t) { t->deadline = 0; }

/* ---- what faults in the kernel (SDM2 WRMSR, MOV to DR) ---- */
static bool is_canonical(uint64_t v) { return v + (1ull << 47) < 1ull << 48; }

static bool is_loadable(uint64_t i, uint64_t v)
{
    if (i == VMX_STAR)
        return true;
    return i == VMX_SFMASK ? v < 1ull << 32 : is_canonical(v);
}

static void watched_wrmsr(uint32_t msr, uint64_t v)
{
    if (msr >= MSR_STAR && msr <= MSR_SFMASK)
        check(is_loadable(msr - MSR_STAR, v));
    else if (msr == MSR_KGS_BASE)
        check(is_canonical(v));
}

/* What a processor has in them could be loaded. */
static uint64_t watched_rdmsr(uint32_t msr)
{
    uint64_t v = any();
    if (msr >= MSR_STAR && msr <= MSR_SFMASK)
        assume(is_loadable(msr - MSR_STAR, v));
    else if (msr == MSR_KGS_BASE)
        assume(is_canonical(v));
    return v;
}

static void watched_dr6(uint64_t v) { check(v < 1ull << 32); }
void core_set_syscall(void) {}

static bool all_loadable(void)
{
    bool ok = machine.dr6 < 1ull << 32 && machine.cr8 < 16;
    for (uint64_t i = 0; i < VMX_MSRS; i++)
        ok = ok && is_loadable(i, machine.msr[i]);
    return ok && (machine.xcr0 == 1 || machine.xcr0 == 3 || machine.xcr0 == 7);
}

/* ---- the VMCS: two controls are kept, all else reads as anything ---- */
static uint64_t primary, entry;

uint64_t cpu_vmread(uint64_t field)
{
    if (field == VMCS_PRIMARY)
        return primary;
    return field == VMCS_ENTRY ? entry : any();
}

/* SDM3 24.11.2: bits 11:10 of a field's number are 0 of controls, 1 of what is for reading only, 2
 * of the guest's state, 3 of the host's. */
static bool may_control(uint64_t field, uint64_t v)
{
    enum { WINDOWS = PRIMARY_INTR_WINDOW | PRIMARY_NMI_WINDOW };
    switch (field) {
    case VMCS_PRIMARY: return !((v ^ primary) & ~(uint64_t)WINDOWS);
    case VMCS_ENTRY: return !((v ^ entry) & ~(uint64_t)ENTRY_LONG_MODE);
    case VMCS_INJECT:
    case VMCS_INJECT_ERROR:
    case VMCS_INJECT_LENGTH:
    case VMCS_TSC_OFFSET:
    case VMCS_CR0_SHADOW: return true;
    default: return false;
    }
}

static bool may_write(uint64_t field, uint64_t v)
{
    unsigned type = field >> 10 & 3;
    if (type != 2)
        return type == 0 && may_control(field, v);
    if (field == VMCS_CR0)
        return (v & CR0_KEPT) == CR0_NE;
    if (field == VMCS_CR4)
        return (v & CR4_KEPT) == CR4_KEPT;
    return field != VMCS_LINK && field != VMCS_DEBUGCTL;
}

bool cpu_vmwrite(uint64_t field, uint64_t v)
{
    check(may_write(field, v));
    primary = field == VMCS_PRIMARY ? v : primary;
    entry = field == VMCS_ENTRY ? v : entry;
    return true;
}

/* A vCPU whose VMCS its core has. */
static void any_vcpu(void)
{
    virt_vmx = true;
    __CPROVER_havoc_object(&machine);
    machine.counters = &stat;
    machine.cpuid_rows = 0;
    assume(all_loadable());
    guest.sealed = any() & 1;
    ec.pd = &guest;
    ec.vcpu = &machine;
    ec.core_mode = any() & 1;
    ec.event = any() % EVENT_COUNT;
    ec.waits = any() & 1;
    this_core.loaded = &ec;
    this_core.abroad = any() & 1 ? &ec : 0;
    primary = any();
    entry = any();
}

/* Whatever a VMM answers to whatever event. */
void fence(void)
{
    any_vcpu();
    __CPROVER_havoc_object(&message);
    vmx_take(&ec, &message, any());
    check(all_loadable());
}

/* What the guest wrote is the guest's, and what it may not write is its fault. */
void keep(void)
{
    any_vcpu();
    ec.regs.rax = any(), ec.regs.rcx = any(), ec.regs.rdx = any();
    uint64_t i = any() % VMX_MSRS, before = machine.msr[i];
    bool kept = vmx_keep_msr(&ec);
    uint32_t msr = (uint32_t)ec.regs.rcx;
    check(kept == (msr >= MSR_STAR && msr <= MSR_SFMASK));
    check(all_loadable());
    check((kept && msr == MSR_STAR + i) || machine.msr[i] == before);
}

/* SDM1 13.3: what XSETBV takes, of the states that the processor has. */
void xcr0(void)
{
    uint64_t v = any();
    vcpu_states = any();
    if (!is_xcr0(v))
        return;
    check(v & 1 && !(v & ~vcpu_states));
    check(!(v & 4) || v & 2);
    check(!(v & 0xe0) || ((v & 0xe0) == 0xe0 && v & 4));
    check((v & 0x18) == 0 || (v & 0x18) == 0x18);
    check((v & 0x60000) == 0 || (v & 0x60000) == 0x60000);
}

/* ---- bitmaps ---- */
/* May a guest with this map read, or write, the MSR without an exit? */
static bool may_pass(unsigned map, uint32_t msr, bool write)
{
    bool alone = map == MAP_ALONE;
    if ((msr >= 0x174 && msr <= 0x176) || (msr >= 0xc0000100 && msr <= 0xc0000102))
        return true;
    if (msr >= 0xc0000081 && msr <= 0xc0000084)
        return alone || !write;
    if (msr == 0xc0000080)
        return alone && !write;
    if (map == MAP_SHARED || msr < 0x800 || msr > 0x83f)
        return false;
    if (write)
        return msr != 0x830 && msr != 0x82f && (msr < 0x833 || msr > 0x837) &&
               (alone || msr != 0x83e);
    return alone || msr != 0x839;
}

/* Of whatever MSR. That the bitmaps say the same, each bit of them, test_kernel_vmx looks at. */
void policy(void)
{
    unsigned map = any() % MAPS;
    uint32_t msr = (uint32_t)any();
    check(!(passes(map, msr) & READ) == !may_pass(map, msr, false));
    check(!(passes(map, msr) & WRITE) == !may_pass(map, msr, true));
}
