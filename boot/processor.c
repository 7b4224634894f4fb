#include <cpu.h>
#include <vmcs.h>
#include <lib/hw/speculation.h>
#include "boot.h"

#define VM_CR_SVMDIS 0x10u
#define ADVICE       "enable it in the firmware or use another machine"
#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))

/* start.S has seen long mode and NX. The rest, each needing the ones before it (APM3 appendix E).
 */
struct need {
    uint32_t leaf, reg, bit; /* reg: 0..3 for eax, ebx, ecx, edx */
    const char *missing;
};

static const struct need both[] = {
    {0x80000001, 3, 26, SENTENCE("this processor has no 1 GiB pages", ADVICE)},
    {0x80000001, 3, 27, SENTENCE("this processor has no RDTSCP", ADVICE)},
    {0x00000001, 2, 28, SENTENCE("this processor has no AVX", ADVICE)},
    {0x00000001, 3, 14, SENTENCE("this processor has no machine checks (MCA)", ADVICE)},
};
static const struct need amd[] = {
    {0x80000001, 2, 2, SENTENCE("this processor has no AMD virtualization (SVM)", ADVICE)},
    {0x8000000a, 3, 0, SENTENCE("this processor has no nested paging (NPT)", ADVICE)},
};
static const struct need intel[] = {
    {0x00000001, 2, 5, SENTENCE("this processor has no Intel virtualization (VMX)", ADVICE)},
};

/* VMX: controls that must be allowed to be 1 (SDM3 A.3), each needing the ones before it. */
static const struct {
    uint32_t msr;
    uint64_t bits;
    const char *missing;
} vmx[] = {
    {MSR_VMX_PRIMARY, (uint64_t)PRIMARY_SECONDARY << 32,
     SENTENCE("this processor has no secondary VMX controls", ADVICE)},
    {MSR_VMX_SECONDARY, (uint64_t)SECONDARY_EPT << 32,
     SENTENCE("this processor has no nested paging (EPT)", ADVICE)},
    {MSR_VMX_SECONDARY, (uint64_t)SECONDARY_UNRESTRICTED << 32,
     SENTENCE("this processor has no unrestricted guests", ADVICE)},
    {MSR_VMX_EPT, 1ull << 6 | 1ull << 14 | 1ull << 16 | 1ull << 17 | 1ull << 20 | 1ull << 26,
     SENTENCE("this processor's EPT lacks large pages, write-back tables or INVEPT", ADVICE)},
    {MSR_VMX_PIN, (uint64_t)(PIN_INTR | PIN_NMI | PIN_VIRTUAL_NMIS) << 32,
     SENTENCE("this processor has no virtual NMIs", ADVICE)},
    {MSR_VMX_PRIMARY,
     (uint64_t)(PRIMARY_INTR_WINDOW | PRIMARY_NMI_WINDOW | PRIMARY_TSC_OFFSET | PRIMARY_HLT |
                PRIMARY_MWAIT | PRIMARY_MONITOR | PRIMARY_RDPMC | PRIMARY_CR8 | PRIMARY_PORTS |
                PRIMARY_MSR_BITMAP)
         << 32,
     SENTENCE("this processor's VMX cannot intercept what it must", ADVICE)},
    {MSR_VMX_SECONDARY, (uint64_t)(SECONDARY_RDTSCP | SECONDARY_VPID) << 32,
     SENTENCE("this processor's VMX has no RDTSCP or no VPID", ADVICE)},
    {MSR_VMX_EXIT, (uint64_t)EXIT_CONTROLS << 32,
     SENTENCE("this processor's VMX does not switch PAT and EFER at exits", ADVICE)},
    {MSR_VMX_ENTRY, (uint64_t)(ENTRY_CONTROLS | ENTRY_LONG_MODE) << 32,
     SENTENCE("this processor's VMX does not switch PAT and EFER at entries", ADVICE)},
};

static bool has(const struct need *n)
{
    struct cpuid r = cpu_cpuid(n->leaf, 0);
    const uint32_t value[4] = {r.eax, r.ebx, r.ecx, r.edx};
    return cpu_cpuid(n->leaf & 0x80000000u, 0).eax >= n->leaf && (value[n->reg] >> n->bit & 1);
}

static void check(const struct need *needs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!has(&needs[i]))
            boot_refuse(needs[i].missing);
}

static void check_amd(void)
{
    check(amd, COUNT(amd));
    if (cpu_rdmsr(MSR_VM_CR) & VM_CR_SVMDIS)
        boot_refuse(SENTENCE("the firmware has locked AMD virtualization (SVM) off", ADVICE));
}

/* An emulator does not speculate. It must say so itself: Bochs does, at its port for debugging, if
   the machine's description turns that on (port_e9_hack); where nothing answers, ones are read.
   Below a hypervisor there is a real processor, whatever the port reads. */
static bool emulated(void)
{
    enum { BOCHS = 0xe9 };
    return !(cpu_cpuid(1, 0).ecx >> 31) && cpu_inb(BOCHS) == BOCHS;
}

/* Errors of speculation (docs/threat-model.md), by IA32_ARCH_CAPABILITIES (SDM4). Who is told that
   another one flushes L1 (SKIP_L1DFL_VMENTRY) still has Meltdown, so that does not do. */
static void check_speculation(void)
{
    static const struct need capabilities = {7, 3, 29, 0}, md_clear = {7, 3, 10, 0},
                             rtm = {7, 1, 11, 0};
    uint64_t says = has(&capabilities) ? cpu_rdmsr(MSR_ARCH_CAPABILITIES) : 0;
    if (!(says & RDCL_NO))
        boot_refuse(SENTENCE("this processor does not say that it is free of Meltdown and L1TF",
                             "Hairline does nothing about that, so use another machine"));
    if (speculation_leaks(says, has(&rtm), has(&md_clear)))
        boot_refuse(SENTENCE("this processor's microcode does not clear what MDS and TAA leak",
                             "update the firmware or use another machine"));
    if (!(says & PSCHANGE_MC_NO))
        boot_info.flags |= BOOT_SMALL_PAGES;
}

static void check_intel(void)
{
    enum { LOCKED = 1, OUTSIDE_SMX = 4 }; /* SDM3 23.7 */
    check(intel, COUNT(intel));
    if ((cpu_rdmsr(MSR_FEATURE_CONTROL) & (LOCKED | OUTSIDE_SMX)) == LOCKED)
        boot_refuse(SENTENCE("the firmware has locked Intel virtualization (VMX) off", ADVICE));
    for (unsigned i = 0; i < COUNT(vmx); i++)
        if (~cpu_rdmsr(vmx[i].msr) & vmx[i].bits)
            boot_refuse(vmx[i].missing);
    if (!emulated())
        check_speculation();
}

void boot_processor_check(void)
{
    if (cpu_cpuid(0, 0).ecx == CPUID_INTEL)
        check_intel();
    else
        check_amd();
    check(both, COUNT(both));
    bool x2apic = cpu_cpuid(1, 0).ecx >> 21 & 1; /* leaf 0Bh is there, then (APM3) */
    boot_info.bsp_apic_id = x2apic ? cpu_cpuid(0xb, 0).edx : cpu_cpuid(1, 0).ebx >> 24;
}
