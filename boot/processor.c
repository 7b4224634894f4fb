#include "boot.h"
#include "port.h"

#define VM_CR        0xc0010114u /* APM2 15.30.1 */
#define VM_CR_SVMDIS 0x10u

/* Start.S has seen long mode and NX. Leaf, register (0..3: eax, ebx, ecx, edx), bit (APM3 appendix E). */
static const struct need {
    uint32_t leaf;
    uint8_t reg, bit;
    const char *what;
} needs[] = {
    {0x80000001, 2, 2, "this processor has no AMD virtualization (SVM)"},
    {0x8000000a, 3, 0, "this processor has no nested paging (NPT)"},
    {0x00000001, 2, 21, "this processor has no x2APIC"},
    {0x0000000b, 1, 0, "this processor does not tell its x2APIC ID (CPUID leaf Bh)"},
};

#define ADVICE "; enable it in the firmware or use another machine"

/* All zeros for a leaf above the highest of its half. */
static struct cpuid cpuid_or_zero(uint32_t leaf) { return cpuid(leaf & 0x80000000u).eax >= leaf ? cpuid(leaf) : (struct cpuid){0}; }

static int has(const struct need *n)
{
    struct cpuid r = cpuid_or_zero(n->leaf);
    const uint32_t value[4] = {r.eax, r.ebx, r.ecx, r.edx};
    return value[n->reg] >> n->bit & 1;
}

void boot_processor_check(void)
{
    for (unsigned i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (!has(&needs[i]))
            boot_refuse(needs[i].what, ADVICE);
    if (rdmsr(VM_CR) & VM_CR_SVMDIS)
        boot_refuse("the firmware has locked AMD virtualization (SVM) off", ADVICE);
}

uint32_t boot_processor_id(void) { return cpuid(0xb).edx; }
