/* Registers of a core, as the kernel has them while it runs there. */
#include <core.h>

extern const uint8_t syscall_entry[];

void core_set_syscall(void)
{
    cpu_wrmsr(MSR_KGS_BASE, 0);
    cpu_wrmsr(MSR_STAR, (uint64_t)(SEL_USER_DATA - 8) << 48 | (uint64_t)SEL_KERNEL_CODE << 32);
    cpu_wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    cpu_wrmsr(MSR_SFMASK, RFLAGS_IF | RFLAGS_DF | RFLAGS_TF | RFLAGS_AC | RFLAGS_NT | RFLAGS_IOPL);
}

/* CPUID 80000021h EAX, of AMD's (APM3 E.4). */
static uint32_t features(void)
{
    return cpu_cpuid(0x80000000, 0).eax >= 0x80000021 ? cpu_cpuid(0x80000021, 0).eax : 0;
}

/* Bits that AMD has system software set, and what is wrong without. Bit i of `models`: models i0h
   to iFh of the family. */
enum { FAMILY_17 = 0x00800f00, FAMILY_19 = 0x00a00f00, FAMILY = 0x0ff00f00 };
enum { ZENS = 0xffff, ZEN_1 = 0x27, ZEN_2 = 0x6d8, ZEN_4 = 0x7c2 };
static const struct {
    uint32_t family, models, msr;
    uint64_t bits;
} mends[] = {
    {FAMILY_17, ZENS, MSR_DE_CFG, 1 << 1},      /* Spectre v1: LFENCE waits */
    {FAMILY_17, ZEN_1, MSR_FP_CFG, 1 << 9},     /* floating-point divider (CVE-2025-54505) */
    {FAMILY_17, ZEN_2, MSR_DE_CFG, 1 << 9},     /* Zenbleed (AMD-SB-7008) */
    {FAMILY_17, ZEN_2, MSR_DE_CFG2, 1 << 1},    /* branches predicted where none is (AMD-SB-1037) */
    {FAMILY_17, ZEN_2, MSR_BP_CFG, 1ull << 33}, /* threads share the op cache */
    {FAMILY_19, ZEN_4, MSR_BP_CFG, 1 << 5},     /* erratum 1485: #UD at valid instructions */
};

/* Not where a hypervisor is below, to which these registers belong. */
static void mend_processor(void)
{
    uint32_t signature = cpu_cpuid(1, 0).eax, model = signature >> 16 & 15;
    if (cpu_cpuid(1, 0).ecx >> 31)
        return;
    for (uint32_t i = 0; i < sizeof mends / sizeof mends[0]; i++)
        if ((signature & FAMILY) == mends[i].family && mends[i].models >> model & 1)
            cpu_wrmsr(mends[i].msr, cpu_rdmsr(mends[i].msr) | mends[i].bits);
    /* SRSO_MSR_FIX: the kernel's returns do not follow what a guest trained. */
    if (features() >> 31)
        cpu_wrmsr(MSR_BP_CFG, cpu_rdmsr(MSR_BP_CFG) | 1 << 4);
}

void core_init_registers(struct core *c)
{
    uint32_t ebx = cpu_cpuid(7, 0).ebx, ecx = cpu_cpuid(7, 0).ecx;
    cpu_set_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_TS |
                CR0_PE); /* TS: threads have no FPU */
    cpu_set_cr4(CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXSAVE |
                (ebx & 1 << 7 ? CR4_SMEP : 0) | (ebx & 1 << 20 ? CR4_SMAP : 0) |
                (ecx & 1 << 2 ? CR4_UMIP : 0));
    /* Automatic IBRS: predictions of the kernel's branches do not follow what user mode trained
       (APM2 3.1.7). */
    cpu_wrmsr(MSR_EFER,
              EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | (features() >> 8 & 1 ? EFER_AIBRSE : 0));
    if (!c->adopted)
        cpu_wrmsr(MSR_DEBUGCTL, 0); /* what a system that had the core before wants trapped */
    mend_processor();
    cpu_wrmsr(MSR_PAT, PAT_RESET); /* leaves name entries of it (ptab.c) */
    cpu_wrmsr(MSR_TSC_AUX, 0);     /* guests read it */
    cpu_wrmsr(MSR_GS_BASE, (uint64_t)c);
    core_set_syscall();
}
