/*
 * Intel VMX: MSRs. Which of them a guest has without an exit, and those that are both the guest's
 * and the kernel's, since the processor does not switch them (SDM3 24.4, 25). Own core.
 */
#include <apic.h>
#include <core.h>
#include <vmx.h>

/* SDM3 24.6.9: a bit for each MSR; reads in the first half, writes in the second. */
static uint8_t bitmap[MAPS][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/* MSRs that a guest reads and writes itself: what the VMCS has; KernelGSbase, which SWAPGS changes
   without an exit. Those of SYSCALL it reads, and while it has a VMM the kernel keeps what it
   writes. */
static const struct {
    uint32_t first, last;
    uint8_t passes[MAPS];
} vmx_own_msrs[] = {
    {0x174, 0x176, {READ | WRITE, READ | WRITE, READ | WRITE}}, /* SYSENTER CS ESP EIP */
    {MSR_EFER, MSR_EFER, {0, 0, READ}},
    {MSR_STAR, MSR_SFMASK, {READ, READ, READ | WRITE}},
    {0xc0000100, MSR_KGS_BASE, {READ | WRITE, READ | WRITE, READ | WRITE}}, /* FS.base GS.base */
};

/* What of READ and WRITE does not exit. */
static unsigned passes(unsigned map, uint32_t msr)
{
    uint32_t apic = msr - MSR_X2APIC(0);
    for (unsigned i = 0; i < sizeof vmx_own_msrs / sizeof vmx_own_msrs[0]; i++)
        /* mutant: vmx-own */
        if (msr >= vmx_own_msrs[i].first && msr <= vmx_own_msrs[i].last)
            return vmx_own_msrs[i].passes[map];
    /* mutant: vmx-apic */
    return map != MAP_SHARED && apic < APIC_REGISTERS ? apic_passed(apic, map == MAP_ALONE) : 0;
}

/* One that the bitmap has: 0..1FFFh, C0000000h..C0001FFFh. */
static void vmx_msr_allow(unsigned map, uint32_t msr, unsigned access)
{
    uint32_t at = (msr >= 0xc0000000 ? 0x400 : 0) + (msr & 0x1fff) / 8;
    uint8_t bit = (uint8_t)(1 << msr % 8);
    if (access & READ)
        bitmap[map][at] &= (uint8_t)~bit;
    if (access & WRITE)
        bitmap[map][0x800 + at] &= (uint8_t)~bit;
}

void vmx_init(void)
{
    for (unsigned map = 0; map < MAPS; map++) {
        for (uint32_t i = 0; i < PAGE_SIZE; i++)
            bitmap[map][i] = 0xff;
        for (uint32_t n = 0; n < 0x4000; n++) {
            uint32_t msr = n < 0x2000 ? n : 0xc0000000 + n - 0x2000;
            vmx_msr_allow(map, msr, passes(map, msr));
        }
    }
}

uint64_t vmx_msrs_pa(enum msr_map map) { return cpu_pa(bitmap[map]); }

/* CSTAR no thread needs: SYSCALL of 32-bit code is #UD (SDM2B). vmx_current loads it. */
void vmx_go_abroad(struct ec *ec);
void vmx_go_abroad(struct ec *ec)
{
    const struct vcpu *v = ec->vcpu;
    cpu_wrmsr(MSR_STAR, v->msr[VMX_STAR]);
    cpu_wrmsr(MSR_LSTAR, v->msr[VMX_LSTAR]);
    cpu_wrmsr(MSR_SFMASK, v->msr[VMX_SFMASK]);
    cpu_wrmsr(MSR_KGS_BASE, v->msr[VMX_KGS_BASE]);
    cpu_set_cr2(v->cr2);
    cpu_core()->abroad = ec;
}

/* The kernel's own, before it runs anything but this vCPU. */
void vmx_go_home(void)
{
    struct core *c = cpu_core();
    if (!c->abroad)
        return;
    struct vcpu *v = c->abroad->vcpu;
    if (c->abroad->core_mode == CORE_DISENGAGED) /* its writes did not exit */
        for (uint32_t i = 0; i <= VMX_SFMASK; i++)
            v->msr[i] = cpu_rdmsr(MSR_STAR + i);
    v->msr[VMX_KGS_BASE] = cpu_rdmsr(MSR_KGS_BASE);
    v->cr2 = cpu_cr2();
    core_set_syscall();
    cpu_lgdt(&c->gdt_at); /* an exit leaves a limit of 64 KiB (SDM3 27.5.2): threads could name
                             what follows as descriptors */
    c->abroad = 0;
}

uint64_t vmx_legal(uint64_t i, uint64_t value)
{
    if (i == VMX_STAR)
        return value;
    return i == VMX_SFMASK ? (uint32_t)value : (uint64_t)((int64_t)(value << 16) >> 16);
}

bool vmx_keep_msr(struct ec *ec)
{
    uint64_t i = (uint32_t)ec->regs.rcx - MSR_STAR, value = ec->regs.rdx << 32;
    value |= (uint32_t)ec->regs.rax;
    if (i > VMX_SFMASK)
        return false;
    /* mutant: vmx-legal */
    bool legal = value == vmx_legal(i, value);
    if (legal) {
        ec->vcpu->msr[i] = value;
        cpu_wrmsr(MSR_STAR + (uint32_t)i, value);
    }
    vmx_skip_or_fault(ec, legal);
    return true;
}
