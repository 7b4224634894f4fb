/*
 * What a PC has and a guest may expect without asking: `test=NAME` on the
 * command line, with `leave=1` after the VMM of a dedicated guest has gone.
 * The exit port, or the power-off, tells 0; a wrong answer is told on the
 * console, where there still is one, and by 1 or a triple fault.
 */
#include "platform.h"

#include <abi/vm.h>

#define RESET_STATUS 0xfed803c0ull
#define CHIPSET_END  (GUEST_CHIPSET + GUEST_CHIPSET_PAGES * 4096ull)

#define TSC          0x10
#define TSC_ADJUST   0x3b
#define EFER         0xc0000080
#define FAR          (1ull << 50)
#define SOON         20000000ull /* TSC ticks */
#define PATIENCE     200000000000ull
#define VECTOR       0x60u
#define LVT_DEADLINE 0x40000u
#define SELF         0x40000u
#define APIC_ICR_NMI APIC_DELIVERY(APIC_NMI)

static bool left;

/* Where there is no console any more, a reset without a word. */
void expect(bool right, const char *what)
{
    static const uint8_t nowhere[10];
    if (right)
        return;
    if (left)
        __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
    guest_print("platform: FAIL %s\n", what);
    guest_exit(1);
}

/* As Linux does (since 6.16): why the last reset? Writing back what was read clears it. */
static void chipset(void)
{
    volatile uint32_t *status = (volatile uint32_t *)RESET_STATUS;
    for (uint64_t at = GUEST_CHIPSET; at < CHIPSET_END; at += 4)
        expect(*(volatile uint32_t *)at == 0, "a register of the chipset is not zero");
    *status = *status;
    expect(*status == 0, "the reset status is not clear");
}

/* What systems poll before they reset a PC, and what they read of its address lines. */
static void legacy(void)
{
    expect(in8(0x64) == 0, "the keyboard's controller is not ready");
    expect((in8(0x92) & 3) == 2, "address line 20 is off");
    expect(in8(0xcf9) == 0, "the reset control is not zero");
    out8(0xcf9, 2);
    out8(0x92, 2);
    out8(0x64, 0xd1);
    out32(0xcf8, 0x80000000);
    expect(in32(0xcf8) == 0x80000000, "the configuration address is lost");
}

static void reset_by_keyboard(void) { out8(0x64, 0xfe); }
static void reset_by_port_a(void) { out8(0x92, 1); }
static void reset_by_chipset(void) { out8(0xcf9, 6); }

/* An xAPIC, which is not there, after an attempt to get out of x2APIC mode. */
static void old_apic(void)
{
    __asm__ volatile(TRY "wrmsr" TRIED : : "c"(APIC_BASE), "a"(0xfee00900), "d"(0) : "memory");
    expect(guest_trapped() == 13, "the APIC left x2APIC mode");
    expect(*(volatile uint32_t *)0xfee00020 == 0, "there is an xAPIC");
}

static void triple_after_apic(void)
{
    static const uint8_t nowhere[10];
    __asm__ volatile(TRY "wrmsr" TRIED : : "c"(APIC_BASE), "a"(0xfee00100), "d"(0) : "memory");
    __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
}

/* The TSC is the guest's to set; TSC_ADJUST says by how much, and the deadline is in it. */
static void tsc(void)
{
    uint64_t kept = rdmsr(TSC_ADJUST);
    wrmsr(TSC, FAR);
    uint64_t read = rdtsc(), again = rdmsr(TSC);
    expect(read >= FAR && read - FAR < FAR && again >= read, "the TSC is not what was written");
    expect(rdmsr(TSC_ADJUST) != kept, "TSC_ADJUST does not tell");
    guest_handler[VECTOR] = guest_eoi;
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), LVT_DEADLINE | VECTOR);
    wrmsr(TSC_DEADLINE, read = rdtsc() + SOON);
    wait_interrupt();
    expect(rdtsc() >= read, "the deadline is in another TSC");
    wrmsr(TSC_ADJUST, kept);
    expect(rdmsr(TSC_ADJUST) == kept && rdtsc() - FAR > FAR, "TSC_ADJUST does not set the TSC");
}

static volatile uint32_t depth, deepest, nmis, at_iret;

/* While an NMI's handler runs others are blocked; one of them is kept (APM2 8.1.4). */
static void on_nmi(struct frame *f)
{
    depth++;
    at_iret += *(const uint16_t *)f->rip ==
               0xcf48; /* not after it: on a stack of the table's it would overwrite the frame */
    deepest = depth > deepest ? depth : deepest;
    nmis++;
    if (nmis == 1)
        for (uint32_t i = 0; i < 3; i++) {
            wrmsr(MSR_X2APIC(APIC_ICR), SELF | APIC_ICR_NMI);
            rdmsr(MSR_X2APIC(APIC_ID));
        }
    depth--;
}

static void nmi(void)
{
    guest_handler[2] = on_nmi;
    for (uint32_t turn = 1; turn <= 10; turn++) {
        nmis = 0;
        wrmsr(MSR_X2APIC(APIC_ICR), SELF | APIC_ICR_NMI);
        for (uint64_t end = rdtsc() + PATIENCE; nmis < 2 && rdtsc() < end;)
            rdmsr(MSR_X2APIC(APIC_ID));
        for (uint64_t end = rdtsc() + SOON; rdtsc() < end;)
            ;
        expect(deepest == 1, "an NMI in the handler of another");
        expect(at_iret == 0, "an NMI before the IRET of another");
        expect(nmis == 2, "of the NMIs in a handler not one was kept");
    }
}

/* Without its VMM a guest may ask for EFER. */
static void efer(void)
{
    expect((rdmsr(EFER) & 0x500) == 0x500, "EFER does not tell of long mode");
    expect((rdmsr(EFER) & 0x500) == 0x500, "EFER does not tell of long mode");
}

/* What nobody may do without a VMM: the operator is told what it was. */
static void port(void) { in8(0x60); }
static void msr(void) { rdmsr(0x2ff); }

static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"chipset", chipset},
    {"legacy", legacy},
    {"reset-keyboard", reset_by_keyboard},
    {"reset-port-a", reset_by_port_a},
    {"reset-chipset", reset_by_chipset},
    {"old-apic", old_apic},
    {"triple", triple_after_apic},
    {"tsc", tsc},
    {"nmi", nmi},
    {"efer", efer},
    {"step-processor", step_processor},
    {"step-ports", step_ports},
    {"step-halt", step_halt},
    {"step-priority", step_priority},
    {"task-priority", task_priority},
    {"port", port},
    {"msr", msr},
};

void guest_main(void)
{
    char name[32] = "", leave[2];
    guest_option("test", name, sizeof(name));
    guest_apic_enable();
    if (guest_option("leave", leave, sizeof(leave))) {
        guest_leave();
        left = true;
    }
    for (uint32_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (guest_same(tests[i].name, name)) {
            tests[i].run();
            guest_exit(0);
        }
    expect(false, "no such test");
}
