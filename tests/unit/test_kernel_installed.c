/* The machine's installed system as a guest: what it keeps of the machine, what not, how its
   processors start each other, and its devices. */
#include "rig_iommu.h"
#include "rig_vcpu.h"
#include <icr.h>
#include <svm.h>

enum { THERE = 1, LINT0 = 0x35 };
#define PM1 0x604ull  /* control register */
#define OFF 0x3400ull /* what is written there for power-off: SLP_EN, SLP_TYP 5 */
#define TOO 0xcd7ull  /* one more port that it reads only */

static uint64_t beneath(uint64_t slot, uint64_t payer, uint64_t rights)
{
    return graph(CALL_PD_CREATE, slot | payer << 16 | rights << 32, PD_GUEST | PD_PORTS << 8, 4, 4,
                 0);
}

/* It has all ports and MSRs: who makes it has the machine. */
static void needs_the_machines_rights(void **state)
{
    (void)state;
    uint64_t weak = slot_new();
    give(SLOT_ROOT_SYS, SLOT_ROOT_PD, weak, SYS_GUEST);
    assert_int_equal(beneath(slot_new(), LAB, weak), bad(BAD_RIGHT, 1));
    assert_int_equal(beneath(slot_new(), LAB, SLOT_ROOT_SYS), OK);
}

/* Its vCPU on core 1, which stands for that core, without a VMM. */
static void start_installed_vcpu(void)
{
    make_vcpu(THERE, 0);
    ((struct pd *)object_at(guest_pd))->ports = 1;
    cores[THERE].installed = vcpu;
    assert_int_equal(graph(CALL_SC_CREATE,
                           slot_new() | (uint64_t)SLOT_ROOT_SYS << 16 | vcpu_slot << 32, 5,
                           SC_WHOLE_CORE, 0, 0),
                     OK);
    on_core(THERE);
    assert_event(EVENT_START);
    answer(0);
    on_core(0);
    assert_int_equal(
        graph(CALL_DISENGAGE, guest_pd, AFTER_QUIET | PM1 << 16 | OFF << 32 | TOO << 48, 0, 0, 0),
        OK);
    on_core(THERE);
    assert_ptr_equal(current(), vcpu);
}

static void its_apic_stays_as_it_is(void **state)
{
    (void)state;
    machine.cpu[THERE].apic[LINT0] = 0x700;
    start_installed_vcpu();
    assert_int_equal(machine.cpu[THERE].apic[LINT0], 0x700);
}

/* APM2 15.11 */
static unsigned exits_of(uint32_t msr)
{
    const uint8_t *map = (const uint8_t *)vmcb->msrpm_pa;
    uint32_t range = msr >= 0xc0010000 ? 2 : msr >= 0xc0000000;
    return map[range * 0x800 + (msr & 0x1fff) / 4] >> 2 * (msr % 4) & 3;
}

static void has_the_machines_msrs_but_for_a_few(void **state)
{
    (void)state;
    static const uint32_t range[] = {0, 0xc0000000, 0xc0010000};
    static const struct {
        uint32_t msr;
        unsigned exits;
    } kept[] = {
        {0x1b, 2},       {0x830, 2},      {0xc0000080, 2}, {0xc0010114, 3}, {0xc0010117, 3},
        {0xc0010010, 2}, {0xc0010016, 2}, {0xc0010017, 2}, {0xc0010018, 2}, {0xc0010019, 2},
        {0xc001001a, 2}, {0xc001001d, 2}, {0xc0010058, 2}, {0xc0010111, 2}, {0xc0010112, 2},
        {0xc0010113, 2}, {0xc0010020, 2}, {0xc0010050, 2}, {0xc0010051, 2}, {0xc0010052, 2},
        {0xc0010053, 2}, {0xc0010054, 2}, {0xc0010055, 2}, {0xc0010056, 2}, {0xc0010116, 2}};
    start_installed_vcpu();
    for (uint32_t r = 0; r < COUNT(range); r++)
        for (uint32_t i = 0; i < 0x2000; i++) {
            unsigned exits = 0;
            for (uint32_t k = 0; k < COUNT(kept); k++)
                exits |= kept[k].msr == range[r] + i ? kept[k].exits : 0;
            assert_int_equal(exits_of(range[r] + i), exits);
        }
    assert_int_equal(vmcb->intercept1 & (I1_HLT | I1_INTR | I1_RDPMC), 0);
    assert_int_equal(vmcb->intercept1 &
                         (I1_NMI | I1_INIT | I1_PORT | I1_MSR | I1_CPUID | I1_SHUTDOWN),
                     I1_NMI | I1_INIT | I1_PORT | I1_MSR | I1_SHUTDOWN);
}

/* CPUID, by which Linux takes an APIC mode as it boots: one that ran already has its mode. */
static void cpuid_exits_since_power_on(void **state)
{
    (void)state;
    virt_since_power_on = true;
    start_installed_vcpu();
    virt_since_power_on = false;
    assert_int_equal(vmcb->intercept1 & I1_CPUID, I1_CPUID);
}

/* All ports are its own, but for the byte of PM1 control that has SLP_TYP and SLP_EN, and one. */
static void has_the_machines_ports_but_for_two(void **state)
{
    (void)state;
    start_installed_vcpu();
    const uint8_t *map = (const uint8_t *)vmcb->iopm_pa;
    for (uint64_t port = 0; port < 0x10000; port++)
        assert_int_equal(map[port / 8] >> port % 8 & 1, port == PM1 + 1 || port == TOO);
    for (unsigned i = 0x2000; i < 3 * PAGE_SIZE; i++) /* an access at the last port looks there */
        assert_int_equal(map[i], 0);
}

enum { IN = 1, STRING = 4, BYTE = 0x10, WORD = 0x20, LONG = 0x40 }; /* APM2 15.10.2 */

/* Does it live on? */
static bool touch(uint64_t port, uint64_t how, uint64_t rax)
{
    vmcb->info1 = port << 16 | how, vmcb->rax = rax, vmcb->rip = 0x7000, vmcb->info2 = 0x7001;
    vm_exit(vcpu, EXIT_PORT);
    return vcpu->vcpu->counters->end_event == 0 && vmcb->rip == 0x7001;
}

static void it_cannot_sleep(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_true(touch(PM1, IN | WORD, 0x1111222233334444));
    assert_int_equal(vmcb->rax, 0x1111222233330020); /* what is there */
    assert_true(touch(PM1, IN | LONG, 0x44445555));
    assert_true(touch(PM1 + 1, IN | BYTE, 0));
    for (uint64_t type = 0; type < 8; type++) {
        uint64_t value = 0x2001 | type << 10;
        if (type == 5)
            continue;
        assert_true(touch(PM1, WORD, value));
        assert_true(touch(PM1, LONG, value));
        assert_true(touch(PM1, WORD | STRING, value));
        assert_true(touch(PM1 + 1, BYTE, value >> 8));
        assert_true(touch(PM1 - 2, LONG, value << 16));
    }
    assert_true(touch(PM1 - 2, LONG, OFF)); /* that is not where it is looked for */
    assert_true(touch(PM1, WORD, 0x1401));  /* without SLP_EN */
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_PORT], 3 + 7 * 5 + 2);
}

/* What is written to the other port vanishes, also what would power off elsewhere; what is read is
   there. */
static void it_only_reads_the_other_port(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_true(touch(TOO, IN | BYTE, 0x1111222233334444));
    assert_int_equal(vmcb->rax, 0x1111222233334420);
    assert_true(touch(TOO, BYTE, OFF));
    assert_true(touch(TOO - 1, WORD, OFF));
    assert_true(touch(TOO, BYTE | STRING, OFF));
    assert_true(touch(PM1 + 1, BYTE, OFF));
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_PORT], 5);
}

/* Root powers the machine off then. */
static void power_off_ends_it(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_false(touch(PM1, WORD, OFF | 1));
    assert_int_equal(vcpu->vcpu->counters->end_event, EVENT_PORT + 1);
    assert_int_equal(vcpu->vcpu->counters->end_info.number, PM1);
}

/* An INIT that no vCPU sent ends the guest's run and is pending then: it becomes #SX. */
static void init_from_outside_is_over(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_int_equal(machine_rdmsr(MSR_VM_CR), 0);
    virt_since_power_on = true;
    svm_core_init(&cores[THERE]);
    virt_since_power_on = false;
    assert_int_equal(machine_rdmsr(MSR_VM_CR), 2); /* R_INIT */
    assert_int_equal(vmcb->intercept1 & I1_INIT, I1_INIT);
    vmcb->inject = 0, vmcb->rip = 0x7000;
    vm_exit(vcpu, EXIT_INIT);
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vmcb->rip, 0x7000);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_NMI], 1);
    assert_ptr_equal(current(), vcpu);
}

static void write_msr(uint32_t msr, uint64_t value)
{
    vcpu->regs.rcx = msr, vcpu->regs.rdx = value >> 32, vmcb->rax = (uint32_t)value;
    vmcb->info1 = 1, vmcb->rip = 0x7000;
    vm_exit(vcpu, EXIT_MSR);
    assert_int_equal(vmcb->rip, 0x7002);
}

static void virtualization_is_not_there(void **state)
{
    (void)state;
    start_installed_vcpu();
    write_msr(MSR_EFER, 0xd01);
    assert_int_equal(vmcb->efer & ~(uint64_t)EFER_LMA, (0xd01 & ~EFER_LMA) | EFER_SVME);
    write_msr(MSR_VM_HSAVE, 0x1000);
    vcpu->regs.rcx = MSR_VM_CR, vmcb->info1 = 0, vmcb->rax = 0;
    vm_exit(vcpu, EXIT_MSR);
    assert_true(vmcb->rax & 0x10);                     /* SVMDIS */
    for (uint64_t code = 0x80; code <= 0x86; code++) { /* VMRUN to SKINIT */
        vmcb->inject = 0;
        vm_exit(vcpu, code);
        assert_int_equal(vmcb->inject, INJECT_VALID | INJECT_EXCEPTION | 6);
    }
    vmcb->rax = 0x80000008, vcpu->regs.rcx = 0;
    vm_exit(vcpu, EXIT_CPUID);
    assert_int_equal(vcpu->regs.rbx, ~8u); /* nor is INVLPGB, which a guest has not */
    machine.all_features = true;
    vmcb->rax = 7, vcpu->regs.rcx = 1;
    vm_exit(vcpu, EXIT_CPUID);
    machine.all_features = false;
    assert_int_equal(vmcb->rax, ~(1u << 17)); /* nor FRED */
    assert_ptr_equal(current(), vcpu);
}

/* What CPUID says of CR4 is the guest's own (APM3 E.3). */
static void cpuid_follows_its_cr4(void **state)
{
    (void)state;
    static const struct {
        uint32_t leaf, ecx;
        uint64_t cr4;
    } row[] = {{1, 1 << 27, 1 << 18}, {7, 1 << 4, 1 << 22}}; /* OSXSAVE, OSPKE */
    start_installed_vcpu();
    for (uint32_t i = 0; i < 2 * COUNT(row); i++) {
        bool on = i & 1;
        vmcb->rax = row[i / 2].leaf, vcpu->regs.rcx = 0;
        vmcb->cr4 = on ? row[i / 2].cr4 : ~row[i / 2].cr4;
        vm_exit(vcpu, EXIT_CPUID);
        assert_int_equal(vcpu->regs.rcx & row[i / 2].ecx, on ? row[i / 2].ecx : 0);
    }
}

/* Also where another core runs it: a stand-in (root/host/ghost.c). */
static void it_says_for_which_processor_it_stands(void **state)
{
    (void)state;
    static const uint32_t leaves[] = {1, 0xb, 0x8000001e, 0x80000026};
    start_installed_vcpu();
    for (uint32_t i = 0; i < MAX_CORES; i++)
        cores[i].installed = i == 3 ? vcpu : 0;
    cores[3].apic_id = 0x56;
    for (uint32_t i = 0; i < COUNT(leaves); i++) {
        vmcb->rax = leaves[i], vcpu->regs.rcx = 0;
        vm_exit(vcpu, EXIT_CPUID);
        uint64_t says[] = {vcpu->regs.rbx >> 24, vcpu->regs.rdx, vmcb->rax, vcpu->regs.rdx};
        assert_int_equal(says[i], 0x56);
    }
}

static uint64_t left[2];
static jmp_buf gone;
static void note_left(uint64_t rdi, uint64_t vmcb_pa)
{
    left[0] = rdi, left[1] = vmcb_pa;
    longjmp(gone, 1);
}

/* VMMCALL at privilege level `cpl`: is the core the system's, or is it told that there is no such
 * instruction? */
static bool asks(uint8_t cpl)
{
    machine.left = note_left;
    vmcb->cpl = cpl, vmcb->inject = 0, vcpu->regs.rdi = 0x5000;
    if (setjmp(gone)) {
        cores[THERE].outside = 1; /* for the rig's own end: nobody waits for it */
        return true;
    }
    vm_exit(vcpu, EXIT_VMMCALL);
    assert_int_equal(vmcb->inject, INJECT_VALID | INJECT_EXCEPTION | 6);
    return false;
}

static uint64_t let_go(uint64_t pd)
{
    on_core(0);
    uint64_t status = graph(CALL_DISENGAGE, pd, AFTER_LEAVE, 0, 0, 0);
    on_core(THERE);
    return status;
}

/* Only when root lets it, and only its kernel. */
static void gets_its_core_back(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_false(asks(0));
    assert_int_equal(let_go(guest_pd), OK);
    assert_false(asks(3));
    assert_true(asks(0));
    assert_int_equal(left[0], 0x5000);
    assert_int_equal(left[1], vcpu->vmcb_pa);
}

/* Nobody else does, nor it before its VMM has left. */
static void nobody_else_gets_a_core(void **state)
{
    (void)state;
    start_installed_vcpu();
    struct pd *pd = object_at(guest_pd);
    pd->ports = 0;
    assert_int_equal(let_go(guest_pd), bad(BUSY, 1));
    pd->ports = 1, pd->disengaged = 0;
    assert_int_not_equal(let_go(guest_pd), OK);
    assert_int_equal(pd->disengaged, 0);
    pd->disengaged = 1 + AFTER_QUIET;
    assert_false(asks(0));
}

/* It goes on beneath until all its cores have left: what it has not reads as ones. */
static void stays_quiet_meanwhile(void **state)
{
    (void)state;
    start_installed_vcpu();
    assert_int_equal(let_go(guest_pd), OK);
    write_msr(MSR_VM_HSAVE, 0x1000);
    assert_ptr_equal(current(), vcpu);
}

static void processors_start_each_other(void **state)
{
    (void)state;
    start_installed_vcpu();
    uint64_t to = (uint64_t)cores[THERE].apic_id << 32;
    vmcb->cr0 = 0x80000011;
    assert_true(icr_write(vcpu, to | 0x612)); /* a start-up IPI without INIT: nothing */
    assert_int_equal(vcpu->hazard, 0);
    assert_true(icr_write(vcpu, to | 0x8500)); /* the end of an INIT: nothing */
    assert_int_equal(vcpu->hazard, 0);
    assert_true(icr_write(vcpu, to | 0x4500));
    assert_int_equal(vcpu->hazard, HAZARD_INIT);
    settle();
    assert_int_equal(vmcb->cr0, 0x80000011); /* it waits */
    assert_true(icr_write(vcpu, to | 0x612));
    settle();
    assert_int_equal(vcpu->hazard, 0);
    assert_int_equal(vmcb->cr0, 0x10); /* caches stay on */
    assert_int_equal(vmcb->seg[SEG_CS].base, 0x12000);
    assert_int_equal(vmcb->rip, 0);
    assert_int_equal(vmcb->efer, EFER_SVME);
}

/* A sibling's INIT takes its start-up IPI back while the kernel acts on it. */
static void init_between(void)
{
    uint64_t to = (uint64_t)cores[THERE].apic_id << 32;
    assert_true(icr_write(vcpu, to | 0x4500));
}

static void no_init_is_lost(void **state)
{
    (void)state;
    start_installed_vcpu();
    uint64_t to = (uint64_t)cores[THERE].apic_id << 32;
    assert_true(icr_write(vcpu, to | 0x4500));
    assert_true(icr_write(vcpu, to | 0x612));
    machine.before_and = init_between;
    settle();
    assert_null(machine.before_and);
    assert_int_equal(vcpu->hazard & HAZARD_INIT, HAZARD_INIT);
    assert_true(icr_write(vcpu, to | 0x634));
    settle();
    assert_int_equal(vcpu->hazard, 0);
    assert_int_equal(vmcb->seg[SEG_CS].base, 0x34000);
}

/* VT-d: translation for all requesters by its table, interrupts as they were. */
static void its_devices_reach_what_it_has(void **state)
{
    (void)state;
    static const uint32_t commands[] = {1u << 30, 1u << 26, 1u << 26 | 1u << 31};
    uint64_t pd = slot_new(), dv = slot_new();
    fake_regions(IOMMU_VTD);
    fake_reset(0, IOMMU_VTD);
    assert_int_equal(start_unit(0, IOMMU_VTD, 0), OK);
    assert_int_equal(fake[0].globals, 0); /* as firmware left it */
    assert_int_equal(beneath(pd, SLOT_ROOT_PD, SLOT_ROOT_SYS), OK);
    uint64_t how = dv | pd << 16 | (uint64_t)SLOT_ROOT_SYS << 32;
    assert_int_equal(graph(CALL_DV_CREATE, how, DV_ALL | 1 << 16, 0, 0, 0), bad(BAD_ARG, 2));
    uint64_t other = slot_new();
    assert_int_equal(graph(CALL_PD_CREATE,
                           other | (uint64_t)SLOT_ROOT_PD << 16 | (uint64_t)SLOT_ROOT_SYS << 32,
                           PD_GUEST, 4, 4, 0),
                     OK);
    assert_int_equal(
        graph(CALL_DV_CREATE, dv | other << 16 | (uint64_t)SLOT_ROOT_SYS << 32, DV_ALL, 0, 0, 0),
        bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_DV_CREATE, how, DV_ALL, 0, 0, 0), OK);
    assert_int_equal(fake[0].globals, COUNT(commands));
    for (unsigned i = 0; i < COUNT(commands); i++)
        assert_int_equal(fake[0].global[i], commands[i]);
    const uint64_t *roots = (const uint64_t *)*fake64(0, 0x20);
    uint64_t table = ((struct pd *)object_at(pd))->table_pa;
    for (uint32_t bus = 0; bus < 256; bus++) {
        const uint64_t *contexts = (const uint64_t *)(roots[2 * bus] & ~1ull);
        for (uint32_t i = 0; i < 256; i++) {
            assert_int_equal(contexts[2 * i], table | 1);
            assert_int_equal(contexts[2 * i + 1], 0x102);
        }
    }
    assert_int_equal(graph(CALL_DV_CREATE, how, DV_ALL, 0, 0, 0), bad(BAD_ARG, 2)); /* once */
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(needs_the_machines_rights),
        RIG_TEST(its_apic_stays_as_it_is),
        RIG_TEST(has_the_machines_msrs_but_for_a_few),
        RIG_TEST(cpuid_exits_since_power_on),
        RIG_TEST(has_the_machines_ports_but_for_two),
        RIG_TEST(it_cannot_sleep),
        RIG_TEST(it_only_reads_the_other_port),
        RIG_TEST(power_off_ends_it),
        RIG_TEST(init_from_outside_is_over),
        RIG_TEST(virtualization_is_not_there),
        RIG_TEST(cpuid_follows_its_cr4),
        RIG_TEST(it_says_for_which_processor_it_stands),
        RIG_TEST(gets_its_core_back),
        RIG_TEST(nobody_else_gets_a_core),
        RIG_TEST(stays_quiet_meanwhile),
        RIG_TEST(processors_start_each_other),
        RIG_TEST(no_init_is_lost),
        cmocka_unit_test(its_devices_reach_what_it_has),
    };
    return RIG_RUN(all);
}
