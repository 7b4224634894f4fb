/*
 * The CPUID table: the processor's own answers through a mask, with the
 * platform's additions. Hidden is what the guest must not use (SVM, MCA, MTRR,
 * performance counters, MONITOR), what the kernel does not switch (TSC_AUX,
 * protection keys, CET, XSAVES) and what would make it write MSRs
 * (speculation controls). Topology: one package, one thread a core.
 */
#include <vmm/vcpu.h>

#define TSC_DEADLINE (1u << 24) /* leaf 1 ecx */
#define CLOCK        (1u << 3 | 1u << 24)
#define TSC_ADJUST   (1u << 1) /* leaf 7 ebx */
#define EOI_WORD     (1u << 6) /* leaf 40000001h eax */

struct regs {
    uint32_t eax, ebx, ecx, edx;
};

/* Shown: (what the processor says & mask) | set. Sorted by leaf, then subleaf. */
static const struct policy {
    uint32_t leaf, subleaf, flags;
    struct regs mask, set;
} policies[] = {
    /* vendor */
    {0x0, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* ecx: SSE3 PCLMUL SSSE3 FMA CX16 SSE4 MOVBE POPCNT AES XSAVE AVX F16C RDRAND; set: x2APIC, TSC deadline, hypervisor.
       edx: all to SSE2 but MCE, MTRR, MCA, SS, TM, DS, ACPI */
    {0x1, CPUID_ANY, CPUID_OSXSAVE, {~0u, 0xffff, 0x76d83203, 0x078bab7f}, {0, 0, 0x81200000, 0}},
    /* the APIC timer never stops */
    {0x6, CPUID_ANY, 0, {0}, {4, 0, 0, 0}},
    /* ebx: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; ecx: UMIP VAES VPCLMUL; edx: FSRM;
       set: TSC_ADJUST, by which Linux knows that the TSC needs no watchdog */
    {0x7, 0, 0, {0, 0x219c03a9, 0x604, 0x10}, {0, 2, 0, 0}},
    {0xb, 0, 0, {0}, {0, 1, 0x100, 0}},
    {0xb, 1, 0, {0}, {0, 0, 0x201, 0}},
    {0xb, 2, 0, {0}, {0, 0, 0x002, 0}},
    /* x87, SSE, AVX; XSAVEOPT; where AVX lies */
    {0xd, 0, 0, {7, 0, 0, 0}, {0}},
    {0xd, 1, 0, {1, 0, 0, 0}, {0}},
    {0xd, 2, 0, {~0u, ~0u, 0, 0}, {0}},
    /* the hypervisor's signature "KVMKVMKVM"; its clock by MSRs 4b564d00 and 01, stable; EOI by a word in memory */
    {0x40000000, CPUID_ANY, 0, {0}, {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}},
    {0x40000001, CPUID_ANY, 0, {0}, {1u << 3 | 1u << 6 | 1u << 24, 0, 0, 0}},
    {CPUID_HAIRLINE, CPUID_ANY, 0, {0}, {0, 0x72696148, 0x656e696c, 0x72696148}},
    {0x80000000, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* ecx: LAHF LZCNT SSE4A MISALIGNSSE PREFETCH; edx: as leaf 1, SYSCALL NX MMXEXT 1-GiB pages, long mode */
    {0x80000001, CPUID_ANY, 0, {~0u, ~0u, 0x1e1, 0x25d3ab7f}, {0}},
    {0x80000002, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000003, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000004, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000005, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000006, CPUID_ANY, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    /* invariant TSC: the same promise as the clock's stable bit; an emulator keeps it without saying so */
    {0x80000007, CPUID_ANY, 0, {0}, {0, 0, 0, 0x100}},
    /* address sizes; CLZERO, XSAVE of error pointers */
    {0x80000008, CPUID_ANY, 0, {0xffff, 5, 0, 0}, {0}},
    /* LFENCE waits, null selectors clear the base */
    {0x80000021, CPUID_ANY, 0, {0x45, 0, 0, 0}, {0}},
};
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

static struct regs cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct regs r;
    __asm__("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

/* The processor's answer; zeros for a leaf that it does not have. */
static struct regs host(const struct policy *p)
{
    uint32_t base = p->leaf & 0x80000000;
    if (p->leaf > cpuid(base, 0).eax || p->leaf >> 28 == 4)
        return (struct regs){0};
    return cpuid(p->leaf, p->subleaf == CPUID_ANY ? 0 : p->subleaf);
}

/* The bits that tell the vCPUs' APIC IDs apart. */
static uint32_t id_bits(void)
{
    uint32_t all = 0, bits = 0;
    for (uint32_t i = 0; i < config()->plan.vcpus; i++)
        all |= apic_id(i);
    while (all >> bits)
        bits++;
    return bits;
}

/* What depends on the vCPU, the number of vCPUs, or on other leaves. */
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
    case 0x7: row->ebx &= ~(dedicated() ? TSC_ADJUST : 0); break; /* Linux would read it once a second, for ever */
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
        row->ecx |= count > 1 ? 2 : 0; /* CmpLegacy: the count is one of cores */
        break;
    case 0x80000008: row->ecx = shift << 12 | (count - 1); break;
    }
}

uint32_t cpuid_table(struct cpuid_row *row, uint32_t vcpu)
{
    for (uint32_t i = 0; i < POLICIES; i++, row++) {
        const struct policy *p = &policies[i];
        struct regs r = host(p);
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
