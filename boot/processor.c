#include <cpu.h>
#include "boot.h"

#define VM_CR        0xc0010114u /* APM2 15.30.1 */
#define VM_CR_SVMDIS 0x10u
#define ADVICE       "enable it in the firmware or use another machine"

/* start.S has seen long mode and NX. The rest, each needing the ones before it (APM3 appendix E). */
static const struct need {
    uint32_t leaf, reg, bit; /* reg: 0..3 for eax, ebx, ecx, edx */
    const char *missing;
} needs[] = {
    {0x80000001, 2, 2, SENTENCE("this processor has no AMD virtualization (SVM)", ADVICE)},
    {0x8000000a, 3, 0, SENTENCE("this processor has no nested paging (NPT)", ADVICE)},
    {0x80000001, 3, 26, SENTENCE("this processor has no 1 GiB pages", ADVICE)},
    {0x80000001, 3, 27, SENTENCE("this processor has no RDTSCP", ADVICE)},
    {0x00000001, 2, 28, SENTENCE("this processor has no AVX", ADVICE)},
    {0x00000001, 2, 21, SENTENCE("this processor has no x2APIC", ADVICE)},
};

static bool has(const struct need *n)
{
    struct cpuid r = cpu_cpuid(n->leaf, 0);
    const uint32_t value[4] = {r.eax, r.ebx, r.ecx, r.edx};
    return cpu_cpuid(n->leaf & 0x80000000u, 0).eax >= n->leaf && (value[n->reg] >> n->bit & 1);
}

void boot_processor_check(void)
{
    for (unsigned i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (!has(&needs[i]))
            boot_refuse(needs[i].missing);
    if (cpu_rdmsr(VM_CR) & VM_CR_SVMDIS)
        boot_refuse(SENTENCE("the firmware has locked AMD virtualization (SVM) off", ADVICE));
    boot_info.bsp_apic_id = cpu_cpuid(0xb, 0).edx;
}
