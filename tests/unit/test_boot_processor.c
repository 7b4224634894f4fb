/* Which processors the boot stub refuses, over a table of them: what they say by CPUID and MSRs. */
#include <vmcs.h>
#include <setjmp.h>
#include <string.h>
#include <cpu.h>
#include "test.h"

#define INTEL CPUID_INTEL
#define AMD   0x444d4163u /* "cAMD" */

static const struct model {
    const char *name, *refused; /* a part of the sentence; 0: none */
    uint32_t vendor;
    bool below;            /* a hypervisor says that it is there */
    bool says;             /* it has IA32_ARCH_CAPABILITIES */
    uint64_t capabilities; /* and these are they */
    uint8_t port_e9;       /* what the port reads */
    bool locked;           /* by the firmware, without VMX */
} models[] = {
    {"Sandy Bridge", "free of Meltdown and L1TF;", INTEL, 0, 0, 0, 0xff, 0},
    {"Skylake, new microcode", "free of Meltdown and L1TF;", INTEL, 0, 1, 0x0c04, 0xff, 0},
    {"Skylake that has lost the MSR", "free of Meltdown and L1TF;", INTEL, 0, 0, ~0ull, 0xff, 0},
    {"Whiskey Lake, stepping 11", "free of MDS;", INTEL, 0, 1, 0x0b, 0xff, 0},
    {"Cascade Lake", "free of iTLB multihit;", INTEL, 0, 1, 0x2b, 0xff, 0},
    {"Ice Lake", 0, INTEL, 0, 1, 0x6b, 0xff, 0},
    {"Ice Lake, locked", "locked Intel virtualization", INTEL, 0, 1, 0x6b, 0xff, 1},
    {"Sapphire Rapids", 0, INTEL, 0, 1, 0x0c6b, 0xff, 0},
    {"one with everything but Meltdown", "Meltdown", INTEL, 0, 1, ~1ull, 0xff, 0},
    {"one with everything but MDS", "MDS", INTEL, 0, 1, ~0x20ull, 0xff, 0},
    {"one with everything but multihit", "multihit", INTEL, 0, 1, ~0x40ull, 0xff, 0},
    {"Bochs's Skylake-X that says so", 0, INTEL, 0, 0, 0, 0xe9, 0},
    {"the same, silent", "Meltdown", INTEL, 0, 0, 0, 0xff, 0},
    {"a port of zeros", "Meltdown", INTEL, 0, 0, 0, 0, 0},
    {"KVM on a Skylake, which flushes L1", "Meltdown", INTEL, 1, 1, 0x68, 0xff, 0},
    {"the same with a port of debugging", "Meltdown", INTEL, 1, 1, 0x68, 0xe9, 0},
    {"KVM on an Ice Lake", 0, INTEL, 1, 1, 0x6b, 0xff, 0},
    {"Zen 2", 0, AMD, 0, 0, 0, 0xff, 0},
    {"QEMU's EPYC", 0, AMD, 1, 0, 0, 0xff, 0},
};
static const struct model *model;
static const char *sentence;
static jmp_buf back;

/* All features but the one that is asked for. */
static struct cpuid answer(uint32_t leaf)
{
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf | 0x1f, 0, model->vendor, 0};
    if (leaf == 1)
        return (struct cpuid){0, 0, model->below ? ~0u : ~0u >> 1, ~0u};
    return (struct cpuid){~0u, ~0u, ~0u, leaf == 7 && !model->says ? ~(1u << 29) : ~0u};
}

static uint64_t read_msr(uint32_t msr)
{
    if (msr == 0x10a) {
        assert_true(model->vendor == INTEL && model->says); /* else it is #GP */
        return model->capabilities;
    }
    if (msr == MSR_FEATURE_CONTROL)
        return model->locked ? 1 : 5;
    return msr >= MSR_VMX_BASIC && msr <= MSR_VMX_EPT ? ~0ull : 0;
}

static uint8_t read_port(uint16_t port)
{
    assert_int_equal(port, 0xe9);
    return model->port_e9;
}

#undef cpu_cpuid
#undef cpu_rdmsr
#undef cpu_inb
#undef COUNT
#define cpu_cpuid(leaf, subleaf) ((void)(subleaf), answer(leaf))
#define cpu_rdmsr(msr)           read_msr(msr)
#define cpu_inb(port)            read_port(port)
#include <boot/processor.c>

struct boot_info boot_info;

void boot_refuse(const char *why)
{
    sentence = why;
    longjmp(back, 1);
}

static void what_is_not_handled_is_refused(void **state)
{
    (void)state;
    for (model = models; model < models + COUNT(models); model++) {
        sentence = 0;
        if (!setjmp(back))
            boot_processor_check();
        if (!model->refused != !sentence || (sentence && !strstr(sentence, model->refused)))
            fail_msg("%s: %s", model->name, sentence ? sentence : "not refused");
        if (sentence)
            assert_string_equal(sentence + strlen(sentence) - 2, "\r\n");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_not_handled_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
