/* Which processors the boot stub refuses, over a table of them: what they say by CPUID and MSRs. */
#include <vmcs.h>
#include <setjmp.h>
#include <string.h>
#include <cpu.h>
#include "test.h"

#define INTEL CPUID_INTEL
#define AMD   0x444d4163u /* "cAMD" */

enum { NO_CLEAR = 1, NO_TSX = 2 }; /* CPUID leaf 7: MD_CLEAR, RTM */

static const struct model {
    const char *name, *refused; /* a part of the sentence; 0: none */
    uint32_t vendor;
    bool below;            /* a hypervisor says that it is there */
    bool says;             /* it has IA32_ARCH_CAPABILITIES */
    uint64_t capabilities; /* and these are they */
    uint8_t port_e9;       /* what the port reads */
    bool locked;           /* by the firmware, without VMX */
    uint8_t lacks;
    bool small; /* what the guests execute must be in small pages */
} models[] = {
    {"Sandy Bridge", "free of Meltdown and L1TF;", INTEL, 0, 0, 0, 0xff, 0, 0, 0},
    {"Skylake, new microcode", "free of Meltdown and L1TF;", INTEL, 0, 1, 0x0c04, 0xff, 0, 0, 0},
    {"Skylake that lost the MSR", "free of Meltdown and L1TF;", INTEL, 0, 0, ~0ull, 0xff, 0, 0, 0},
    {"Whiskey Lake, stepping 11", 0, INTEL, 0, 1, 0x8b, 0xff, 0, 0, 1},
    {"the same, without microcode", "MDS and TAA leak;", INTEL, 0, 1, 0x0b, 0xff, 0, NO_CLEAR, 0},
    {"the same, in which TSX is off", "MDS and TAA leak;", INTEL, 0, 1, 0x0b, 0xff, 0,
     NO_CLEAR | NO_TSX, 0},
    {"Comet Lake", 0, INTEL, 0, 1, 0x02b, 0xff, 0, NO_TSX, 1},
    {"KVM on it, which sees to multihit", 0, INTEL, 1, 1, 0x4b, 0xff, 0, 0, 0},
    {"Cascade Lake", 0, INTEL, 0, 1, 0xab, 0xff, 0, 0, 1},
    {"the same, before TAA was known", "MDS and TAA leak;", INTEL, 0, 1, 0x2b, 0xff, 0, 0, 0},
    {"the same, without TSX", 0, INTEL, 0, 1, 0x2b, 0xff, 0, NO_TSX | NO_CLEAR, 1},
    {"Ice Lake", 0, INTEL, 0, 1, 0x16b, 0xff, 0, 0, 0},
    {"Ice Lake, locked", "locked Intel virtualization", INTEL, 0, 1, 0x16b, 0xff, 1, 0, 0},
    {"Sapphire Rapids", 0, INTEL, 0, 1, 0x0d6b, 0xff, 0, 0, 0},
    {"one with everything but Meltdown", "Meltdown", INTEL, 0, 1, ~1ull, 0xff, 0, 0, 0},
    {"one with MDS", "MDS", INTEL, 0, 1, ~0x20ull, 0xff, 0, NO_CLEAR, 0},
    {"one with MDS that clears", 0, INTEL, 0, 1, ~0x20ull, 0xff, 0, 0, 0},
    {"one with everything but multihit", 0, INTEL, 0, 1, ~0x40ull, 0xff, 0, 0, 1},
    {"Bochs's Skylake-X that says so", 0, INTEL, 0, 0, 0, 0xe9, 0, 0, 0},
    {"the same, silent", "Meltdown", INTEL, 0, 0, 0, 0xff, 0, 0, 0},
    {"a port of zeros", "Meltdown", INTEL, 0, 0, 0, 0, 0, 0, 0},
    {"KVM on a Skylake, which flushes L1", "Meltdown", INTEL, 1, 1, 0x68, 0xff, 0, 0, 0},
    {"the same with a port of debugging", "Meltdown", INTEL, 1, 1, 0x68, 0xe9, 0, 0, 0},
    {"KVM on an Ice Lake", 0, INTEL, 1, 1, 0x16b, 0xff, 0, 0, 0},
    {"Zen 2", 0, AMD, 0, 0, 0, 0xff, 0, 0, 0},
    {"QEMU's EPYC", 0, AMD, 1, 0, 0, 0xff, 0, 0, 0},
};
static const struct model *model;
static struct {
    uint32_t leaf, reg, bit; /* a feature that is not there; leaf 0: all are */
    uint32_t msr;            /* one of which bits are not as usual; 0: none */
    uint64_t changed;
} odd;
static const char *sentence;
static jmp_buf back;

/* All features but the one that is asked for. */
static struct cpuid usual_answer(uint32_t leaf)
{
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf | 0x1f, 0, model->vendor, 0};
    if (leaf == 1)
        return (struct cpuid){0, 0, model->below ? ~0u : ~0u >> 1, ~0u};
    if (leaf != 7)
        return (struct cpuid){~0u, ~0u, ~0u, ~0u};
    return (struct cpuid){~0u, model->lacks & NO_TSX ? ~(1u << 11) : ~0u, ~0u,
                          ~((model->says ? 0 : 1u << 29) | (model->lacks & NO_CLEAR) << 10)};
}

static struct cpuid answer(uint32_t leaf)
{
    struct cpuid usual = usual_answer(leaf);
    uint32_t *const reg[4] = {&usual.eax, &usual.ebx, &usual.ecx, &usual.edx};
    if (odd.leaf == leaf)
        *reg[odd.reg] &= ~(1u << odd.bit);
    return usual;
}

static uint64_t usual_msr(uint32_t msr)
{
    if (msr == 0x10a) {
        assert_true(model->vendor == INTEL && model->says); /* else it is #GP */
        return model->capabilities;
    }
    if (msr == MSR_FEATURE_CONTROL)
        return model->locked ? 1 : 5;
    return msr >= MSR_VMX_BASIC && msr <= MSR_VMX_EPT ? ~0ull : 0;
}

static uint64_t read_msr(uint32_t msr)
{
    return usual_msr(msr) ^ (odd.msr == msr ? odd.changed : 0);
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
        boot_info.flags = BOOT_BATCH;
        if (!setjmp(back))
            boot_processor_check();
        assert_int_equal(boot_info.flags, BOOT_BATCH | (model->small ? BOOT_SMALL_PAGES : 0));
        if (!model->refused != !sentence || (sentence && !strstr(sentence, model->refused)))
            fail_msg("%s: %s", model->name, sentence ? sentence : "not refused");
        if (sentence)
            assert_string_equal(sentence + strlen(sentence) - 2, "\r\n");
    }
}

static const char *check_odd(uint32_t vendor)
{
    static const struct model good[] = {{"AMD", 0, AMD, 0, 0, 0, 0xff, 0, 0, 0},
                                        {"Intel", 0, INTEL, 0, 1, 0x16b, 0xff, 0, 0, 0}};
    model = &good[vendor == INTEL];
    sentence = 0;
    if (!setjmp(back))
        boot_processor_check();
    return sentence ? sentence : "";
}

/* APM3 appendix E; APM2 15.30.1; SDM3 A.3, A.5, A.10. Each is missing alone. */
static void each_feature_is_asked_for(void **state)
{
    static const struct {
        uint32_t vendor, leaf, reg, bit, msr;
        uint64_t changed;
        const char *part;
    } rows[] = {
        {AMD, 0x80000001, 3, 26, 0, 0, "no 1 GiB pages"},
        {INTEL, 0x80000001, 3, 26, 0, 0, "no 1 GiB pages"},
        {AMD, 0x80000001, 3, 27, 0, 0, "no RDTSCP"},
        {AMD, 1, 2, 28, 0, 0, "no AVX"},
        {AMD, 0x80000001, 2, 2, 0, 0, "no AMD virtualization (SVM)"},
        {AMD, 0x8000000a, 3, 0, 0, 0, "no nested paging (NPT)"},
        {AMD, 0, 0, 0, 0xc0010114, 1u << 4, "locked AMD virtualization (SVM) off"},
        {INTEL, 1, 2, 5, 0, 0, "no Intel virtualization (VMX)"},
        {INTEL, 0, 0, 0, 0x482, 1ull << 63, "no secondary VMX controls"},
        {INTEL, 0, 0, 0, 0x48b, 1ull << 33, "no nested paging (EPT)"},
        {INTEL, 0, 0, 0, 0x48b, 1ull << 39, "no unrestricted guests"},
        {INTEL, 0, 0, 0, 0x48c, 1u << 14, "EPT lacks large pages"},
        {INTEL, 0, 0, 0, 0x48c, 1u << 17, "EPT lacks large pages"},
        {INTEL, 0, 0, 0, 0x48c, 1u << 20, "EPT lacks large pages"},
        {INTEL, 0, 0, 0, 0x481, 1ull << 37, "no virtual NMIs"},
        {INTEL, 0, 0, 0, 0x482, 1ull << 39, "cannot intercept what it must"}, /* HLT */
        {INTEL, 0, 0, 0, 0x482, 1ull << 60, "cannot intercept what it must"}, /* MSR bitmaps */
        {INTEL, 0, 0, 0, 0x48b, 1ull << 35, "no RDTSCP or no VPID"},
        {INTEL, 0, 0, 0, 0x483, 1ull << 53, "PAT and EFER at exits"},
        {INTEL, 0, 0, 0, 0x484, 1ull << 47, "PAT and EFER at entries"},
    };
    (void)state;
    memset(&odd, 0, sizeof odd);
    assert_string_equal(check_odd(AMD), "");
    assert_string_equal(check_odd(INTEL), "");
    for (unsigned i = 0; i < COUNT(rows); i++) {
        odd.leaf = rows[i].leaf;
        odd.reg = rows[i].reg;
        odd.bit = rows[i].bit;
        odd.msr = rows[i].msr;
        odd.changed = rows[i].changed;
        if (!strstr(check_odd(rows[i].vendor), rows[i].part))
            fail_msg("%s: %s", rows[i].part, sentence ? sentence : "not refused");
    }
    memset(&odd, 0, sizeof odd);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_handled_is_refused),
        cmocka_unit_test(each_feature_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
