/* vCPUs: exits as events, what travels with them, CPUID. */
#include "rig_vcpu.h"
#include <svm.h>

/* Where the instruction ends says the processor, which counts prefixes; or their usual length does.
 */
static void exit_codes_become_events(void **state)
{
    (void)state;
    static const struct {
        uint64_t code, event, skip;
    } row[] = {
        {EXIT_MSR, EVENT_MSR, 2},
        {EXIT_HLT, EVENT_HLT, 1},
        {EXIT_VMMCALL, EVENT_VMCALL, 3},
        {EXIT_XSETBV, EVENT_XSETBV, 3},
        {EXIT_NPF, EVENT_MEMORY, 0},
        {EXIT_SHUTDOWN, EVENT_SHUTDOWN, 0},
        {EXIT_EXCEPTION + 1, EVENT_EXCEPTION, 0},
        {EXIT_EXCEPTION + 17, EVENT_EXCEPTION, 0},
        {EXIT_EXCEPTION + 18, EVENT_EXCEPTION, 0},
        {~0ull, EVENT_INVALID, 0},
        {0xffffffffull, EVENT_INVALID, 0},
        {0x80, EVENT_OPCODE, 0}, /* VMRUN */
        {0x76, EVENT_OPCODE, 0}, /* INVD */
        {0x89, EVENT_OPCODE, 0}, /* WBINVD */
        {0x8a, EVENT_OPCODE, 3}, /* MONITOR */
        {0x8b, EVENT_OPCODE, 3}, /* MWAIT */
        {0x8c, EVENT_OPCODE, 3},
        {0x40, EVENT_OPCODE, 0}, /* an exception nobody watches */
        {0x0, EVENT_OPCODE, 0},
        {0x401, EVENT_OPCODE, 0},
        {1ull << 40, EVENT_OPCODE, 0},
    };
    start_vcpu(MTD_RIP | MTD_INFO);
    answer(0);
    machine.prefixes = 5;
    machine.wild_next_rip = 0x7007;
    for (unsigned i = 0; i < COUNT(row); i++) {
        uint64_t before = vcpu->vcpu->counters->exits[row[i].event];
        uint64_t skip = row[i].skip && !machine.no_next_rip ? row[i].skip + 5 : row[i].skip;
        vmcb->rip = 0x7000;
        vmcb->info1 = 11, vmcb->info2 = 22;
        vm_exit(vcpu, row[i].code);
        assert_event((unsigned)row[i].event);
        assert_int_equal(x->next_rip, skip ? 0x7000 + skip : 0);
        assert_int_equal(vcpu->vcpu->counters->exits[row[i].event], before + 1);
        answer(0);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(vmcb->rip, 0x7000);
    }
    vmcb->info2 = 0x7002;
    vm_exit(vcpu, EXIT_PORT); /* hardware tells where a port instruction ends */
    assert_event(EVENT_PORT);
    assert_int_equal(x->next_rip, 0x7002);
    answer(0);
    machine.wild_next_rip = 0;
    vm_exit(vcpu, EXIT_INTR); /* no instruction, and so is what its VMM sees next */
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    machine.core->attention = 1;
    settle();
    assert_event(EVENT_RECALL);
    assert_int_equal(x->next_rip, 0);
}

/* Each core asks its processor (APM2 15.7.1). */
static void who_says_where_an_instruction_ends(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        machine.no_next_rip = i & 1;
        virt_core_init(machine.core);
        assert_int_equal(svm_guesses_rip, i & 1);
    }
}

#define MSR_NUMBER 0xc5c6c7c8u

/* What an exit says: these fields, and zeros in the others. */
static void exits_say_what_happened(void **state)
{
    (void)state;
    static const struct {
        uint64_t code, info1, info2;
        struct exit_info info;
    } row[] = {
        {EXIT_PORT, 0xfff80011, 0x7001, {0xfff8, 0, 1, EXIT_READ, {0}, 0}},
        {EXIT_PORT, 0x03f80020, 0x7002, {0x3f8, 0, 2, EXIT_WRITE, {0}, 0}},
        {EXIT_PORT, 0x00800040, 0x7002, {0x80, 0, 4, EXIT_WRITE, {0}, 0}},
        {EXIT_PORT, 0x03f80415, 0x7002, {0x3f8, 0, 1, EXIT_READ | EXIT_STRING, {0}, 0}},  /* INS */
        {EXIT_PORT, 0x03f8042c, 0x7003, {0x3f8, 0, 2, EXIT_WRITE | EXIT_STRING, {0}, 0}}, /* REP */
        {EXIT_MSR, 0, 0xbad, {MSR_NUMBER, 0, 0, EXIT_READ, {0}, 0}},
        {EXIT_MSR, 1, 0xbad, {MSR_NUMBER, 0, 0, EXIT_WRITE, {0}, 0}},
        {EXIT_NPF, 0x100000005, 0x12345678abc, {0, 0, 0, EXIT_READ, {0}, 0x12345678abc}},
        {EXIT_NPF, 0x100000006, 0xfee00300, {0, 0, 0, EXIT_WRITE, {0}, 0xfee00300}},
        {EXIT_NPF, 0x200000015, 0x1000, {0, 0, 0, EXIT_EXECUTE, {0}, 0x1000}},
        {EXIT_EXCEPTION + 1, 7, 0xbad, {1, 0, 0, 0, {0}, 0}}, /* #DB has none */
        {EXIT_EXCEPTION + 17, 5, 0xbad, {17, 5, 0, EXIT_ERROR, {0}, 0}},
        {EXIT_EXCEPTION + 18, 0, 0xbad, {18, 0, 0, 0, {0}, 0}},
        {EXIT_HLT, 3, 0xbad, {0}},
        {EXIT_VMMCALL, 3, 0xbad, {0}},
        {EXIT_XSETBV, 3, 0xbad, {0}},
        {EXIT_SHUTDOWN, 3, 0xbad, {0}},
        {EXIT_INVALID, 3, 0xbad, {0}},
        {0x76, 3, 0xbad, {0}}, /* INVD */
    };
    start_vcpu(MTD_INFO);
    answer(0);
    for (unsigned i = 0; i < COUNT(row); i++) {
        struct exit_info info;
        memset(&x->info, 0, sizeof x->info);
        memset(&info, 0xee, sizeof info);
        vcpu->regs.rcx = 0xc1c2c3c400000000 | MSR_NUMBER;
        vmcb->info1 = row[i].info1, vmcb->info2 = row[i].info2;
        vm_exit(vcpu, row[i].code);
        assert_memory_equal(&x->info, &row[i].info, sizeof x->info);
        svm_info(vcpu, (unsigned)handler->regs.rdi, &info);
        assert_memory_equal(&info, &row[i].info, sizeof info);
        answer(0);
    }
}

static void an_exception_is_told_as_it_is_injected(void **state)
{
    (void)state;
    static const struct exit_info debug = {.number = 1, .error = 7},
                                  alignment = {.number = 17, .error = 5, .flags = EXIT_ERROR};
    assert_int_equal(exit_exception(&debug), INJECT_VALID | INJECT_EXCEPTION | 1);
    assert_int_equal(exit_exception(&alignment),
                     INJECT_VALID | INJECT_EXCEPTION | INJECT_ERROR | 17 | 5ull << 32);
}

/* QEMU 10.0 writes zeros back where VMRUN stops before it has read the field. */
static void a_refused_state_leaves_interrupts_the_hosts(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(0);
    vmcb->vintr = 0;
    vm_exit(vcpu, 0xffffffff);
    assert_event(EVENT_INVALID);
    answer(0);
    assert_ptr_equal(current(), vcpu);
    assert_true(vmcb->vintr & VINTR_MASKING);
}

static void interrupts_stay_in_the_kernel(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(0);
    vm_exit(vcpu, EXIT_INTR);
    assert_ptr_equal(current(), vcpu);
    vm_exit(vcpu, EXIT_NMI);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_INTR], 1);
}

static void what_was_being_delivered_is_delivered_again(void **state)
{
    (void)state;
    start_vcpu(MTD_INJECT);
    answer(0);
    vmcb->exit_int = INJECT_VALID | INJECT_EXCEPTION | 14;
    vm_exit(vcpu, EXIT_NPF);
    assert_int_equal(x->inject, vmcb->exit_int);
    x->inject = 0, x->intr = 0;
    answer(MTD_INJECT);
    assert_int_equal(vmcb->inject, vmcb->exit_int);
    vmcb->exit_int = 0;
    vm_exit(vcpu, EXIT_INTR);
    assert_int_equal(vmcb->inject, 0);
}

static void an_offer_can_be_withdrawn(void **state)
{
    (void)state;
    start_vcpu(MTD_INJECT);
    x->inject = 0, x->intr = INTR_PENDING | 0x51;
    answer(MTD_INJECT);
    assert_int_equal(vmcb->vintr, 0x51ull << 32 | 5 << 16 | VINTR_MASKING | VINTR_IRQ);
    assert_int_equal(vmcb->intercept_cr, CR8_WRITE);
    vm_exit(vcpu, EXIT_HLT);
    assert_int_equal(x->intr, INTR_PENDING | 0x51);
    x->intr = 0;
    answer(MTD_INJECT);
    assert_int_equal(vmcb->vintr, VINTR_MASKING);
    assert_int_equal(vmcb->intercept_cr, 0);
}

/* Every group goes out and comes back as it was, and no other moves. */
static void groups_travel_alone(void **state)
{
    (void)state;
    static const uint64_t groups[] = {MTD_ACDB, MTD_REST, MTD_FLAGS,   MTD_CONTROL,
                                      MTD_EFER, MTD_SEGS, MTD_SYSCALL, MTD_CR8};
    start_vcpu(MTD_ACDB | MTD_REST | MTD_FLAGS | MTD_CONTROL | MTD_EFER | MTD_SEGS | MTD_SYSCALL |
               MTD_CR8);
    answer(0);
    struct exit_state sent;
    for (unsigned i = 0; i < COUNT(groups); i++) {
        vm_exit(vcpu, EXIT_HLT);
        struct exit_state was = *x;
        memset(x, 0x41 + (int)i, sizeof *x);
        x->xcr0 = 3, x->efer = 0xd01, x->cpl = 3, x->cr8 = 7;
        sent = *x;
        answer(groups[i]);
        vm_exit(vcpu, EXIT_HLT);
        assert_int_equal(x->rax, groups[i] == MTD_ACDB ? sent.rax : was.rax);
        assert_int_equal(x->r15, groups[i] == MTD_REST ? sent.r15 : was.r15);
        assert_int_equal(x->rsp, groups[i] == MTD_FLAGS ? sent.rsp : was.rsp);
        assert_int_equal(x->cr3, groups[i] == MTD_CONTROL ? sent.cr3 : was.cr3);
        assert_int_equal(x->efer, groups[i] == MTD_EFER ? sent.efer : was.efer);
        assert_int_equal(x->cr8, groups[i] == MTD_CR8 ? 7 : was.cr8);
        assert_int_equal(x->xcr0, groups[i] == MTD_CONTROL ? 3 : was.xcr0);
        assert_int_equal(x->seg[SEG_TR].base,
                         groups[i] == MTD_SEGS ? sent.seg[SEG_TR].base : was.seg[SEG_TR].base);
        assert_int_equal(x->cpl, groups[i] == MTD_SEGS ? 3 : was.cpl);
        assert_int_equal(x->pat, groups[i] == MTD_SYSCALL ? sent.pat : was.pat);
        answer(0);
    }
    assert_true(vmcb->efer & EFER_SVME);
}

/* With EFER, too; four bits; beside an offer. */
static void cr8_travels(void **state)
{
    (void)state;
    static const uint64_t groups[] = {MTD_CR8, MTD_EFER};
    for (unsigned i = 0; i < COUNT(groups); i++) {
        start_vcpu(groups[i]);
        x->inject = 0, x->intr = INTR_PENDING | 0x51, x->cr8 = 0xfffffffffffffff6;
        answer(MTD_CR8 | MTD_INJECT);
        assert_int_equal(vmcb->vintr, 0x51ull << 32 | 5 << 16 | VINTR_MASKING | VINTR_IRQ | 6);
        vmcb->vintr += 3; /* the guest writes 9 */
        vmcb->efer = EFER_SVME | EFER_LME;
        x->efer = x->cr8 = 0xbad;
        vm_exit(vcpu, EXIT_HLT);
        assert_int_equal(x->cr8, 9);
        assert_int_equal(x->efer, EFER_LME); /* one costs as much as both */
        x->cr8 = 1, x->efer = EFER_LME;
        answer(MTD_EFER);
        assert_int_equal(vmcb->vintr & VINTR_TPR, 9);
        assert_int_equal(end(guest_pd), OK);
        assert_int_equal(end(vmm_pd), OK);
    }
}

static void a_vmm_sets_the_tsc(void **state)
{
    (void)state;
    start_vcpu(MTD_RIP);
    x->tsc_offset = 0x1234;
    answer(0);
    assert_int_equal(vmcb->tsc_offset, 0);
    vm_exit(vcpu, EXIT_HLT);
    x->tsc_offset = 0x1234;
    answer(MTD_TSC);
    assert_int_equal(vmcb->tsc_offset, 0x1234);
}

/* It is recalled at the IRET of the handler of an NMI that it injected, and learns until then that
 * others are blocked. */
static void a_vmm_learns_that_an_nmi_ends(void **state)
{
    (void)state;
    start_vcpu(MTD_INJECT);
    x->inject = INJECT_VALID | INJECT_NMI | 2;
    answer(MTD_INJECT);
    vmcb->exit_int = 0;
    vm_exit(vcpu, EXIT_HLT);
    assert_int_equal(x->shadow, SHADOW_NMI);
    x->inject = INJECT_VALID | INJECT_EXCEPTION | 13; /* in its handler */
    answer(MTD_INJECT);
    vm_exit(vcpu, EXIT_IRET);
    assert_event(EVENT_RECALL);
    assert_int_equal(x->shadow, 0);
    assert_int_equal(vmcb->intercept1 & I1_IRET, 0);
}

/* The processor switches tasks by itself. */
static void a_task_switch_is_the_guests(void **state)
{
    (void)state;
    start_vcpu(MTD_RIP);
    assert_int_equal(vmcb->intercept1 & 1u << 29, 0);
}

/* What a VMM must not reach by any reply. */
static void the_kernels_part_of_a_vmcb_stays(void **state)
{
    (void)state;
    start_vcpu(~0u);
    memset(x, 0xff, sizeof *x);
    answer(0xffffffff & ~(uint64_t)(MTD_KILL | MTD_HALT | MTD_TIMER));
    assert_int_equal(vmcb->nested, 1);
    assert_int_equal(vmcb->nested_cr3, ((struct pd *)object_at(guest_pd))->table_pa);
    assert_int_equal(vmcb->asid, 1);
    assert_true(vmcb->efer & EFER_SVME);
    assert_true(vmcb->vintr & VINTR_MASKING);
    assert_int_equal(vmcb->intercept1 &
                         (I1_INTR | I1_NMI | I1_CPUID | I1_MSR | I1_PORT | I1_INVD | I1_SHUTDOWN),
                     I1_INTR | I1_NMI | I1_CPUID | I1_MSR | I1_PORT | I1_INVD | I1_SHUTDOWN);
    assert_int_equal(vmcb->intercept2 & I2_SVM, I2_SVM);
    assert_int_equal(vcpu->vcpu->xcr0, 7); /* the part of all ones that there is */
}

static void an_impossible_xcr0_is_ignored(void **state)
{
    (void)state;
    start_vcpu(MTD_CONTROL);
    for (uint64_t v = 0; v < 8; v++) {
        uint64_t was = vcpu->vcpu->xcr0;
        x->xcr0 = v;
        answer(MTD_CONTROL);
        assert_int_equal(vcpu->vcpu->xcr0, v == 1 || v == 3 || v == 7 ? v : was);
        assert_int_equal(machine.cpu[0].xcr0, vcpu->vcpu->xcr0);
        vm_exit(vcpu, EXIT_HLT);
    }
}

/* ---- CPUID ---- */
static struct cpuid_row row_of(uint32_t leaf, uint32_t subleaf, uint32_t value)
{
    return (struct cpuid_row){.leaf = leaf, .subleaf = subleaf, .eax = value, .ecx = value};
}

static uint64_t ask(uint32_t leaf, uint32_t subleaf)
{
    vmcb->rax = leaf;
    vcpu->regs.rcx = subleaf;
    vmcb->rip = 100;
    vm_exit(vcpu, EXIT_CPUID);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->rip, 102);
    return vmcb->rax;
}

static void cpuid_comes_from_the_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t leaf, subleaf, value;
    } rows[] = {{0, CPUID_ANY, 10}, {1, CPUID_ANY, 11},          {4, 0, 40},
                {4, 2, 42},         {7, CPUID_ANY, 70},          {0xd, 0, 130},
                {0xd, 1, 131},      {0x40000000, CPUID_ANY, 90}, {0x80000008, CPUID_ANY, 98},
                {0xc0000001, 5, 99}};
    struct utcb *u = ((struct ec *)object_at(SLOT_ROOT_EC))->utcb;
    guest_pd = make_pd(PD_GUEST, 40, 40);
    uint64_t slot = make_ec(guest_pd, 0, EC_VCPU);
    for (unsigned i = 0; i < COUNT(rows); i++)
        u->cpuid[i] = row_of(rows[i].leaf, rows[i].subleaf, rows[i].value);
    u->cpuid[1].flags = CPUID_OSXSAVE;
    u->rows = 0;
    assert_int_equal(graph(CALL_VCPU_CPUID, slot, 0, 0, 0, 0), bad(BAD_ARG, 1));
    u->rows = CPUID_ROWS + 1;
    assert_int_equal(graph(CALL_VCPU_CPUID, slot, 0, 0, 0, 0), bad(BAD_ARG, 1));
    u->rows = COUNT(rows);
    assert_int_equal(graph(CALL_VCPU_CPUID, slot, 0, 0, 0, 0), OK);
    vcpu = object_at(slot);
    vmcb = vcpu->vcpu->vmcb;
    vmm_pd = make_pd(PD_HOST, 16, 16);
    handler_slot = make_ec(vmm_pd, 0, EC_HANDLER);
    handler = object_at(handler_slot);
    give(make_pt(handler_slot, 0, 0), guest_pd, EVENTS + EVENT_START, PT_CALL);
    make_sc(slot, 5, SLICE, 0);
    assert_int_equal(graph(CALL_VCPU_CPUID, slot, 0, 0, 0, 0), bad(BUSY, 1));
    answer(0);
    for (unsigned i = 0; i < COUNT(rows); i++)
        assert_int_equal(ask(rows[i].leaf, rows[i].subleaf == CPUID_ANY ? 77 : rows[i].subleaf),
                         rows[i].value);
    assert_int_equal(ask(4, 1), 0);
    assert_int_equal(ask(5, 0), 0);
    assert_int_equal(ask(0xd, 2), 0);
    assert_int_equal(ask(0x4000001f, 0), 0);
    assert_int_equal(ask(0x40000020, 0), 0);
    assert_int_equal(ask(0xffffffff, 0), 0);
    ask(1, 0);
    assert_int_equal(vcpu->regs.rcx, 11);
    vmcb->cr4 = CR4_OSXSAVE;
    ask(1, 0);
    assert_int_equal(vcpu->regs.rcx, 11 | 1u << 27);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(exit_codes_become_events),
        RIG_TEST_GUESSING(exit_codes_become_events),
        RIG_TEST(who_says_where_an_instruction_ends),
        RIG_TEST(exits_say_what_happened),
        RIG_TEST(an_exception_is_told_as_it_is_injected),
        RIG_TEST(a_refused_state_leaves_interrupts_the_hosts),
        RIG_TEST(interrupts_stay_in_the_kernel),
        RIG_TEST(what_was_being_delivered_is_delivered_again),
        RIG_TEST(an_offer_can_be_withdrawn),
        RIG_TEST(groups_travel_alone),
        RIG_TEST(cr8_travels),
        RIG_TEST(a_vmm_sets_the_tsc),
        RIG_TEST(a_vmm_learns_that_an_nmi_ends),
        RIG_TEST(a_task_switch_is_the_guests),
        RIG_TEST(the_kernels_part_of_a_vmcb_stays),
        RIG_TEST(an_impossible_xcr0_is_ignored),
        RIG_TEST(cpuid_comes_from_the_table),
    };
    return RIG_RUN(all);
}
