/* Cores that vCPUs have for themselves, from their gift to their reclaim; guests whose VMM leaves.
 */
#include "rig_vcpu.h"
#include <icr.h>

enum { BELL = 10, THERE = 1 }; /* a slot; the rig's second core */
enum {
    X_EOI = 0x0b,
    X_SVR = 0x0f,
    X_ISR = 0x10,
    X_TIMER = 0x32,
    X_LINT0 = 0x35,
    X_INITIAL = 0x38,
    X_DIVIDE = 0x3e
};

static uint64_t sc_slot;

static uint64_t whole(uint64_t ec, uint64_t sys)
{
    sc_slot = slot_new();
    return graph(CALL_SC_CREATE, sc_slot | sys << 16 | ec << 32, 5, SC_WHOLE_CORE, 0, 0);
}

/* As start_vcpu(), with core 1 for itself, which executes. */
static void start_own(uint64_t mtd)
{
    make_vcpu(THERE, mtd);
    assert_int_equal(whole(vcpu_slot, SLOT_ROOT_SYS), OK);
    on_core(THERE);
    assert_ptr_equal(current(), handler);
    assert_event(EVENT_START);
}

/* Ports 600h to 603h end it in any case. */
static uint64_t leave(enum after after)
{
    return graph(CALL_DISENGAGE, guest_pd, after | 0x600ull << 16 | 4ull << 32 | 0xf4ull << 48, 0,
                 0, 0);
}

static void start_alone(enum after after)
{
    start_own(MTD_RIP);
    answer(0);
    on_core(0);
    assert_int_equal(leave(after), OK);
    assert_int_equal(vcpu->core_mode, CORE_DISENGAGED);
    on_core(THERE);
    assert_ptr_equal(current(), vcpu);
}

static void who_gets_a_core(void **state)
{
    (void)state;
    make_vcpu(THERE, 0);
    uint64_t copy = slot_new(), pd;
    give(SLOT_ROOT_SYS, SLOT_ROOT_PD, copy, SYS_TIME);
    assert_int_equal(whole(vcpu_slot, copy), bad(BAD_RIGHT, 1));
    assert_int_equal(whole(handler_slot, SLOT_ROOT_SYS), bad(BAD_ARG, 1));
    uint64_t thread = make_ec(vmm_pd, THERE, EC_THREAD);
    assert_int_equal(whole(thread, SLOT_ROOT_SYS), bad(BAD_ARG, 3));
    sc_slot = slot_new();
    assert_int_equal(graph(CALL_SC_CREATE,
                           sc_slot | (uint64_t)SLOT_ROOT_SYS << 16 | vcpu_slot << 32, 5,
                           SC_WHOLE_CORE, 1, 0),
                     bad(BAD_ARG, 4));
    uint64_t t = make_thread(THERE, 5, &pd);
    assert_int_equal(whole(vcpu_slot, SLOT_ROOT_SYS), bad(BUSY, 1));
    assert_int_equal(end(t), OK);
    uint64_t shared_time = make_sc(vcpu_slot, 5, SLICE, 0); /* it may not have had time before */
    assert_int_equal(end(shared_time), OK);
    assert_int_equal(whole(vcpu_slot, SLOT_ROOT_SYS), bad(BUSY, 1));
    uint64_t fresh = make_ec(guest_pd, THERE, EC_VCPU), second = make_ec(guest_pd, THERE, EC_VCPU);
    assert_int_equal(whole(fresh, SLOT_ROOT_SYS), OK);
    assert_int_equal(whole(second, SLOT_ROOT_SYS), bad(BUSY, 1));
    assert_int_equal(graph(CALL_SC_CREATE,
                           slot_new() | (uint64_t)SLOT_ROOT_SYS << 16 | thread << 32, 5, 100, 0, 0),
                     bad(BUSY, 1));
    assert_int_equal(
        ((struct ec *)object_at(make_ec(vmm_pd, THERE, EC_HANDLER)))->regs.rflags & RFLAGS_IF, 0);
    assert_int_equal(handler->regs.rflags & RFLAGS_IF, 0);
    assert_int_equal(end(fresh), OK);
    assert_null(cores[THERE].owner);
    assert_true(handler->regs.rflags & RFLAGS_IF);
}

static void its_apic_is_as_after_reset(void **state)
{
    (void)state;
    machine.cpu[THERE].apic[X_LINT0] = machine.cpu[THERE].apic[X_DIVIDE] = 0;
    start_own(0);
    for (unsigned r = X_TIMER; r <= 0x37; r++)
        assert_int_equal(machine.cpu[THERE].apic[r], 1u << 16);
    assert_int_equal(machine.cpu[THERE].apic[X_INITIAL], 0);
    assert_int_equal(machine.cpu[THERE].apic[X_SVR] & 1u << 8, 0);
    assert_int_equal(vcpu->core_mode, CORE_OWNED);
    assert_int_equal(vmcb->vintr, 0);
    assert_int_equal(vmcb->intercept1 & (I1_INTR | I1_HLT), 0);
    assert_int_equal(vmcb->intercept1 & (I1_NMI | I1_CPUID | I1_MSR | I1_PORT),
                     I1_NMI | I1_CPUID | I1_MSR | I1_PORT);
}

/* APM2 15.11: two bits an MSR, the lower for reads. */
static unsigned intercepted(uint32_t msr)
{
    const uint8_t *map = (const uint8_t *)vmcb->msrpm_pa;
    uint32_t bit = 2 * (msr & 0x1fff) + (msr >= 0xc0000000 ? 0x4000 : 0);
    return map[bit / 8] >> bit % 8 & 3;
}

static void check_apic_map(bool alone)
{
    for (uint32_t r = 0; r < 0x40; r++) {
        bool write = r == 0x30 || r == 0x2f || (r >= 0x33 && r <= 0x37) || (!alone && r == 0x3e);
        assert_int_equal(intercepted(0x800 + r), (write ? 2 : 0) | (!alone && r == 0x39 ? 1 : 0));
    }
    for (uint32_t msr = 0; msr < 0x2000; msr++)
        if (msr >> 6 != 0x800 >> 6 && msr >> 2 != 0x174 >> 2)
            assert_int_equal(intercepted(msr), 3);
    assert_int_equal(intercepted(0xc0000080), alone ? 2 : 3); /* EFER */
    assert_int_equal(intercepted(0xc0000100), 0);
}

static void msrs_before_and_after(void **state)
{
    (void)state;
    start_own(0);
    check_apic_map(false);
    answer(0);
    on_core(0);
    assert_int_equal(leave(AFTER_STRICT), OK);
    check_apic_map(true);
    assert_int_equal(vmcb->intercept1 & I1_CPUID, 0);
    assert_int_equal(vmcb->intercept2 & (I2_MONITOR | I2_MWAIT | I2_XSETBV), 0);
    assert_int_equal(vmcb->intercept2 & I2_SVM, I2_SVM);
    assert_int_equal(vmcb->intercept1 &
                         (I1_NMI | I1_INVD | I1_PORT | I1_MSR | I1_SHUTDOWN | I1_RSM),
                     I1_NMI | I1_INVD | I1_PORT | I1_MSR | I1_SHUTDOWN | I1_RSM);
}

/* The VMM may write its guest's LVT, but nothing that another mode would do. */
static void a_vmm_writes_its_guests_apic(void **state)
{
    (void)state;
    start_own(0);
    static const struct {
        uint64_t reg, value, written;
    } row[] = {{0x35, 0x1a731, 0x10000}, {0x35, 0x1a431, 0x18431}, {0x36, 0xffffffffff000031, 0x31},
               {0x34, 0x4ee, 0x4ee},     {0x34, 0x500, 0x10000},   {0x33, 0x231, 0x10000},
               {0x37, 0x1ffff, 0x10000}, {0x37, 0x100fe, 0x100fe}, {0x3e, 0xff, 0xb},
               {0x3f, 0x20, 0x20},       {0x3f, 0xff, 0xff},       {0x3f, 0x1f, 0x5a5a},
               {0x3f, 0x120, 0x5a5a}};
    cpu_wrmsr(0x800 + X_SVR,
              0x1ff); /* its guest has enabled it: until then it would keep the mask bits */
    for (unsigned i = 0; i < COUNT(row); i++) {
        machine.cpu[THERE].apic[row[i].reg] = 0x5a5a;
        x->apic_reg = row[i].reg, x->apic_value = row[i].value;
        answer(MTD_APIC);
        assert_int_equal(machine.cpu[THERE].apic[row[i].reg], row[i].written);
        vm_exit(vcpu, EXIT_PORT);
    }
    for (uint64_t reg = 0; reg < 0x100; reg++) {
        if ((reg >= 0x33 && reg <= 0x37) || reg == 0x3e || reg == 0x3f)
            continue;
        machine.cpu[THERE].apic[reg & 63] = 0x5a5a;
        x->apic_reg = reg, x->apic_value = 1;
        answer(MTD_APIC);
        assert_int_equal(machine.cpu[THERE].apic[reg & 63], 0x5a5a);
        vm_exit(vcpu, EXIT_PORT);
    }
}

/* Of a sealed guest only the register that it wrote, with the value that it wrote. */
static void a_sealed_guest_writes_its_apic(void **state)
{
    (void)state;
    start_own(0);
    ((struct pd *)object_at(guest_pd))->sealed = 1;
    answer(0);
    machine.cpu[THERE].apic[X_DIVIDE] = machine.cpu[THERE].apic[X_LINT0] = 0x5a5a;
    vcpu->regs.rcx = 0x800 + X_DIVIDE, vcpu->regs.rdx = 0, vmcb->rax = 3;
    vmcb->rip = 0x7000, vmcb->info1 = 1;
    vm_exit(vcpu, EXIT_MSR);
    assert_event(EVENT_MSR);
    x->apic_reg = X_LINT0, x->apic_value = 0x400;
    answer(MTD_APIC | MTD_RIP);
    assert_int_equal(machine.cpu[THERE].apic[X_DIVIDE], 3);
    assert_int_equal(machine.cpu[THERE].apic[X_LINT0], 0x5a5a);
    assert_int_equal(vmcb->rip, 0x7002);
}

/* What a VMM asks for that is for shared cores has no effect on its own. */
static void a_vmm_gets_no_virtual_interrupts_and_no_time(void **state)
{
    (void)state;
    start_own(MTD_INJECT);
    uint64_t timer = machine.cpu[THERE].timer_at;
    x->inject = 0, x->intr = INTR_PENDING | 0x51, x->deadline = machine.tsc + 100;
    x->cr8 = 7;
    answer(MTD_INJECT | MTD_TIMER | MTD_CR8);
    assert_int_equal(vmcb->vintr, 0);
    assert_int_equal(vmcb->intercept_cr, 0);
    assert_int_equal(machine.cpu[THERE].timer_at, timer);
    vm_exit(vcpu, EXIT_PORT);
    answer(MTD_HALT);
    assert_null(current());
    on_core(0);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    assert_int_equal(machine.nmis, 1u << THERE); /* no interrupt: that would be the guest's */
    assert_int_equal(machine.ipis, 0);
    deliver();
    on_core(THERE);
    assert_event(EVENT_RECALL);
}

static void who_may_leave(void **state)
{
    (void)state;
    start_vcpu(0); /* a shared one */
    assert_int_equal(leave(AFTER_STRICT), bad(BAD_ARG, 1));
    make_vcpu(THERE, 0);
    assert_int_equal(leave(AFTER_STRICT), bad(BAD_ARG, 1)); /* it has not begun */
    uint64_t empty = make_pd(PD_GUEST, 4, 4), copy = slot_new();
    assert_int_equal(graph(CALL_DISENGAGE, empty, 0, 0, 0, 0), bad(BAD_ARG, 1));
    give(guest_pd, SLOT_ROOT_PD, copy, RIGHT_ALL & ~(unsigned)PD_DISENGAGE);
    assert_int_equal(graph(CALL_DISENGAGE, copy, 0, 0, 0, 0), bad(BAD_RIGHT, 1));
    assert_int_equal(whole(vcpu_slot, SLOT_ROOT_SYS), OK);
    uint64_t more = make_ec(guest_pd, 0, EC_VCPU);
    assert_int_equal(leave(AFTER_STRICT), bad(BAD_ARG, 1)); /* one has no core */
    assert_int_equal(end(more), OK);
    assert_int_equal(leave((enum after)2), bad(BAD_ARG, 2));
    assert_int_equal(leave(AFTER_QUIET), OK);
    assert_int_equal(leave(AFTER_QUIET), bad(BUSY, 1));
    assert_int_equal(graph(CALL_EC_CREATE, slot_new() | guest_pd << 16 | (uint64_t)EC_VCPU << 48, 0,
                           EVENTS, 0, 0),
                     bad(BUSY, 1));
}

/* Between the call and the guest's next entry it is its VMM's as before. */
static void it_has_left_only_when_it_runs(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    assert_int_equal(leave(AFTER_STRICT), OK);
    assert_int_equal(vcpu->core_mode, CORE_OWNED);
    assert_int_equal(vcpu->vcpu->counters->disengaged, 0);
    on_core(THERE);
    vcpu->vcpu->counters->exits[EVENT_PORT] = 77;
    answer(0);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vcpu->vcpu->counters->disengaged, machine.tsc);
    assert_int_equal(vcpu->vcpu->counters->engaged[EVENT_PORT], 77);
    assert_int_equal(vcpu->vcpu->counters->end_event, 0);
    on_core(0);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    deliver();
    on_core(THERE);
    assert_ptr_equal(current(), vcpu); /* nobody is there to ask */
}

/* Nothing of the VMM is in use on the core that it left; its end does not ring there. */
static void its_vmm_ends_unnoticed(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    assert_int_equal(machine.cpu[THERE].cr3, kernel_space->table_pa);
    assert_int_equal(cores[THERE].cr3, kernel_space->table_pa);
    on_core(0);
    uint32_t done = cores[THERE].sync_done;
    assert_int_equal(end(vmm_pd), OK);
    assert_int_equal(cores[THERE].sync_done, done);
    assert_ptr_equal(cores[THERE].current, vcpu);
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | guest_pd << 16 | (uint64_t)MR_READ << 32, 0, 0, 512, 0), OK);
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest_pd << 16, 0, 0, 0, 0),
                     OK); /* but its own translations are flushed */
    assert_int_equal(cores[THERE].sync_done, done + 1);
    assert_int_equal(vmcb->tlb_control, 3);
}

/* It does not go on, whatever comes: its core waits. */
static void assert_over(void)
{
    assert_int_equal(vcpu->hazard, HAZARD_END);
    __atomic_fetch_or(&vcpu->hazard, HAZARD_NMI | HAZARD_RECALL, __ATOMIC_RELAXED);
    settle();
    assert_int_equal(vcpu->hazard, HAZARD_END);
    assert_int_equal(vmcb->inject, 0);
}

struct ending {
    uint64_t code, event;
    struct exit_info info; /* of EXITINFO1 5555h, EXITINFO2 6666h, RCX 10h */
};

static void assert_ended(const struct ending *e)
{
    assert_over();
    const struct vcpu_stat *s = vcpu->vcpu->counters;
    assert_int_equal(s->end_event, e->event + 1);
    assert_int_equal(s->end_code, e->code);
    assert_int_equal(s->end_rip, 0x7000);
    assert_int_equal(s->end_cr3, 0x8000);
    assert_int_equal(s->end_rax, 0x1111222233334444);
    assert_memory_equal(&s->end_info, &e->info, sizeof s->end_info);
    assert_int_equal(s->exits[e->event], 0); /* it is no exit that somebody saw to */
}

static void exit_alone(uint64_t code, uint64_t info1)
{
    vmcb->rip = 0x7000, vmcb->cr3 = 0x8000, vmcb->rax = 0x1111222233334444;
    vmcb->info1 = info1, vmcb->info2 = 0x6666;
    vcpu->regs.rdx = 9;
    vm_exit(vcpu, code);
}

/* Each exit that a guest can cause, in both modes; its own answers below. */
static void most_exits_end_it(void **state)
{
    (void)state;
    static const struct ending ends[] = {
        {0x6f, EVENT_OPCODE, {0}},
        {0x73, EVENT_OPCODE, {0}},
        {0x76, EVENT_OPCODE, {0}},
        {0x7a, EVENT_OPCODE, {0}},
        {0x7d, EVENT_OPCODE, {0}},
        {0x7e, EVENT_OPCODE, {0}},
        {0x80, EVENT_OPCODE, {0}},
        {0x82, EVENT_OPCODE, {0}},
        {0x83, EVENT_OPCODE, {0}},
        {0x84, EVENT_OPCODE, {0}},
        {0x85, EVENT_OPCODE, {0}},
        {0x86, EVENT_OPCODE, {0}},
        {0x8a, EVENT_OPCODE, {0}},
        {0x8b, EVENT_OPCODE, {0}},
        {0x8c, EVENT_OPCODE, {0}},
        {0x10, EVENT_OPCODE, {0}},
        {0x401, EVENT_OPCODE, {0}},
        {EXIT_XSETBV, EVENT_XSETBV, {0}},
        {EXIT_HLT, EVENT_HLT, {0}},
        {EXIT_SHUTDOWN, EVENT_SHUTDOWN, {0}},
        {0xffffffff, EVENT_INVALID, {0}},
        {EXIT_EXCEPTION + 18, EVENT_EXCEPTION, {.number = 18, .error = 0}},
        {EXIT_NPF, EVENT_MEMORY, {.address = 0x6666, .flags = EXIT_EXECUTE}},
    };
    uint64_t first = slot_new();
    for (unsigned i = 0; i < 2 * COUNT(ends); i++) {
        start_alone(i & 1 ? AFTER_QUIET : AFTER_STRICT);
        vcpu->regs.rcx = 0x10;
        exit_alone(ends[i / 2].code, 0x5555);
        assert_ended(&ends[i / 2]);
        on_core(0);
        assert_int_equal(end(guest_pd), OK);
        assert_null(cores[THERE].owner);
        assert_int_equal(end(vmm_pd), OK);
        slots_again(first);
    }
}

static void strict_ends_it_by_ports_and_msrs(void **state)
{
    (void)state;
    static const struct ending ends[] = {
        {EXIT_PORT, EVENT_PORT, {.size = 5, .flags = EXIT_READ | EXIT_STRING}},
        {EXIT_MSR, EVENT_MSR, {.number = 0x10, .flags = EXIT_WRITE}},
    };
    for (unsigned i = 0; i < 2; i++) {
        start_alone(AFTER_STRICT);
        vcpu->regs.rcx = 0x10;
        exit_alone(ends[i].code, 0x5555);
        assert_ended(&ends[i]);
        on_core(0);
        assert_int_equal(end(guest_pd), OK);
    }
}

static void quiet_answers_ones(void **state)
{
    (void)state;
    enum { IN = 1, STRING = 4, BYTE = 0x10, WORD = 0x20, LONG = 0x40 };
    static const struct {
        uint64_t code, info1, rax, rdx, rip;
    } row[] = {
        {EXIT_PORT, IN | BYTE, 0x11112222333344ff, 9, 0x6666},
        {EXIT_PORT, IN | WORD, 0x111122223333ffff, 9, 0x6666},
        {EXIT_PORT, IN | LONG, 0xffffffff, 9, 0x6666},
        {EXIT_PORT, LONG, 0x1111222233334444, 9, 0x6666},
        {EXIT_MSR, 0, 0xffffffff, 0xffffffff, 0x7002},
        {EXIT_MSR, 1, 0x1111222233334444, 9, 0x7002},
    };
    start_alone(AFTER_QUIET);
    for (unsigned i = 0; i < COUNT(row); i++) {
        vmcb->shadow = 1;
        exit_alone(row[i].code, row[i].info1);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(vmcb->rax, row[i].rax);
        assert_int_equal(vcpu->regs.rdx, row[i].rdx);
        assert_int_equal(vmcb->rip, row[i].rip);
        assert_int_equal(vmcb->shadow, 0);
    }
    vcpu->regs.rcx = 0xc0002001; /* the status of a bank of machine checks: no error */
    exit_alone(EXIT_MSR, 0);
    assert_int_equal(vmcb->rax | vcpu->regs.rdx, 0);
    exit_alone(EXIT_PORT, 0x5ffull << 16 | BYTE);
    exit_alone(EXIT_PORT, 0x604ull << 16 | BYTE);
    exit_alone(EXIT_PORT, 0xffffull << 16 | BYTE);
    assert_ptr_equal(current(), vcpu);
    exit_alone(EXIT_PORT, IN | STRING | BYTE);
    assert_over();
    assert_int_equal(vcpu->vcpu->counters->end_event, EVENT_PORT + 1);
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_PORT], 7);
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_MSR], 3);
}

static void quiet_has_ports_that_end_it(void **state)
{
    (void)state;
    static const uint64_t ports[] = {0x600, 0x601, 0x602, 0x603, 0xf4};
    for (unsigned i = 0; i < COUNT(ports); i++) {
        uint64_t port = ports[i];
        start_alone(AFTER_QUIET);
        exit_alone(EXIT_PORT, port << 16 | 0x10);
        assert_over();
        const struct exit_info want = {.number = (uint32_t)port, .size = 1, .flags = EXIT_WRITE};
        assert_memory_equal(&vcpu->vcpu->counters->end_info, &want, sizeof want);
        assert_int_equal(vcpu->vcpu->counters->end_event, EVENT_PORT + 1);
        assert_int_equal(vcpu->vcpu->counters->end_code, EXIT_PORT);
        on_core(0);
        assert_int_equal(end(guest_pd), OK);
    }
}

static void calls_fail_and_exceptions_come_back(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    exit_alone(EXIT_VMMCALL, 0);
    assert_int_equal(vmcb->rax, (uint64_t)-38);
    assert_int_equal(vmcb->rip, 0x7003);
    exit_alone(EXIT_EXCEPTION + 1, 0);
    assert_int_equal(vmcb->inject, INJECT_VALID | INJECT_EXCEPTION | 1);
    exit_alone(EXIT_EXCEPTION + 17, 5);
    assert_int_equal(vmcb->inject,
                     INJECT_VALID | INJECT_EXCEPTION | INJECT_ERROR | 17 | 5ull << 32);
    assert_int_equal(vmcb->rip, 0x7000);
    assert_ptr_equal(current(), vcpu);
}

static void write_icr(uint64_t icr)
{
    vcpu->regs.rcx = 0x830;
    vcpu->regs.rdx = icr >> 32;
    vmcb->rax = 0xffffffff00000000 | (uint32_t)icr;
    vmcb->rip = 0x7000, vmcb->info1 = 1, vmcb->shadow = 1;
    vm_exit(vcpu, EXIT_MSR);
}

static void an_icr_write_is_done_by_the_kernel(void **state)
{
    (void)state;
    start_own(MTD_RIP);
    answer(0);
    write_icr(0x40050);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->rip, 0x7002);
    assert_int_equal(vmcb->shadow, 0);
    assert_int_equal(machine.ipis, 1u << THERE);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_ICR], 1);
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_MSR], 0);
    machine.ipis = 0;
    uint32_t started = machine.started;
    write_icr(0xc4500); /* INIT is the VMM's */
    assert_event(EVENT_MSR);
    assert_int_equal(x->next_rip, 0x7002);
    answer(0);
    vmcb->info1 = 0; /* a read never comes here, but is no write */
    vm_exit(vcpu, EXIT_MSR);
    assert_event(EVENT_MSR);
    answer(0);
    on_core(0);
    assert_int_equal(leave(AFTER_STRICT), OK);
    on_core(THERE);
    write_icr(0xc4500); /* and nobody's after */
    write_icr(0xc4608);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(machine.started, started);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_ICR], 3);
}

/* With prefixes as the processor counts them, and with the trap of a guest that steps. */
static void an_icr_write_ends_as_any_other(void **state)
{
    (void)state;
    start_own(MTD_RIP);
    answer(0);
    vmcb->rflags = RFLAGS_FIXED | RFLAGS_TF, vmcb->dr6 = 0xffff0ff0;
    machine.prefixes = 3;
    write_icr(0x40050);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->rip, machine.no_next_rip ? 0x7002 : 0x7005);
    assert_int_equal(vmcb->inject, INJECT_VALID | INJECT_EXCEPTION | 1);
    assert_int_equal(vmcb->dr6, 0xffff0ff0 | DR6_STEP);
    vmcb->rflags = RFLAGS_FIXED;
    write_icr(0x40050);
    assert_int_equal(vmcb->inject, 0);
    machine.ipis = 0;
}

/* NMIs come one at a time: the next after an IRET (APM2 8.1.4). */
static void nmis_come_one_at_a_time(void **state)
{
    (void)state;
    const uint64_t nmi = INJECT_VALID | INJECT_NMI | 2;
    start_own(0);
    answer(0);
    write_icr(0x44400);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->inject, nmi);
    assert_true(vmcb->intercept1 & I1_IRET);
    vmcb->exit_int = 0;
    write_icr(0x44400); /* in its handler: one is kept */
    assert_int_equal(vmcb->inject, 0);
    write_icr(0x44400);
    assert_int_equal(vcpu->hazard, 0);
    vmcb->rflags = RFLAGS_FIXED;
    vm_exit(vcpu, EXIT_EXCEPTION + 1); /* the handler's own step */
    answer(0);
    assert_int_equal(vcpu->hazard, 0);
    assert_int_equal(vmcb->intercept1 & I1_IRET, I1_IRET);
    vm_exit(vcpu, EXIT_IRET); /* not before the IRET */
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vmcb->intercept1 & I1_IRET, 0);
    assert_int_equal(vmcb->rflags, RFLAGS_FIXED | RFLAGS_TF);
    uint64_t count = vcpu->vcpu->counters->exits[CAUSE_NMI];
    vmcb->rflags = RFLAGS_FIXED | RFLAGS_TF; /* the IRET has set what the guest had */
    vm_exit(vcpu, EXIT_EXCEPTION + 1);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_NMI], count + 1);
    assert_int_equal(vmcb->rflags, RFLAGS_FIXED | RFLAGS_TF);
    assert_int_equal(vmcb->inject, nmi);
    assert_int_equal(vmcb->intercept1 & I1_IRET, I1_IRET);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], 0);
    vmcb->rflags = RFLAGS_FIXED;
    vm_exit(vcpu, EXIT_IRET); /* none is kept: no step */
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vmcb->rflags, RFLAGS_FIXED);
    vmcb->exit_int = INJECT_VALID | INJECT_EXCEPTION |
                     13; /* the exit broke into an exception's delivery, which will come again */
    write_icr(0x44400);
    assert_int_equal(vmcb->inject, nmi);
    assert_int_equal(vcpu->hazard, 0);
    vmcb->exit_int = 0;
    vm_exit(vcpu, EXIT_IRET);
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vmcb->intercept1 & I1_IRET, 0);
}

/* It has no state yet: not even the VMM's leaving makes it run. */
static void an_nmi_does_not_start_what_waits_for_sipi(void **state)
{
    (void)state;
    start_own(0);
    answer(MTD_HALT);
    __atomic_fetch_or(&vcpu->hazard, HAZARD_NMI, __ATOMIC_RELAXED);
    on_core(0);
    assert_int_equal(leave(AFTER_STRICT), OK);
    deliver();
    assert_int_equal(vcpu->state, STATE_HALTED);
    assert_int_equal(vcpu->core_mode, CORE_OWNED);
}

/* What a guest leaves in the local APIC is ended before the core is the kernel's. */
static void a_core_comes_back_as_it_was(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    machine.cpu[THERE].apic[X_ISR] = 1u << 31 | 1u << 16;
    machine.cpu[THERE].apic[X_ISR + 7] = 1u << 5;
    machine.cpu[THERE].apic[X_SVR] = 0, machine.cpu[THERE].apic[X_TIMER] = 0x20040,
    machine.cpu[THERE].apic[8] = 0xf0;
    machine.ended = 0;
    on_core(0);
    assert_int_equal(end(vcpu_slot), OK);
    assert_int_equal(machine.cpu[THERE].apic[X_ISR] | machine.cpu[THERE].apic[X_ISR + 7], 0);
    assert_int_equal(machine.ended, 3);
    assert_int_equal(machine.cpu[THERE].apic[X_SVR], 1u << 8 | VECTOR_SPURIOUS);
    assert_int_equal(machine.cpu[THERE].apic[X_TIMER], VECTOR_TIMER);
    assert_int_equal(machine.cpu[THERE].apic[8], 0);
    assert_null(cores[THERE].owner);
    assert_null(cores[THERE].loaded);
    uint64_t pd, bell = make_sm(0), t = make_thread(THERE, 5, &pd);
    give(bell, pd, BELL, SM_DOWN);
    deliver();
    on_core(THERE);
    assert_ptr_equal(current(), object_at(t));
    call(object_at(t), CALL_SM_DOWN, BELL, machine.tsc + 300);
    assert_null(current());
    on_core(0);
    pass(300);
    assert_int_equal(((struct ec *)object_at(t))->regs.rax, TIMEOUT);
}

/* With MCIP set the next machine check would be a shutdown. */
static void a_machine_check_is_seen(void **state)
{
    (void)state;
    start_own(MTD_RIP);
    answer(0);
    static const struct {
        uint64_t code, left;
    } row[] = {{EXIT_EXCEPTION + 17, 5},
               {EXIT_EXCEPTION + 18, 0},
               {EXIT_SHUTDOWN, 0}}; /* of a guest with CR4.MCE clear */
    for (uint32_t i = 0; i < COUNT(row); i++) {
        cpu_wrmsr(MSR_MCG_STATUS, 5);
        vm_exit(vcpu, row[i].code);
        assert_int_equal(cpu_rdmsr(MSR_MCG_STATUS), row[i].left);
        answer(0);
    }
    on_core(0);
    assert_int_equal(end(guest_pd), OK);
    start_alone(AFTER_STRICT);
    cpu_wrmsr(MSR_MCG_STATUS, 5);
    vm_exit(vcpu, EXIT_EXCEPTION + 18);
    assert_int_equal(cpu_rdmsr(MSR_MCG_STATUS), 0);
}

/* The local APIC has an interrupt ready in each third window only. */
enum { X_IRR = 0x20 };
static uint32_t windows;
static bool stuck;
static void let_in(void)
{
    windows++;
    assert_true(machine_cpu()->apic[X_SVR] & 1u << 8);
    if (stuck || windows % 3 != 0)
        return;
    for (uint32_t n = 8; n > 0; n--) {
        uint64_t *word = &machine.cpu[THERE].apic[X_IRR + n - 1];
        if (*word) {
            *word &= ~(1ull << (63 - __builtin_clzll(*word)));
            return;
        }
    }
}

static void leave_waiting(void)
{
    static const uint32_t left[8] = {0xffff0000, 0xffffffff, 1, 0, 0x80000000, 0, 0, 0x30000};
    windows = 0;
    machine.window = let_in;
    for (uint32_t i = 0; i < 8; i++)
        machine.cpu[THERE].apic[X_IRR + i] = left[i];
}

static uint32_t waiting(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < 8; i++)
        count += (uint32_t)__builtin_popcountll(machine.cpu[THERE].apic[X_IRR + i]);
    return count;
}

/* One window is not enough for all that waits: neither for what a guest left, nor for what came for
 * the kernel before. */
static void all_that_waits_is_let_in(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    on_core(0);
    leave_waiting();
    assert_int_equal(end(vcpu_slot), OK);
    assert_int_equal(waiting(), 0);
    make_vcpu(THERE, 0);
    leave_waiting();
    assert_int_equal(whole(vcpu_slot, SLOT_ROOT_SYS), OK);
    on_core(THERE);
    assert_event(EVENT_START);
    assert_int_equal(waiting(), 0);
}

static void an_interrupt_that_never_comes_holds_nobody(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    on_core(0);
    leave_waiting();
    stuck = true;
    assert_int_equal(end(vcpu_slot), OK);
    stuck = false;
    assert_true(windows > 100 && windows < 10000);
    memset(&machine.cpu[THERE].apic[X_IRR], 0, 8 * sizeof machine.cpu[THERE].apic[0]);
}

/* Its core is given back only when nobody can be about to send to it any more: every other core was
   outside the kernel since it is marked dead. Here core 0 looks what its sibling's core would find;
   until the end it is rung by NMI. */
static struct ec *seen[8];
static unsigned looks;
static void look_at_owner(void)
{
    if (looks < COUNT(seen))
        seen[looks++] = cores[THERE].owner;
    assert_true(core_owned(&cores[THERE]));
}

static void a_dead_owner_is_not_found_again(void **state)
{
    (void)state;
    start_own(0);
    answer(0);
    on_core(0);
    looks = 0;
    machine.flushed = look_at_owner;
    core_lock_graph();
    assert_int_equal(pd_destroy(root, vcpu_slot), OK);
    core_unlock_graph();
    assert_int_equal(looks, 1); /* THERE leaves the space of its VMM, before it forgets its owner */
    assert_ptr_equal(seen[0], vcpu);
    assert_true(vcpu->head.type == OBJ_NONE);
    assert_null(cores[THERE].owner);
    assert_int_equal(cores[THERE].reclaim, 0);
}

/* The time of a whole core is its vCPU's life. */
static void without_its_core_it_is_dead(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    assert_int_equal(end(sc_slot), OK);
    void *o;
    assert_int_equal(cap_find(root, vcpu_slot, OBJ_EC, 0, 1, &o), bad(BAD_CAP, 1));
    assert_null(cores[THERE].owner);
    assert_int_equal(handler->state, STATE_IDLE);
}

/* Its VMM dies while it works for it: the vCPU stops, the core stays its own until it ends. */
static void its_vmm_dies_before_it_leaves(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    assert_int_equal(end(vmm_pd), OK);
    assert_null(cores[THERE].current);
    assert_int_equal(vcpu->state, STATE_STOPPED);
    assert_ptr_equal(cores[THERE].owner, vcpu);
    assert_int_equal(end(guest_pd), OK);
    assert_null(cores[THERE].owner);
}

/* A thread's way out missed the NMI: the rendezvous rings again. */
static unsigned deaf;
static void mostly_deaf(void)
{
    if (machine.nmis & 1u << THERE && deaf) {
        deaf--;
        machine.nmis = 0;
    }
    if (!deaf && machine.nmis) {
        machine.nmis = 0;
        on_core(THERE);
        core_sync_poll();
        on_core(0);
    }
}

static void a_rendezvous_rings_until_it_is_heard(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    deaf = 3;
    machine.relax = mostly_deaf;
    core_lock_graph();
    core_sync(1u << THERE, 0);
    core_unlock_graph();
    assert_int_equal(deaf, 0);
}

/* Whom no mask names is not rung, and waited for only while it is in the kernel. */
static unsigned steps;
static void goes_out_in_the_end(void)
{
    steps++;
    if (steps == 3)
        cores[THERE].outside = 1;
}

static void others_are_not_disturbed(void **state)
{
    (void)state;
    start_own(0);
    on_core(0);
    uint32_t wanted = cores[THERE].sync_wanted;
    core_lock_graph();
    core_sync(0, 0);
    assert_int_equal(cores[THERE].sync_wanted, wanted);
    cores[THERE].outside = 0;
    steps = 0;
    machine.relax = goes_out_in_the_end;
    core_sync(0, 0);
    assert_int_equal(steps, 3);
    core_unlock_graph();
    assert_int_equal(machine.nmis | machine.ipis, 0);
}

/* What another guest had in more registers than ours does not stay in the core; what XCR0 it set is
 * kept. */
static void xcr0_is_the_guests(void **state)
{
    (void)state;
    start_alone(AFTER_STRICT);
    machine.cpu[THERE].xcr0 = 3; /* XSETBV does not exit */
    on_core(0);
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | guest_pd << 16 | (uint64_t)MR_READ << 32, 0, 0, 512, 0), OK);
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest_pd << 16, 0, 0, 0, 0), OK);
    assert_int_equal(vcpu->vcpu->xcr0, 3);
    assert_int_equal(machine.cpu[THERE].xcr0, 3);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(who_gets_a_core),
        RIG_TEST(its_apic_is_as_after_reset),
        RIG_TEST(msrs_before_and_after),
        RIG_TEST(a_vmm_writes_its_guests_apic),
        RIG_TEST(a_sealed_guest_writes_its_apic),
        RIG_TEST(a_vmm_gets_no_virtual_interrupts_and_no_time),
        RIG_TEST(who_may_leave),
        RIG_TEST(it_has_left_only_when_it_runs),
        RIG_TEST(its_vmm_ends_unnoticed),
        RIG_TEST(most_exits_end_it),
        RIG_TEST(strict_ends_it_by_ports_and_msrs),
        RIG_TEST(quiet_answers_ones),
        RIG_TEST_GUESSING(quiet_answers_ones),
        RIG_TEST(quiet_has_ports_that_end_it),
        RIG_TEST(calls_fail_and_exceptions_come_back),
        RIG_TEST_GUESSING(calls_fail_and_exceptions_come_back),
        RIG_TEST(an_icr_write_is_done_by_the_kernel),
        RIG_TEST(an_icr_write_ends_as_any_other),
        RIG_TEST_GUESSING(an_icr_write_ends_as_any_other),
        RIG_TEST(nmis_come_one_at_a_time),
        RIG_TEST(an_nmi_does_not_start_what_waits_for_sipi),
        RIG_TEST(a_core_comes_back_as_it_was),
        RIG_TEST(a_machine_check_is_seen),
        RIG_TEST(all_that_waits_is_let_in),
        RIG_TEST(an_interrupt_that_never_comes_holds_nobody),
        RIG_TEST(a_dead_owner_is_not_found_again),
        RIG_TEST(without_its_core_it_is_dead),
        RIG_TEST(its_vmm_dies_before_it_leaves),
        RIG_TEST(a_rendezvous_rings_until_it_is_heard),
        RIG_TEST(others_are_not_disturbed),
        RIG_TEST(xcr0_is_the_guests),
    };
    return RIG_RUN(all);
}
