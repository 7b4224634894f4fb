/* Intel's processors: the kernel on the model of VMX. What is not the vendor's is in the other
 * tests. */
#include "rig_vcpu.h"
#include "model.h"
#include <icr.h>
#include <vmx.h>

extern const uint8_t vmx_back[];

enum { THERE = 1, LENGTH = 3, RIP = 0x7000, FIXED_PIN = 0x16 };
enum { FIXED_EXIT = 0x36dfb, FIXED_ENTRY = 0x11fb, ACCESS_READ = 1, ACCESS_WRITE = 2 };
#define FIXED_PRIMARY 0x04006172u
#define ALL                                                                                        \
    ((uint64_t)(MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_INFO | MTD_INJECT | MTD_CONTROL |  \
                MTD_SEGS | MTD_SYSCALL | MTD_EFER | MTD_CR8))
#define FAULT(vector) (INJECT_VALID | INJECT_EXCEPTION | (vector))
#define GP            (FAULT(13) | INJECT_ERROR)
#define NMI           (INJECT_VALID | INJECT_NMI | 2)

static uint64_t get(uint64_t field) { return model_vmcs(vcpu->vmcb_pa, field); }
static void set(uint64_t field, uint64_t v) { model_vmcs_set(vcpu->vmcb_pa, field, v); }

/* Goes in at the next entry. */
static uint64_t injected(void)
{
    uint64_t e = get(VMCS_INJECT);
    if (!(e & INJECT_VALID))
        return 0;
    return e | (e & INJECT_ERROR ? get(VMCS_INJECT_ERROR) << 32 : 0);
}

static bool window(uint64_t bit) { return (get(VMCS_PRIMARY) & bit) != 0; }

static void exits_with_event(uint64_t reason, uint64_t qualification, uint64_t event)
{
    set(VMCS_QUALIFICATION, qualification);
    set(VMCS_EVENT, event);
    set(VMCS_LENGTH, LENGTH);
    set(VMCS_RIP, RIP);
    vm_exit(vcpu, reason);
}

static void exits(uint64_t reason, uint64_t qualification)
{
    exits_with_event(reason, qualification, 0);
}

/* Protected mode, so that exceptions have error codes. */
static void start_vmx(uint64_t mtd)
{
    start_vcpu(mtd);
    *x = (struct exit_state){.rflags = RFLAGS_FIXED, .cr0 = CR0_PE | CR0_ET, .xcr0 = 1};
    answer(MTD_CONTROL | MTD_FLAGS);
    assert_ptr_equal(current(), vcpu);
}

static void start_own(uint64_t mtd)
{
    make_vcpu(THERE, mtd);
    assert_int_equal(graph(CALL_SC_CREATE,
                           slot_new() | (uint64_t)SLOT_ROOT_SYS << 16 | vcpu_slot << 32, 5,
                           SC_WHOLE_CORE, 0, 0),
                     OK);
    on_core(THERE);
    assert_event(EVENT_START);
    *x = (struct exit_state){.rflags = RFLAGS_FIXED, .cr0 = CR0_PE | CR0_ET, .xcr0 = 1};
    answer(MTD_CONTROL | MTD_FLAGS);
    assert_ptr_equal(current(), vcpu);
}

/* ---- the model itself ---- */
static uint32_t scratch[3][1024] __attribute__((aligned(4096)));
static void read_without_vmcs(void) { (void)cpu_vmread(VMCS_PIN); }
static void write_without_vmcs(void) { (void)cpu_vmwrite(VMCS_PIN, 0); }
static void load_another_revision(void) { (void)cpu_vmptrld(cpu_pa(scratch[0])); }
static void load_what_was_not_cleared(void) { (void)cpu_vmptrld(cpu_pa(scratch[1])); }
static void clear_no_page(void) { (void)cpu_vmclear(0x1008); }
static void nothing_without_vmxon(void)
{
    machine_cpu()->vmxon = 0;
    (void)cpu_invept();
}
static void vmxon_without_vmxe(void)
{
    machine_cpu()->vmxon = 0;
    machine_cpu()->cr4 &= ~(uint64_t)CR4_VMXE;
    (void)cpu_vmxon(cpu_pa(scratch[1]));
}
static void vmxe_goes(void) { cpu_set_cr4(cpu_cr4() & ~(uint64_t)CR4_VMXE); }
static void ne_goes(void) { cpu_set_cr0(cpu_cr0() & ~(uint64_t)CR0_NE); }
static void svm_here(void) { cpu_wrmsr(MSR_EFER, cpu_rdmsr(MSR_EFER) | EFER_SVME); }
static void unlock(void) { cpu_wrmsr(MSR_FEATURE_CONTROL, 0); }
static void write_read_only(void) { (void)cpu_vmwrite(VMCS_REASON, 0); }
static void write_no_field(void) { (void)cpu_vmwrite(0x2020, 0); }
static void write_too_wide(void) { (void)cpu_vmwrite(VMCS_SELECTOR, 0x10000); }
static void load_another_ones(void)
{
    on_core(THERE);
    (void)cpu_vmptrld(vcpu->vmcb_pa);
}
static void clear_another_ones(void)
{
    on_core(THERE);
    (void)cpu_vmclear(vcpu->vmcb_pa);
}
static void enter_again(void) { model_vmx_enter(false); }
static void enter_without_lma(void)
{
    cpu_vmwrite(VMCS_EFER, EFER_LMA);
    model_vmx_enter(true);
}

static void what_the_manual_refuses(void **state)
{
    (void)state;
    static void (*const before[])(void) = {read_without_vmcs,
                                           write_without_vmcs,
                                           load_another_revision,
                                           load_what_was_not_cleared,
                                           clear_no_page,
                                           nothing_without_vmxon,
                                           vmxon_without_vmxe,
                                           vmxe_goes,
                                           ne_goes,
                                           svm_here,
                                           unlock};
    static void (*const after[])(void) = {write_read_only,   write_no_field,     write_too_wide,
                                          load_another_ones, clear_another_ones, enter_again,
                                          enter_without_lma};
    scratch[0][0] = 0x1235, scratch[1][0] = 0x1234;
    for (unsigned i = 0; i < COUNT(before); i++)
        if (!model_refuses(before[i]))
            fail_msg("sequence %u went through", i);
    start_vmx(0);
    for (unsigned i = 0; i < COUNT(after); i++)
        if (!model_refuses(after[i]))
            fail_msg("sequence %u with a VMCS went through", i);
    set(VMCS_EFER, 0);
    model_vmcs_set(vcpu->vmcb_pa, VMCS_EFER, 0);
}

/* ---- what exits ---- */
static unsigned intercepted(uint32_t msr)
{
    const uint8_t *map = (const uint8_t *)get(VMCS_MSR_BITMAP);
    uint32_t at = (msr >= 0xc0000000 ? 0x400 : 0) + (msr & 0x1fff) / 8;
    return (map[at] >> msr % 8 & 1 ? ACCESS_READ : 0) |
           (map[0x800 + at] >> msr % 8 & 1 ? ACCESS_WRITE : 0);
}

static bool is_own(uint32_t msr)
{
    return (msr >= 0x174 && msr <= 0x176) || (msr >= 0xc0000100 && msr <= 0xc0000102);
}

static bool is_kept(uint32_t msr) { return msr >= 0xc0000081 && msr <= 0xc0000084; }

static unsigned of_apic(uint32_t r, bool alone)
{
    bool write = r == 0x30 || r == 0x2f || (r >= 0x33 && r <= 0x37) || (!alone && r == 0x3e);
    return (write ? ACCESS_WRITE : 0) | (!alone && r == 0x39 ? ACCESS_READ : 0);
}

static void check_msrs(bool own, bool alone)
{
    for (uint32_t half = 0; half < 2; half++)
        for (uint32_t i = 0; i < 0x2000; i++) {
            uint32_t msr = half ? 0xc0000000 + i : i;
            unsigned want = is_own(msr) ? 0 : ACCESS_READ | ACCESS_WRITE;
            if (is_kept(msr)) /* writes exit while there is a VMM */
                want = alone ? 0 : ACCESS_WRITE;
            want = own && msr >> 6 == 0x800 >> 6 ? of_apic(msr & 0x3f, alone) : want;
            want = alone && msr == MSR_EFER ? ACCESS_WRITE : want;
            if (intercepted(msr) != want)
                fail_msg("MSR %x: %u", msr, intercepted(msr));
        }
}

enum {
    PRIMARY = PRIMARY_TSC_OFFSET | PRIMARY_RDPMC | PRIMARY_PORTS | PRIMARY_MSR_BITMAP,
    PRIMARY_ENGAGED = PRIMARY_MWAIT | PRIMARY_MONITOR,
};

static void check_controls(uint64_t pin, uint64_t primary)
{
    assert_int_equal(get(VMCS_PIN), FIXED_PIN | PIN_NMI | PIN_VIRTUAL_NMIS | pin);
    assert_int_equal(get(VMCS_PRIMARY), FIXED_PRIMARY | PRIMARY_SECONDARY | PRIMARY | primary);
    assert_int_equal(get(VMCS_SECONDARY),
                     SECONDARY_EPT | SECONDARY_RDTSCP | SECONDARY_VPID | SECONDARY_UNRESTRICTED);
    assert_int_equal(get(VMCS_EXIT), FIXED_EXIT | EXIT_CONTROLS);
    assert_int_equal(get(VMCS_ENTRY), FIXED_ENTRY | ENTRY_CONTROLS);
    assert_int_equal(get(VMCS_EXCEPTIONS), 1u << 1 | 1u << 17 | 1u << 18);
    assert_int_equal(get(VMCS_CR0_MASK), CR0_NE | CR0_CD | CR0_NW);
    assert_int_equal(get(VMCS_CR4_MASK), CR4_VMXE | CR4_MCE);
    assert_int_equal(get(VMCS_EPTP), ((struct pd *)object_at(guest_pd))->table_pa | 0x1e);
    assert_int_equal(get(VMCS_TSC_OFFSET), 0);
}

static void all_exits_of_one_that_shares(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(0);
    check_controls(PIN_INTR, PRIMARY_ENGAGED | PRIMARY_HLT | PRIMARY_CR8);
    check_msrs(false, false);
}

static void a_core_of_its_own_and_no_vmm(void **state)
{
    (void)state;
    start_own(0);
    check_controls(0, PRIMARY_ENGAGED);
    check_msrs(true, false);
    on_core(0);
    assert_int_equal(graph(CALL_DISENGAGE, guest_pd, AFTER_STRICT, 0, 0, 0), OK);
    on_core(THERE);
    check_controls(0, 0);
    check_msrs(true, true);
}

/* The kernel comes back with what it is on that core. */
static void the_kernel_is_its_cores(void **state)
{
    (void)state;
    start_own(0);
    static const uint16_t zero[] = {0xc00, 0xc06, 0xc08, 0xc0a, 0x4c00, 0x6c06, 0x6c10, 0x6c12};
    for (unsigned i = 0; i < COUNT(zero); i++)
        assert_int_equal(get(zero[i]), 0);
    assert_int_equal(get(VMCS_HOST_SS), SEL_KERNEL_DATA);
    assert_int_equal(get(VMCS_HOST_RIP), (uint64_t)vmx_back);
    assert_int_equal(get(VMCS_HOST_GS_BASE), (uint64_t)&cores[THERE]);
}

/* What a VMM must not reach by any reply. */
static void the_kernels_part_of_a_vmcs_stays(void **state)
{
    (void)state;
    start_vcpu(0);
    memset(x, 0xff, sizeof *x);
    x->inject = 0, x->apic_reg = 0;
    answer(0xffffffff & ~(uint64_t)(MTD_KILL | MTD_HALT | MTD_TIMER | MTD_TSC));
    assert_int_equal(get(VMCS_ENTRY), FIXED_ENTRY | ENTRY_CONTROLS | ENTRY_LONG_MODE);
    set(VMCS_ENTRY, FIXED_ENTRY | ENTRY_CONTROLS);
    check_controls(PIN_INTR, PRIMARY_ENGAGED | PRIMARY_HLT | PRIMARY_CR8);
    check_msrs(false, false);
    assert_int_equal(vcpu->vcpu->xcr0, 7);
    assert_int_equal(cpu_rdmsr(MSR_SFMASK), 0xffffffff); /* the rest would be a #GP in the kernel */
    exits(12, 0);
    x->lstar = x->cstar = x->kernel_gs = 1ull << 47;
    answer(MTD_SYSCALL);
    assert_int_equal(cpu_rdmsr(MSR_LSTAR), 0xffff800000000000);
    assert_true(get(VMCS_CR4) & CR4_VMXE && get(VMCS_CR0) & CR0_NE);
}

/* ---- events ---- */
static void exit_reasons_become_events(void **state)
{
    (void)state;
    static const struct {
        uint64_t reason, event;
        bool ends; /* an instruction */
    } row[] = {
        {2, EVENT_SHUTDOWN, false},    {9, EVENT_OPCODE, false},  {3, EVENT_OPCODE, false},
        {11, EVENT_OPCODE, false},     {12, EVENT_HLT, true},     {13, EVENT_OPCODE, false},
        {15, EVENT_OPCODE, false},     {17, EVENT_OPCODE, false}, {18, EVENT_VMCALL, true},
        {19, EVENT_OPCODE, false},     {27, EVENT_OPCODE, false}, {30, EVENT_PORT, true},
        {31, EVENT_MSR, true},         {32, EVENT_MSR, true},     {36, EVENT_OPCODE, false},
        {39, EVENT_OPCODE, false},     {48, EVENT_MEMORY, false}, {49, EVENT_MEMORY, false},
        {54, EVENT_OPCODE, false},     {55, EVENT_XSETBV, true},  {56, EVENT_OPCODE, false},
        {0xffff, EVENT_OPCODE, false},
    };
    start_vmx(MTD_RIP | MTD_INFO);
    for (unsigned i = 0; i < COUNT(row); i++) {
        uint64_t before = vcpu->vcpu->counters->exits[row[i].event];
        exits(row[i].reason, 0);
        assert_event((unsigned)row[i].event);
        assert_int_equal(x->rip, RIP);
        assert_int_equal(x->next_rip, row[i].ends ? RIP + LENGTH : 0);
        assert_int_equal(vcpu->vcpu->counters->exits[row[i].event], before + 1);
        answer(0);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(get(VMCS_RIP), RIP);
    }
}

static unsigned windows;
static void a_window(void) { windows++; }

static void causes_stay_in_the_kernel(void **state)
{
    (void)state;
    static const struct {
        uint64_t reason, event;
        unsigned cause, nmis;
    } row[] = {{0, INJECT_VALID | INJECT_NMI | 2, CAUSE_NMI, 1},
               {1, 0, CAUSE_INTR, 0},
               {7, 0, CAUSE_STEP, 0},
               {10, 0, CAUSE_CPUID, 0}};
    start_vmx(MTD_RIP);
    machine.window = a_window;
    machine.nmis_ended = 0;
    for (unsigned i = 0; i < COUNT(row); i++) {
        windows = 0, machine.nmis_ended = 0;
        exits_with_event(row[i].reason, 0, row[i].event);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(vcpu->vcpu->counters->exits[row[i].cause], 1);
        assert_int_equal(machine.nmis_ended, row[i].nmis);
        assert_int_equal(windows, row[i].cause != CAUSE_CPUID);
        assert_int_equal(get(VMCS_RIP), row[i].cause == CAUSE_CPUID ? RIP + LENGTH : RIP);
    }
}

#define MSR_NUMBER 0xc5c6c7c8u

static void exits_say_what_happened(void **state)
{
    (void)state;
    static const struct {
        uint64_t reason, qualification, event, error;
        struct exit_info info;
    } row[] = {
        {30, 0xfff80008, 0, 0, {0xfff8, 0, 1, EXIT_READ, {0}, 0}},
        {30, 0x03f80001, 0, 0, {0x3f8, 0, 2, EXIT_WRITE, {0}, 0}},
        {30, 0x00800043, 0, 0, {0x80, 0, 4, EXIT_WRITE, {0}, 0}}, /* by an immediate */
        {30, 0x03f80018, 0, 0, {0x3f8, 0, 1, EXIT_READ | EXIT_STRING, {0}, 0}},
        {30, 0x03f80031, 0, 0, {0x3f8, 0, 2, EXIT_WRITE | EXIT_STRING, {0}, 0}},
        {31, 0, 0, 0, {MSR_NUMBER, 0, 0, EXIT_READ, {0}, 0}},
        {32, 0, 0, 0, {MSR_NUMBER, 0, 0, EXIT_WRITE, {0}, 0}},
        {48, 0x181, 0, 0, {0, 0, 0, EXIT_READ, {0}, 0x12345678abc}},
        {48, 0x182, 0, 0, {0, 0, 0, EXIT_WRITE, {0}, 0x12345678abc}},
        {48, 0x183, 0, 0, {0, 0, 0, EXIT_WRITE, {0}, 0x12345678abc}},
        {48, 0x184, 0, 0, {0, 0, 0, EXIT_EXECUTE, {0}, 0x12345678abc}},
        {0, 0, FAULT(1), 0, {1, 0, 0, 0, {0}, 0}},
        {0, 0, GP + 4, 5, {17, 5, 0, EXIT_ERROR, {0}, 0}},
        {0, 0, FAULT(18), 0, {18, 0, 0, 0, {0}, 0}},
        {12, 7, 0, 0, {0}},
        {18, 7, 0, 0, {0}},
        {55, 7, 0, 0, {0}},
        {2, 7, 0, 0, {0}},
        {13, 7, 0, 0, {0}},
    };
    start_vmx(MTD_INFO);
    for (unsigned i = 0; i < COUNT(row); i++) {
        memset(&x->info, 0xee, sizeof x->info);
        vcpu->regs.rcx = 0xc1c2c3c400000000 | MSR_NUMBER;
        set(VMCS_ADDRESS, 0x12345678abc);
        set(VMCS_EVENT_ERROR, row[i].error);
        exits_with_event(row[i].reason, row[i].qualification, row[i].event);
        assert_memory_equal(&x->info, &row[i].info, sizeof x->info);
        answer(0);
    }
}

/* A #DB has not yet changed DR6; a machine check has been seen. */
static void exceptions_leave_traces(void **state)
{
    (void)state;
    start_vmx(MTD_CONTROL);
    cpu_set_dr6(0xffff0ff0);
    exits_with_event(0, 0x4003, FAULT(1));
    assert_int_equal(x->dr6, 0xffff4ff3);
    answer(0);
    cpu_wrmsr(MSR_MCG_STATUS, 4);
    exits_with_event(0, 0, FAULT(18));
    assert_int_equal(cpu_rdmsr(MSR_MCG_STATUS), 0);
    answer(0);
    exits_with_event(0, 0, INJECT_VALID | 5 << 8 | 1); /* INT1: not a fault, it is behind it */
    assert_int_equal(get(VMCS_RIP), RIP + LENGTH);
}

/* ---- state ---- */
static void groups_travel_alone(void **state)
{
    (void)state;
    static const uint64_t groups[] = {MTD_ACDB, MTD_REST, MTD_RIP,     MTD_FLAGS, MTD_CONTROL,
                                      MTD_EFER, MTD_SEGS, MTD_SYSCALL, MTD_CR8};
    start_vmx(ALL & ~(uint64_t)MTD_INFO);
    for (unsigned i = 0; i < COUNT(groups); i++) {
        uint64_t g = groups[i];
        exits(12, 0);
        struct exit_state was = *x, sent;
        memset(x, 0x41 + (int)i, sizeof *x);
        x->xcr0 = 3, x->efer = 0xd01, x->cpl = 3, x->cr8 = 7;
        x->cr0 = 0x80000031, x->cr4 = 0x80, x->rip = 0x9999, x->dr6 = 0xffff0ff1;
        x->lstar = 0xffffffff81000000, x->cstar = 0x81001000, x->kernel_gs = 0xffff888000000000;
        x->sfmask = 0x47700, x->inject = 0;
        for (unsigned s = 0; s < SEG_COUNT; s++) {
            x->seg[s].selector = (uint16_t)(0x103 + s), x->seg[s].attrib = 0xcf3;
            x->seg[s].base = 0x1000 * s, x->seg[s].limit = s;
        }
        sent = *x;
        answer(g);
        set(VMCS_LENGTH, LENGTH);
        vm_exit(vcpu, 12);
#define TRAVELS(group, field) assert_int_equal(x->field, (g & (group) ? sent : was).field)
        TRAVELS(MTD_ACDB, rax), TRAVELS(MTD_ACDB, rcx), TRAVELS(MTD_ACDB, rdx);
        TRAVELS(MTD_ACDB, rbx), TRAVELS(MTD_REST, rsi), TRAVELS(MTD_REST, r15);
        TRAVELS(MTD_RIP, rip), TRAVELS(MTD_FLAGS, rflags), TRAVELS(MTD_FLAGS, rsp);
        TRAVELS(MTD_CONTROL, cr0), TRAVELS(MTD_CONTROL, cr2), TRAVELS(MTD_CONTROL, cr3);
        TRAVELS(MTD_CONTROL, cr4), TRAVELS(MTD_CONTROL, xcr0), TRAVELS(MTD_CONTROL, dr6);
        TRAVELS(MTD_CONTROL, dr7), TRAVELS(MTD_EFER, efer), TRAVELS(MTD_CR8, cr8);
        TRAVELS(MTD_SEGS, cpl);
        for (unsigned s = 0; s < SEG_COUNT; s++) {
            TRAVELS(MTD_SEGS, seg[s].base), TRAVELS(MTD_SEGS, seg[s].limit);
            if (s != SEG_GDTR && s != SEG_IDTR) {
                TRAVELS(MTD_SEGS, seg[s].selector);
                TRAVELS(MTD_SEGS, seg[s].attrib);
            }
        }
        TRAVELS(MTD_SYSCALL, star), TRAVELS(MTD_SYSCALL, lstar), TRAVELS(MTD_SYSCALL, cstar);
        TRAVELS(MTD_SYSCALL, sfmask), TRAVELS(MTD_SYSCALL, kernel_gs);
        TRAVELS(MTD_SYSCALL, sysenter_cs & 0xffffffff), TRAVELS(MTD_SYSCALL, sysenter_esp);
        TRAVELS(MTD_SYSCALL, sysenter_eip), TRAVELS(MTD_SYSCALL, pat);
        answer(0);
    }
}

/* Each segment at its own place; without the present bit it is unusable. */
static void segments_have_their_places(void **state)
{
    (void)state;
    static const uint8_t place[SEG_COUNT] = {0, 2, 4, 6, 8, 10, 0xff, 12, 0xff, 14};
    start_vmx(MTD_SEGS);
    exits(12, 0);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        x->seg[s] = (struct segment){(uint16_t)(0x100 + s), (uint16_t)(s % 2 ? 0xa9b : 0xc13), s,
                                     0x1000 + s};
    answer(MTD_SEGS);
    for (unsigned s = 0; s < SEG_COUNT; s++) {
        if (place[s] == 0xff)
            continue;
        assert_int_equal(get(VMCS_SELECTOR + place[s]), 0x100 + s);
        assert_int_equal(get(VMCS_RIGHTS + place[s]), s % 2 ? 0xa09b : 0xc013 | RIGHTS_UNUSABLE);
        assert_int_equal(get(VMCS_LIMIT + place[s]), s);
        assert_int_equal(get(VMCS_BASE + place[s]), 0x1000 + s);
    }
    assert_int_equal(get(VMCS_GDTR_LIMIT), SEG_GDTR);
    assert_int_equal(get(VMCS_IDTR_BASE), 0x1000 + SEG_IDTR);
    set(VMCS_RIGHTS + 8, 0xc0f3 | RIGHTS_UNUSABLE); /* the processor leaves the rest as it was */
    set(VMCS_RIGHTS + 4, 0x60f3);
    exits(12, 0);
    assert_int_equal(x->seg[SEG_FS].attrib, 0xc73);
    assert_int_equal(x->seg[SEG_SS].attrib, 0x6f3);
    assert_int_equal(x->cpl, 3);
}

static void the_kernels_bits_are_not_seen(void **state)
{
    (void)state;
    start_vmx(MTD_CONTROL);
    static const uint64_t own[] = {0, CR0_NE, CR0_CD, CR0_CD | CR0_NW, CR0_CD | CR0_NW | CR0_NE};
    for (unsigned i = 0; i < COUNT(own); i++) {
        exits(12, 0);
        x->cr0 = CR0_PE | own[i], x->cr4 = CR4_PAE;
        answer(MTD_CONTROL);
        assert_int_equal(get(VMCS_CR0), CR0_PE | CR0_NE);
        assert_int_equal(get(VMCS_CR0_SHADOW), own[i]);
        assert_int_equal(get(VMCS_CR4), CR4_PAE | CR4_VMXE | CR4_MCE);
        assert_int_equal(get(VMCS_CR4_SHADOW), 0);
        exits(12, 0);
        assert_int_equal(x->cr0, CR0_PE | own[i]);
        assert_int_equal(x->cr4, CR4_PAE);
        answer(0);
    }
    for (unsigned i = 0; i < COUNT(own); i++) {
        vcpu->regs.rbx = CR0_PE | own[i];
        exits(28, 3 << 8); /* mov rbx, cr0 */
        assert_int_equal(get(VMCS_CR0_SHADOW), own[i]);
        assert_int_equal(get(VMCS_RIP), RIP); /* it is made again */
        assert_int_equal(injected(), 0);
    }
    vcpu->regs.rbx = CR0_PE | CR0_NW; /* without CD */
    exits(28, 3 << 8);
    assert_int_equal(injected(), GP);
    vcpu->regs.rbx = CR0_PE;
    exits(28, 3 << 8);
    assert_int_equal(get(VMCS_CR0_SHADOW), 0);
    exits(28, 4 | 3 << 8); /* CR4.VMXE */
    assert_int_equal(injected(), GP);
    assert_int_equal(get(VMCS_RIP), RIP);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], COUNT(own) + 3);
}

static void a_long_mode_guest_enters_so(void **state)
{
    (void)state;
    start_vmx(MTD_EFER);
    exits(12, 0);
    x->efer = EFER_LME | EFER_LMA;
    answer(MTD_EFER);
    assert_int_equal(get(VMCS_ENTRY), FIXED_ENTRY | ENTRY_CONTROLS | ENTRY_LONG_MODE);
    exits(12, 0);
    assert_int_equal(x->efer, EFER_LME | EFER_LMA);
    x->efer = EFER_LME;
    answer(MTD_EFER);
    assert_int_equal(get(VMCS_ENTRY), FIXED_ENTRY | ENTRY_CONTROLS);
}

static void a_vmm_sets_the_tsc(void **state)
{
    (void)state;
    start_vmx(0);
    exits(12, 0);
    x->tsc_offset = 0x1234;
    answer(MTD_TSC);
    assert_int_equal(get(VMCS_TSC_OFFSET), 0x1234);
}

/* ---- interrupts ---- */
static void offer(uint64_t vector, uint64_t rflags, uint64_t blocking)
{
    exits(12, 0);
    set(VMCS_RFLAGS, rflags);
    set(VMCS_BLOCKING, blocking);
    x->inject = 0, x->intr = vector ? INTR_PENDING | vector : 0;
    answer(MTD_INJECT);
}

static void assert_offered(uint64_t injects, bool is_waiting)
{
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(injected(), injects ? INJECT_VALID | injects : 0);
    assert_int_equal(window(PRIMARY_INTR_WINDOW), is_waiting);
}

static void an_offer_goes_in_when_it_may(void **state)
{
    (void)state;
    enum { OPEN = RFLAGS_FIXED | RFLAGS_IF };
    start_vmx(MTD_INJECT);
    offer(0x51, OPEN, 0);
    assert_offered(0x51, false);
    exits(12, 0);
    assert_int_equal(x->intr, 0); /* taken */
    answer(0);
    for (unsigned i = 0; i < 3; i++) {
        offer(0x51, i ? OPEN : RFLAGS_FIXED, i); /* IF; STI; MOV SS */
        assert_offered(0, true);
        exits(12, 0);
        assert_int_equal(x->intr, INTR_PENDING | 0x51);
        assert_int_equal(x->shadow, i ? SHADOW_INTR : 0);
        answer(0);
        set(VMCS_RFLAGS, OPEN), set(VMCS_BLOCKING, 0);
        exits(7, 0);
        assert_offered(0x51, false);
        exits(12, 0);
        answer(0);
        assert_offered(0, false);
    }
    offer(0x51, RFLAGS_FIXED, 0);
    offer(0, RFLAGS_FIXED, 0); /* withdrawn */
    assert_offered(0, false);
    exits(12, 0);
    set(VMCS_RFLAGS, OPEN);
    x->inject = FAULT(6), x->intr = INTR_PENDING | 0x51; /* what is injected goes before */
    answer(MTD_INJECT);
    assert_offered(INJECT_EXCEPTION | 6, true);
}

/* Its priority is what is above CR8: then no window is wanted either. */
static void cr8_holds_back(void **state)
{
    (void)state;
    start_vmx(MTD_INJECT | MTD_CR8);
    for (uint64_t cr8 = 0; cr8 < 16; cr8++) {
        exits(12, 0);
        set(VMCS_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        x->cr8 = 0xfffffffffffffff0 | cr8, x->inject = 0, x->intr = INTR_PENDING | 0x7f;
        answer(MTD_INJECT | MTD_CR8);
        assert_offered(cr8 < 7 ? 0x7f : 0, false);
        exits(12, 0);
        assert_int_equal(x->cr8, cr8);
        assert_int_equal(x->intr, cr8 < 7 ? 0 : INTR_PENDING | 0x7f);
        answer(0);
    }
    vcpu->regs.rax = 6;
    exits(28, 8);
    assert_offered(0x7f, false);
    exits(28, 8 | 1 << 4);
    offer(0x71, RFLAGS_FIXED, 0);
    assert_offered(0, true);
    vcpu->regs.rax = 7;
    exits(28, 8);
    assert_offered(0, false);
    vcpu->regs.rax = 1;
    exits(28, 8);
    assert_offered(0, true);
}

static uint64_t *reg(unsigned i)
{
    static const uint8_t order[] = {0, 1, 2, 3, 0, 6, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14};
    return &vcpu->regs.rax + order[i];
}

static void cr8_moves_by_each_register(void **state)
{
    (void)state;
    start_vmx(MTD_CR8);
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 16; j++)
            *reg(j) = 0xbad;
        set(VMCS_RSP, 0xbad);
        *reg(i) = i ^ 9;
        if (i == 4)
            set(VMCS_RSP, i ^ 9), vcpu->regs.rax = 0xbad;
        exits(28, 8 | i << 8);
        assert_int_equal(vcpu->vcpu->cr8, i ^ 9);
        assert_int_equal(get(VMCS_RIP), RIP + LENGTH);
        unsigned to = (i + 5) % 16;
        exits(28, 8 | 1 << 4 | to << 8);
        assert_int_equal(to == 4 ? get(VMCS_RSP) : *reg(to), i ^ 9);
        assert_int_equal(get(VMCS_RSP), to == 4 || i == 4 ? i ^ 9 : 0xbad);
        *reg(i) = 16, set(VMCS_RSP, 16);
        exits(28, 8 | i << 8);
        assert_int_equal(injected(), GP);
        assert_int_equal(get(VMCS_RIP), RIP);
        assert_int_equal(vcpu->vcpu->cr8, i ^ 9);
    }
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], 48);
}

static void a_vmm_learns_that_an_nmi_ends(void **state)
{
    (void)state;
    start_vmx(MTD_INJECT);
    exits(12, 0);
    x->inject = NMI, x->intr = 0;
    answer(MTD_INJECT);
    assert_int_equal(injected(), NMI);
    assert_true(window(PRIMARY_NMI_WINDOW));
    set(VMCS_BLOCKING, BLOCKING_NMI);
    exits(12, 0);
    assert_int_equal(x->shadow, SHADOW_NMI);
    answer(0);
    assert_true(window(PRIMARY_NMI_WINDOW));
    set(VMCS_BLOCKING, 0);
    exits(8, 0);
    assert_event(EVENT_RECALL);
    assert_int_equal(x->shadow, 0);
    assert_false(window(PRIMARY_NMI_WINDOW));
}

static void siblings_nmi(void)
{
    __atomic_fetch_or(&vcpu->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    exits_with_event(0, 0, INJECT_VALID | INJECT_NMI | 2);
    assert_ptr_equal(current(), vcpu);
}

/* One that is blocked waits for the window. */
static void a_siblings_nmi_waits(void **state)
{
    (void)state;
    start_own(MTD_INJECT);
    siblings_nmi();
    assert_int_equal(injected(), NMI);
    assert_false(vcpu->nmi_kept || window(PRIMARY_NMI_WINDOW));
    for (unsigned i = 0; i < 3; i++) { /* the shadow of STI is ended by it */
        static const uint64_t blocks[] = {BLOCKING_NMI, BLOCKING_SS, 0}, traps[] = {0, 0, 1 << 14};
        set(VMCS_BLOCKING, blocks[i]);
        set(VMCS_PENDING_DEBUG, traps[i]);
        siblings_nmi();
        assert_int_equal(injected(), 0);
        assert_true(vcpu->nmi_kept && window(PRIMARY_NMI_WINDOW));
        set(VMCS_BLOCKING, 0);
        set(VMCS_PENDING_DEBUG, 0);
        exits(8, 0);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(injected(), NMI);
        assert_false(vcpu->nmi_kept || window(PRIMARY_NMI_WINDOW));
    }
    set(VMCS_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    set(VMCS_VECTORING, INJECT_VALID | 0x55); /* acknowledged already: it must not get lost */
    siblings_nmi();
    assert_int_equal(injected(), INJECT_VALID | 0x55);
    exits(8, 0);
    assert_int_equal(injected(), NMI);
}

/* An IRET that did not end has unblocked NMIs. */
static void an_iret_that_exits_has_not_ended(void **state)
{
    (void)state;
    enum { UNBLOCKED = 1 << 12 };
    start_vmx(MTD_INJECT);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t bit = i & 1 ? UNBLOCKED : 0;
        set(VMCS_BLOCKING, 0);
        set(VMCS_VECTORING, i & 4 ? FAULT(14) : 0); /* then the bit means nothing */
        if (i & 2)
            exits(48, 1 | bit);
        else
            exits_with_event(0, 0, FAULT(1) | bit);
        assert_int_equal(x->shadow, bit && !(i & 4) ? SHADOW_NMI : 0);
        answer(0);
    }
}

static void what_was_being_delivered_is_delivered_again(void **state)
{
    (void)state;
    static const uint64_t events[] = {
        INJECT_VALID | 0x51,          FAULT(6), GP | 0x1234ull << 32, NMI,
        INJECT_VALID | 4 << 8 | 0x80, /* INT 80h */
    };
    start_vmx(MTD_INJECT);
    set(VMCS_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    for (unsigned i = 0; i < COUNT(events); i++)
        for (unsigned how = 0; how < 3; how++) {
            set(VMCS_BLOCKING, events[i] == NMI ? BLOCKING_NMI : 0);
            set(VMCS_VECTORING, (events[i] & 0xffffffff) | 1 << 12); /* a bit that means nothing */
            set(VMCS_VECTORING_ERROR, events[i] >> 32);
            exits(how ? 48 : 1, 1);
            if (how) {
                assert_int_equal(x->inject, events[i]);
                x->inject = how == 1 ? 0 : FAULT(14), x->intr = 0;
                answer(MTD_INJECT);
            }
            assert_int_equal(injected(), how == 2 ? FAULT(14) : events[i]);
            assert_int_equal(get(VMCS_INJECT_LENGTH), LENGTH);
            assert_int_equal(get(VMCS_BLOCKING) & BLOCKING_NMI, 0);
            exits(1, 0);
            assert_int_equal(injected(), 0);
            assert_int_equal(vcpu->vcpu->inject, 0);
        }
}

/* An error code in real mode would be refused; an NMI ends a shadow. */
static void events_are_made_to_fit(void **state)
{
    (void)state;
    start_vmx(MTD_INJECT | MTD_CONTROL);
    for (unsigned real = 0; real < 2; real++) {
        exits(12, 0);
        x->cr0 = real ? CR0_ET : CR0_PE | CR0_ET;
        x->inject = GP | 8ull << 32, x->intr = 0;
        answer(MTD_INJECT | MTD_CONTROL);
        assert_int_equal(injected(), real ? FAULT(13) : GP | 8ull << 32);
    }
    exits(28, 4 | 3 << 8); /* CR4.VMXE */
    assert_int_equal(injected(), FAULT(13));
    exits(12, 0);
    set(VMCS_BLOCKING, 2);
    x->inject = NMI, x->intr = 0;
    answer(MTD_INJECT);
    assert_int_equal(injected(), NMI);
    assert_int_equal(get(VMCS_BLOCKING), 0);
    /* A #DB of INT1 behind MOV SS, with RFLAGS.TF: user mode could end its VM (XSA-308) */
    set(VMCS_BLOCKING, 2);
    set(VMCS_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    exits_with_event(0, 0, FAULT(1));
    x->inject = FAULT(1), x->intr = 0;
    answer(MTD_INJECT);
    assert_int_equal(injected(), FAULT(1));
    assert_int_equal(get(VMCS_BLOCKING), 0);
}

/* ---- steps ---- */
#define STEP (1u << 14)

static void at_step(uint64_t reason, bool steps)
{
    set(VMCS_RFLAGS, RFLAGS_FIXED | (steps ? RFLAGS_TF : 0));
    set(VMCS_PENDING_DEBUG, 0);
    set(VMCS_BLOCKING, 1);
    exits(reason, 0);
}

static void assert_trap(bool comes)
{
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(get(VMCS_PENDING_DEBUG), comes ? STEP : 0);
}

static void a_stepped_instruction_traps(void **state)
{
    (void)state;
    static const uint64_t reasons[] = {12, 18, 30, 31, 32, 55};
    start_vmx(MTD_RIP);
    for (unsigned i = 0; i < COUNT(reasons); i++)
        for (unsigned how = 0; how < 5; how++) {
            at_step(reasons[i], how != 4);
            const uint64_t rips[] = {0, RIP, 0x1000, x->next_rip, x->next_rip};
            x->rip = rips[how];
            answer(how ? MTD_RIP : 0);
            assert_trap(how == 3);
            assert_int_equal(get(VMCS_BLOCKING), how ? 0 : 1);
        }
    at_step(10, true);
    assert_trap(true);
    assert_int_equal(get(VMCS_BLOCKING), 0);
    at_step(10, false);
    assert_trap(false);
    at_step(48, true);
    x->rip = 0;
    answer(MTD_RIP);
    assert_trap(false);
}

/* An interrupt comes after the trap of a stepped instruction, by the window. */
static void a_trap_is_before_an_interrupt(void **state)
{
    (void)state;
    start_vmx(MTD_RIP | MTD_INJECT);
    at_step(12, true);
    set(VMCS_RFLAGS, RFLAGS_FIXED | RFLAGS_TF | RFLAGS_IF);
    x->rip = x->next_rip, x->inject = 0, x->intr = INTR_PENDING | 0x51;
    answer(MTD_RIP | MTD_INJECT);
    assert_trap(true);
    assert_int_equal(injected(), 0);
    assert_true(window(PRIMARY_INTR_WINDOW));
    set(VMCS_PENDING_DEBUG, 0); /* the guest was in its handler */
    exits(VMX_INTR_WINDOW, 0);
    assert_int_equal(injected(), INJECT_VALID | 0x51);
    assert_false(window(PRIMARY_INTR_WINDOW));
}

/* ---- failures ---- */
static void a_refused_entry_is_an_event(void **state)
{
    (void)state;
    static const uint64_t reasons[] = {VMX_FAILED | 33, VMX_FAILED | 34, VMX_FAILED | 41, 12};
    start_vmx(MTD_INJECT | MTD_INFO);
    for (unsigned i = 0; i < COUNT(reasons); i++) {
        exits(12, 0);
        x->inject = FAULT(6), x->intr = 0;
        answer(MTD_INJECT);
        if (!(reasons[i] & VMX_FAILED))
            machine.core->refused = 1;
        cpu_wrmsr(MSR_MCG_STATUS, 4);
        set(VMCS_VECTORING, NMI); /* of an exit long ago */
        set(VMCS_BLOCKING, BLOCKING_NMI);
        exits(reasons[i], 0);
        set(VMCS_INJECT, FAULT(6)); /* it is not cleared */
        assert_event(EVENT_INVALID);
        assert_int_equal(machine.core->refused, 0);
        assert_int_equal(cpu_rdmsr(MSR_MCG_STATUS), 0);
        assert_int_equal(x->inject, 0);
        assert_int_equal(x->shadow, SHADOW_NMI);
        set(VMCS_INJECT, 0);
        set(VMCS_VECTORING, 0);
        set(VMCS_BLOCKING, 0);
        answer(0); /* VMLAUNCH */
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(injected(), 0);
    }
}

/* ---- what the processor does not switch ---- */
static const uint32_t switched[] = {MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KGS_BASE};

static void write_msr(uint32_t msr, uint64_t v)
{
    vcpu->regs.rcx = 0xabcd00000000 | msr;
    vcpu->regs.rax = 0xabcd00000000 | (uint32_t)v, vcpu->regs.rdx = 0xabcd00000000 | v >> 32;
    exits(VMX_WRMSR, 0);
}

/* CSTAR is the guest's as long as the core has no other one: no thread uses it. */
static void registers_are_abroad_with_the_guest(void **state)
{
    (void)state;
    uint64_t home[5];
    for (unsigned i = 0; i < 5; i++)
        home[i] = cpu_rdmsr(switched[i]);
    start_vmx(MTD_SYSCALL | MTD_CONTROL);
    exits(12, 0);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), i == 2 ? 0 : home[i]);
    x->star = 0x11, x->lstar = 0x12, x->cstar = 0x13, x->sfmask = 0x14, x->kernel_gs = 0x15;
    x->cr2 = 0x16;
    answer(MTD_SYSCALL | MTD_CONTROL);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), 0x11 + i);
    assert_int_equal(cpu_cr2(), 0x16);
    for (unsigned i = 0; i < 4; i++)
        write_msr(switched[i], 0x21 + i);
    cpu_wrmsr(MSR_KGS_BASE, 0x25);
    cpu_set_cr2(0x26);
    exits(10, 0); /* stays: nothing is switched */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), 0x21 + i);
    assert_int_equal(vcpu->vcpu->msr[4], 0x15);
    exits(12, 0);
    cpu_set_cr2(0xdead000); /* the kernel's own faults */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal((&x->star)[i], 0x21 + i);
    assert_int_equal(x->cr2, 0x26);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), i == 2 ? 0x23 : home[i]);
    answer(0);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), 0x21 + i);
    assert_int_equal(cpu_cr2(), 0x26);
}

/* Of what exits the kernel keeps the value; what WRMSR refuses is the guest's fault, not its own.
 */
static void written_registers_are_kept(void **state)
{
    (void)state;
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool legal;
    } row[] = {
        {MSR_STAR, ~0ull, true},
        {MSR_LSTAR, 0xffff800000000000, true},
        {MSR_LSTAR, 0x7fffffffffff, true},
        {MSR_LSTAR, 0x800000000000, false},
        {MSR_LSTAR, 0x7fff800000000000, false},
        {MSR_CSTAR, 0xffff900000000000, true},
        {MSR_CSTAR, 0x1000000000000000, false},
        {MSR_SFMASK, 0xffffffff, true},
        {MSR_SFMASK, 0x100000000, false},
    };
    start_vmx(MTD_RIP | MTD_INFO);
    for (unsigned i = 0; i < COUNT(row); i++) {
        uint64_t before = cpu_rdmsr(row[i].msr);
        write_msr(row[i].msr, row[i].value);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(cpu_rdmsr(row[i].msr), row[i].legal ? row[i].value : before);
        assert_int_equal(vcpu->vcpu->msr[row[i].msr - MSR_STAR], cpu_rdmsr(row[i].msr));
        assert_int_equal(get(VMCS_RIP), row[i].legal ? RIP + LENGTH : RIP);
        assert_int_equal(injected(), row[i].legal ? 0 : GP);
    }
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_MSR], 0);
    static const uint32_t vmms[] = {MSR_EFER, 0xc0000085, 0x10};
    for (unsigned i = 0; i < COUNT(vmms); i++) {
        write_msr(vmms[i], 0);
        assert_event(EVENT_MSR);
        assert_int_equal(x->info.number, vmms[i]);
        answer(0);
    }
}

/* Without a VMM writes do not exit, and the core has the values. */
static void alone_it_writes_them_itself(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    assert_int_equal(graph(CALL_DISENGAGE, guest_pd, AFTER_STRICT, 0, 0, 0), OK);
    on_core(THERE);
    for (unsigned i = 0; i < 5; i++)
        cpu_wrmsr(switched[i], 0x31 + i);
    vcpu_unload(machine.core); /* by a rendezvous */
    vmx_go_home();
    cpu_wrmsr(MSR_CSTAR, 0xdead);
    machine.core->doorbell = 1;
    settle();
    assert_ptr_equal(current(), vcpu);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(cpu_rdmsr(switched[i]), 0x31 + i);
}

/* Two on one core: each has its own VMCS, DR6, CR2 and MSRs; none is active that is not current. */
static void two_take_turns(void **state)
{
    (void)state;
    start_vmx(MTD_CONTROL);
    struct ec *first = vcpu, *first_handler = handler;
    set(VMCS_CR3, 0x1000);
    cpu_set_dr6(0xffff0ff1);
    cpu_set_cr2(0x111);
    write_msr(MSR_CSTAR, 0x111);
    start_vmx(MTD_CONTROL);
    assert_int_equal(cpu_rdmsr(MSR_CSTAR), 0);
    assert_int_equal(cpu_dr6(), 0);
    cpu_set_cr2(0x222);
    assert_int_equal(get(VMCS_CR3), 0);
    struct ec *second = vcpu;
    pass(SLICE);
    assert_ptr_equal(current(), first);
    assert_int_equal(cpu_dr6(), 0xffff0ff1);
    assert_int_equal(cpu_cr2(), 0x111);
    assert_int_equal(cpu_rdmsr(MSR_CSTAR), 0x111);
    vcpu = first, handler = first_handler, x = &handler->utcb->exit;
    exits(12, 0);
    assert_int_equal(x->cr3, 0x1000);
    assert_int_equal(x->cr2, 0x111);
    answer(0);
    pass(SLICE);
    assert_ptr_equal(current(), second);
    assert_int_equal(cpu_cr2(), 0x222);
}

/* What is unmapped is unknown at the next entry: the model looks. */
static void translations_go_with_the_mapping(void **state)
{
    (void)state;
    start_vmx(0);
    exits(12, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(graph(CALL_MR_MAP,
                               RAM | guest_pd << 16 | (uint64_t)(MR_READ | MR_WRITE) << 32, 0x10000,
                               0, 4, 0),
                         OK);
        answer(0);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest_pd << 16, 0, 0, 0, 0), OK);
        assert_ptr_equal(current(), vcpu);
        exits(12, 0);
    }
}

/* ---- a core of its own ---- */
static void xcr0_is_set_by_the_kernel(void **state)
{
    (void)state;
    static const struct {
        uint64_t rcx, rax, rdx;
        bool legal;
    } row[] = {
        {0, 1, 0, true},        {0, 3, 0, true},          {0, 7, 0, true},
        {0, 0x207, 0, true},    {0, 0, 0, false},         {0, 2, 0, false},
        {0, 5, 0, false},       {0, 6, 0, false},         {0, 0x1f, 0, true},
        {0, 0xf, 0, false},     {0, 0xe7, 0, true},       {0, 3, 1, false},
        {1, 3, 0, false},       {1ull << 32, 3, 0, true}, {0, 1ull << 32 | 3, 0, true},
        {0, 0x20003, 0, false},
    };
    start_own(MTD_RIP);
    for (unsigned i = 0; i < COUNT(row); i++) {
        cpu_xsetbv(1);
        vcpu->regs.rcx = row[i].rcx, vcpu->regs.rax = row[i].rax, vcpu->regs.rdx = row[i].rdx;
        exits(55, 0);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(cpu_xgetbv(), row[i].legal ? (uint32_t)row[i].rax : 1);
        assert_int_equal(get(VMCS_RIP), row[i].legal ? RIP + LENGTH : RIP);
        assert_int_equal(injected(), row[i].legal ? 0 : GP);
    }
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_XSETBV], 0);
}

static void states_that_go_together(void **state)
{
    (void)state;
    static const uint64_t pairs[] = {0x18, 0xe0, 0x60000}; /* MPX, AVX-512, AMX */
    start_own(MTD_RIP);
    for (uint64_t i = 0; i < 1u << 13; i++) { /* bits 9..0 and 19..17 */
        uint64_t v = (i & 0x3ff) | (i >> 10) << 17;
        uint64_t bits = v & 0x600ff;
        bool legal = v & 1 && (v & 6) != 4 && !(v & ~(uint64_t)0x602ff);
        for (unsigned p = 0; p < COUNT(pairs); p++)
            legal = legal && ((bits & pairs[p]) == 0 || (bits & pairs[p]) == pairs[p]);
        legal = legal && (!(v & 0xe0) || v & 4);
        vcpu->regs.rcx = vcpu->regs.rdx = 0, vcpu->regs.rax = v;
        exits(55, 0);
        if ((get(VMCS_RIP) != RIP) != legal)
            fail_msg("XCR0 %llx", (unsigned long long)v);
    }
    cpu_xsetbv(7);
}

static void an_icr_write_is_done_by_the_kernel(void **state)
{
    (void)state;
    start_own(MTD_RIP);
    vcpu->regs.rcx = 0x830, vcpu->regs.rax = 0xffffffff00040050, vcpu->regs.rdx = 0;
    exits(32, 0);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(get(VMCS_RIP), RIP + LENGTH);
    assert_int_equal(machine.ipis, 1u << THERE);
    machine.ipis = 0;
    exits(31, 0);
    assert_event(EVENT_MSR);
}

/* ---- sealed ---- */
#define OWN 0x1234567890abcdefull
#define RAX 0xa1a2a3a4a5a6a7a8ull
#define RCX 0xc1c2c3c4c5c6c7c8ull
#define RDX 0xd1d2d3d4d5d6d7d8ull

static void a_doorman_has_the_operands(void **state)
{
    (void)state;
    static const struct {
        uint64_t reason, qualification, rax, rcx, rdx, rax_after, rdx_after, raises;
        bool goes_on;
    } row[] = {
        {30, 0x3f80000, 0xa8, 0, 0, RAX, RDX, GP, true},
        {30, 0x3f80009, 0, 0, 0, (RAX & ~0xffffull) | 0xcdef, RDX, GP, true},
        {30, 0x3f8000b, 0, 0, 0, 0x90abcdef, RDX, GP, true},
        {30, 0x3f80018, 0, 0, 0, RAX, RDX, GP, false},
        {31, 0, 0, 0xc5c6c7c8, 0, 0x90abcdef, 0x90abcdef, GP, true},
        {32, 0, 0xa5a6a7a8, 0xc5c6c7c8, 0xd5d6d7d8, RAX, RDX, GP, true},
        {18, 0, 0, 0, 0, OWN, RDX, 0, true},
        {55, 0, 0, 0, 0, RAX, RDX, 0, true},
        {12, 0, 0, 0, 0, RAX, RDX, 0, true},
        {13, 0, 0, 0, 0, RAX, RDX, FAULT(6), false},
        {48, 1, 0, 0, 0, RAX, RDX, 0, false},
        {2, 0, 0, 0, 0, RAX, RDX, 0, false},
    };
    start_vmx(ALL);
    ((struct pd *)object_at(guest_pd))->sealed = 1;
    for (unsigned i = 0; i < COUNT(row); i++)
        for (unsigned how = 0; how < 3; how++) {
            vcpu->regs.rax = RAX, vcpu->regs.rcx = RCX, vcpu->regs.rdx = RDX;
            set(VMCS_CR3, 0x9000), set(VMCS_RSP, 0x8888), set(VMCS_RFLAGS, RFLAGS_FIXED);
            exits(row[i].reason, row[i].qualification);
            assert_int_equal(x->rax, row[i].rax);
            assert_int_equal(x->rcx, row[i].rcx);
            assert_int_equal(x->rdx, row[i].rdx);
            assert_int_equal(x->cr3 | x->rip | x->rsp | x->rflags | x->seg[SEG_CS].base, 0);
            for (unsigned w = 0; w < sizeof *x / 8; w++)
                ((uint64_t *)x)[w] = OWN;
            x->inject = how ? GP : FAULT(14);
            x->inject = how == 2 ? FAULT(6) : x->inject;
            answer(ALL | MTD_TSC);
            bool raised = row[i].raises && x->inject == row[i].raises;
            bool done = row[i].goes_on && !raised;
            assert_ptr_equal(current(), vcpu);
            assert_int_equal(injected(), raised ? row[i].raises : 0);
            assert_int_equal(vcpu->regs.rax, done ? row[i].rax_after : RAX);
            assert_int_equal(vcpu->regs.rdx, done ? row[i].rdx_after : RDX);
            assert_int_equal(get(VMCS_RIP), done ? RIP + LENGTH : RIP);
            assert_int_equal(get(VMCS_CR3), 0x9000);
            assert_int_equal(get(VMCS_RSP), 0x8888);
            assert_int_equal(get(VMCS_TSC_OFFSET), 0);
        }
    set(VMCS_EFER, EFER_LMA | EFER_LME), set(VMCS_ENTRY, get(VMCS_ENTRY) | ENTRY_LONG_MODE);
    vcpu->regs.rax = EFER_LME | EFER_NXE, vcpu->regs.rcx = MSR_EFER, vcpu->regs.rdx = 0;
    exits(32, 0);
    assert_int_equal(x->efer, EFER_LMA | EFER_LME);
    answer(ALL & ~(uint64_t)MTD_INJECT);
    assert_int_equal(get(VMCS_EFER), EFER_LMA | EFER_LME | EFER_NXE);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(what_the_manual_refuses),
        RIG_TEST(all_exits_of_one_that_shares),
        RIG_TEST(a_core_of_its_own_and_no_vmm),
        RIG_TEST(the_kernel_is_its_cores),
        RIG_TEST(the_kernels_part_of_a_vmcs_stays),
        RIG_TEST(exit_reasons_become_events),
        RIG_TEST(causes_stay_in_the_kernel),
        RIG_TEST(exits_say_what_happened),
        RIG_TEST(exceptions_leave_traces),
        RIG_TEST(groups_travel_alone),
        RIG_TEST(segments_have_their_places),
        RIG_TEST(the_kernels_bits_are_not_seen),
        RIG_TEST(a_long_mode_guest_enters_so),
        RIG_TEST(a_vmm_sets_the_tsc),
        RIG_TEST(an_offer_goes_in_when_it_may),
        RIG_TEST(cr8_holds_back),
        RIG_TEST(cr8_moves_by_each_register),
        RIG_TEST(a_vmm_learns_that_an_nmi_ends),
        RIG_TEST(a_siblings_nmi_waits),
        RIG_TEST(an_iret_that_exits_has_not_ended),
        RIG_TEST(what_was_being_delivered_is_delivered_again),
        RIG_TEST(events_are_made_to_fit),
        RIG_TEST(a_stepped_instruction_traps),
        RIG_TEST(a_trap_is_before_an_interrupt),
        RIG_TEST(a_refused_entry_is_an_event),
        RIG_TEST(registers_are_abroad_with_the_guest),
        RIG_TEST(written_registers_are_kept),
        RIG_TEST(alone_it_writes_them_itself),
        RIG_TEST(two_take_turns),
        RIG_TEST(translations_go_with_the_mapping),
        RIG_TEST(xcr0_is_set_by_the_kernel),
        RIG_TEST(states_that_go_together),
        RIG_TEST(an_icr_write_is_done_by_the_kernel),
        RIG_TEST(a_doorman_has_the_operands),
    };
    machine.intel = true;
    machine.more_states = 0xe00f8; /* MPX, AVX-512, AMX, and one that the kernel does not know */
    return RIG_RUN(all);
}
