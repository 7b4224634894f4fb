/*
 * The CPUID table: the processor's own answers through a mask, with the
 * platform's additions. Hidden is what the guest must not use (SVM and VMX, MCA,
 * MTRR, performance counters, MONITOR, PCID), what the kernel does not switch
 * (TSC_AUX, protection keys, CET, XSAVES) and what would make it write MSRs
 * (speculation controls). Topology: one package, one thread a core. What only
 * one vendor's processors have, the others' answer as zeros.
 */
#include <vmm/vcpu/vcpu.h>
#include <lib/hw/cpuid.h>

#define TSC_DEADLINE (1u << 24) /* leaf 1 ecx */
#define CLOCK        (1u << 3 | 1u << 24)
#define TSC_ADJUST   (1u << 1) /* leaf 7 ebx */
#define EOI_WORD     (1u << 6) /* leaf 40000001h eax */
#define CACHE_KIND   0x3ffu    /* leaf 4 eax: what it is; above: who shares it */
#define CACHE_LEVEL  0x0e0u
#define CACHE_SHARED 0x060u /* from the third level on */

/* An allow list: (what the processor says & mask) | set; a leaf without a row reads as zeros.
 * Sorted by leaf, then subleaf. */
static const struct policy {
    uint32_t leaf, subleaf, flags;
    struct cpuid mask, set;
} policies[] = {
    /* vendor */
    {0x0, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* ecx: SSE3 PCLMUL SSSE3 FMA CX16 SSE4 MOVBE POPCNT AES XSAVE AVX F16C RDRAND; set: x2APIC, TSC
       deadline, hypervisor. edx: all to SSE2 but MCE, MTRR, MCA, SS, TM, DS, ACPI */
    {0x1, CPUID_ANY, CPUID_OSXSAVE, {~0u, 0xffff, 0x76d83203, 0x078bab7f}, {0, 0, 0x81200000, 0}},
    /* Intel's: caches and TLBs */
    {0x2, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x4, 0, 0, {CACHE_KIND, ~0u, ~0u, ~0u}, {0}},
    {0x4, 1, 0, {CACHE_KIND, ~0u, ~0u, ~0u}, {0}},
    {0x4, 2, 0, {CACHE_KIND, ~0u, ~0u, ~0u}, {0}},
    {0x4, 3, 0, {CACHE_KIND, ~0u, ~0u, ~0u}, {0}},
    /* the APIC timer never stops */
    {0x6, CPUID_ANY, 0, {0}, {4, 0, 0, 0}},
    /* ebx: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; ecx: UMIP VAES
       VPCLMUL; edx: FSRM, VERW clears buffers; set: TSC_ADJUST, by which Linux knows that the TSC
       needs no watchdog */
    {0x7, 0, 0, {0, 0x219c03a9, 0x604, 0x410}, {0, 2, 0, 0}},
    {0xb, 0, 0, {0}, {0, 1, 0x100, 0}},
    {0xb, 1, 0, {0}, {0, 0, 0x201, 0}},
    {0xb, 2, 0, {0}, {0, 0, 0x002, 0}},
    /* x87, SSE, AVX; XSAVEOPT; where AVX lies */
    {0xd, 0, 0, {7, 0, 0, 0}, {0}},
    {0xd, 1, 0, {1, 0, 0, 0}, {0}},
    {0xd, 2, 0, {~0u, ~0u, 0, 0}, {0}},
    /* the hypervisor's signature "KVMKVMKVM"; its clock by MSRs 4b564d00 and 01, stable; EOI by a
       word in memory */
    {0x40000000, CPUID_ANY, 0, {0}, {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}},
    {0x40000001, CPUID_ANY, 0, {0}, {1u << 3 | 1u << 6 | 1u << 24, 0, 0, 0}},
    {CPUID_HAIRLINE, CPUID_ANY, 0, {0}, {0, 0x72696148, 0x656e696c, 0x72696148}},
    {0x80000000, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* ecx: LAHF LZCNT SSE4A MISALIGNSSE PREFETCH; edx: as leaf 1, SYSCALL NX MMXEXT 1-GiB pages,
       long mode */
    {0x80000001, CPUID_ANY, 0, {~0u, ~0u, 0x1e1, 0x25d3ab7f}, {0}},
    {0x80000002, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000003, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000004, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000005, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000006, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* invariant TSC: the same promise as the clock's stable bit; an emulator keeps it without
       saying so */
    {0x80000007, CPUID_ANY, 0, {0}, {0, 0, 0, 0x100}},
    /* address sizes; CLZERO, XSAVE of error pointers */
    {0x80000008, CPUID_ANY, 0, {0xffff, 5, 0, 0}, {0}},
    /* eax: LFENCE waits, VERW clears buffers, null selectors clear the base; ecx: without TSA */
    {0x80000021, CPUID_ANY, 0, {0x65, 0, 6, 0}, {0}},
};
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

bool cpuid_intel(void) { return cpu_cpuid(0, 0).ecx == CPUID_INTEL; }

/* The processor's answer; zeros for a leaf that it does not have. AMD's have leaves 2 and 4 on an
   emulator only. */
static struct cpuid host(const struct policy *p)
{
    uint32_t base = p->leaf & 0x80000000;
    if (p->leaf > cpu_cpuid(base, 0).eax || p->leaf >> 28 == 4 ||
        ((p->leaf == 2 || p->leaf == 4) && !cpuid_intel()))
        return (struct cpuid){0};
    return cpu_cpuid(p->leaf, p->subleaf == CPUID_ANY ? 0 : p->subleaf);
}

/* How many low bits of the APIC ID tell the vCPUs apart. */
static uint32_t id_bits(void)
{
    uint32_t all = 0, bits = 0;
    for (uint32_t i = 0; i < config()->plan.vcpus; i++)
        all |= apic_id(i);
    while (all >> bits)
        bits++;
    return bits;
}

/* A cache of the third level is all cores', others are each one's own (SDM2, CPUID leaf 4). */
static void fix_cache(struct cpuid_row *row)
{
    uint32_t ids = (1u << id_bits()) - 1, level = row->eax & CACHE_LEVEL;
    uint32_t sharers = ids < 0xfff ? ids : 0xfff, cores = ids < 0x3f ? ids : 0x3f;
    if (row->eax)
        row->eax |= cores << 26 | (level >= CACHE_SHARED ? sharers << 14 : 0);
}

/* Fields that depend on the vCPU, on the number of vCPUs, or on other leaves. */
static void fix(struct cpuid_row *row, uint32_t id)
{
    uint32_t count = config()->plan.vcpus, shift = id_bits();
    switch (row->leaf) {
    case 0x0: row->eax = row->eax < 0xd ? row->eax : 0xd; break;
    case 0x1:
        row->ebx |= count << 16 | id << 24;
        row->ecx &= ~(dedicated() ? TSC_DEADLINE : 0);
        row->edx |= count > 1 ? 1u << 28 : 0; /* HTT: the count is valid */
        break;
    case 0x4: fix_cache(row); break;
    case 0x7:
        row->ebx &= ~(dedicated() ? TSC_ADJUST : 0);
        break; /* Linux would read it once a second, for ever */
    case 0xb:
        row->edx = id;
        if (row->subleaf == 1) {
            row->eax = shift;
            row->ebx = count;
        }
        break;
    case 0xd:
        if (row->subleaf == 0)
            row->ebx = row->ecx = row->eax & 4 ? 0x340 : 0x240;
        break;
    case 0x40000001: /* a clock that would be written into its memory is not for a sealed guest */
        row->eax &= ~(dedicated() ? EOI_WORD : 0) & ~(config()->plan.sealed ? CLOCK : 0);
        break;
    case CPUID_HAIRLINE: row->eax = config()->plan.mode; break;
    case 0x80000000: row->eax = row->eax < 0x80000021 ? row->eax : 0x80000021; break;
    case 0x80000001:
        row->ecx |= count > 1 && !cpuid_intel() ? 2 : 0; /* CmpLegacy: the count is one of cores */
        break;
    case 0x80000008: row->ecx = cpuid_intel() ? 0 : shift << 12 | (count - 1); break;
    }
}

uint32_t cpuid_table(struct cpuid_row *row, uint32_t vcpu)
{
    for (uint32_t i = 0; i < POLICIES; i++, row++) {
        const struct policy *p = &policies[i];
        struct cpuid r = host(p);
        *row = (struct cpuid_row){p->leaf,
                                  p->subleaf,
                                  p->flags,
                                  (r.eax & p->mask.eax) | p->set.eax,
                                  (r.ebx & p->mask.ebx) | p->set.ebx,
                                  (r.ecx & p->mask.ecx) | p->set.ecx,
                                  (r.edx & p->mask.edx) | p->set.edx};
        fix(row, apic_id(vcpu));
    }
    return POLICIES;
}
