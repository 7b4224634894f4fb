/* vCPUs: halts, recalls, ends, and what they leave in a core. */
#include "rig_vcpu.h"

static void a_halt_ends_by_its_deadline(void **state)
{
    (void)state;
    start_vcpu(MTD_TIMER);
    x->deadline = machine.tsc + 500;
    answer(MTD_HALT | MTD_TIMER);
    assert_null(current());
    pass(499);
    assert_null(current());
    pass(1);
    assert_event(EVENT_RECALL);
    assert_int_equal(x->deadline, 0);
    x->deadline = machine.tsc + 500;
    answer(MTD_TIMER);
    assert_ptr_equal(current(), vcpu);
    pass(500);
    assert_event(EVENT_RECALL);
    x->deadline = machine.tsc - 1; /* past: at once */
    answer(MTD_TIMER | MTD_HALT);
    pass(1);
    assert_event(EVENT_RECALL);
    x->deadline = machine.tsc + 50;
    answer(MTD_TIMER | MTD_HALT);
    assert_int_equal(graph(CALL_NOP + CALL_COUNT, 0, 0, 0, 0, 0), BAD_CALL);
    pass(50);
    x->deadline = 0;
    answer(MTD_TIMER);
    assert_null(cores[0].timers);
}

static void a_recall_wakes_a_halt(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(MTD_HALT);
    assert_null(current());
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    settle();
    assert_event(EVENT_RECALL);
    assert_int_equal(ec_recall(root, vcpu_slot),
                     OK); /* while the handler works: the halt does not happen */
    answer(MTD_HALT);
    assert_event(EVENT_RECALL);
    answer(MTD_HALT);
    assert_null(current());
}

static void a_recall_from_another_core(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(MTD_HALT);
    on_core(1);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    on_core(0);
    assert_null(current());
    deliver();
    assert_event(EVENT_RECALL);
    on_core(1);
    assert_int_equal(ec_recall(root, vcpu_slot),
                     OK); /* races with the halt below: the IPI still waits */
    on_core(0);
    answer(MTD_HALT);
    assert_event(EVENT_RECALL);
    deliver();
    answer(0);
    assert_ptr_equal(current(), vcpu);
    on_core(1);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    on_core(0);
    deliver();
    assert_event(EVENT_RECALL);
}

static void only_vcpus_are_recalled(void **state)
{
    (void)state;
    start_vcpu(0);
    assert_int_equal(ec_recall(root, handler_slot), bad(BAD_CAP, 1));
    uint64_t slot = slot_new();
    give(vcpu_slot, SLOT_ROOT_PD, slot, EC_BIND);
    assert_int_equal(ec_recall(root, slot), bad(BAD_RIGHT, 1));
    assert_int_equal(graph(CALL_VCPU_CPUID, slot, 0, 0, 0, 0), bad(BAD_RIGHT, 1));
}

static void a_killed_vcpu_never_runs(void **state)
{
    (void)state;
    start_vcpu(0);
    x->deadline = machine.tsc + 10;
    answer(MTD_KILL | MTD_TIMER);
    assert_null(current());
    assert_int_equal(vcpu->state, STATE_STOPPED);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    pass(100);
    assert_null(current());
}

/* A VMM that asks for both must not surprise the scheduler. */
static void halt_and_kill_at_once(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(MTD_HALT | MTD_KILL);
    assert_null(current());
    assert_int_equal(vcpu->state, STATE_STOPPED);
}

static void a_vcpu_without_a_start_portal_stops(void **state)
{
    (void)state;
    uint64_t pd = make_pd(PD_GUEST, 16, 16), slot = make_ec(pd, 0, EC_VCPU);
    make_sc(slot, 5, SLICE, 0);
    assert_null(current());
    assert_int_equal(((struct ec *)object_at(slot))->state, STATE_STOPPED);
}

static void each_has_its_own_fpu(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(0);
    struct ec *first = vcpu;
    memset(machine.cpu[0].fpu, 1, sizeof machine.cpu[0].fpu);
    machine.cpu[0].dr[2] = 0x1111;
    start_vcpu(0);
    answer(0);
    struct ec *second = vcpu;
    pass(SLICE);
    if (current() != second)
        pass(SLICE);
    assert_ptr_equal(current(), second);
    assert_int_equal(machine.cpu[0].fpu[0], 0);
    assert_int_equal(machine.cpu[0].dr[2], 0);
    assert_true(machine.cpu[0].cr0 & CR0_TS);
    memset(machine.cpu[0].fpu, 2, sizeof machine.cpu[0].fpu);
    pass(SLICE);
    assert_ptr_equal(current(), first);
    assert_int_equal(machine.cpu[0].fpu[100], 1);
    assert_int_equal(machine.cpu[0].dr[2], 0x1111);
    assert_int_equal(first->vcpu->vmcb->tlb_control, 3);
    vm_exit(first,
            ~0ull); /* VMRUN refused its state, and may not have flushed: it is still to be done */
    assert_int_equal(first->vcpu->vmcb->tlb_control, 3);
}

static void switch_vcpus(void)
{
    struct ec *before = current();
    for (unsigned i = 0; i < 3 && current() == before; i++)
        pass(SLICE);
    assert_ptr_not_equal(current(), before);
}

/* Spectre v2: what one VM trained predicts no branch of another's. A processor without IBPB is not
   asked for one, and one that flushes all ASIDs at once does that. */
static void no_branch_is_predicted_by_another_vm(void **state)
{
    (void)state;
    start_vcpu(0);
    answer(0);
    uint32_t barriers = machine.barriers;
    vm_exit(vcpu, EXIT_INTR);
    assert_int_equal(machine.barriers, barriers);
    start_vcpu(0);
    answer(0);
    switch_vcpus();
    assert_int_equal(machine.barriers, barriers + 2);
    assert_false(machine.buffered); /* MDS and its kin: what is stored of the one is no other's */
    switch_vcpus();
    assert_int_equal(machine.barriers, barriers + 3);
    machine.no_barrier = true;
    vcpu_core_init(machine.core);
    switch_vcpus();
    assert_int_equal(machine.barriers, barriers + 3);
    assert_int_equal(current()->vcpu->vmcb->tlb_control, 1);
    machine.no_barrier = false;
    vcpu_core_init(machine.core);
}

/* Memory that is taken from a running guest must leave its TLB too. */
static void an_unmap_flushes_the_guest(void **state)
{
    (void)state;
    start_vcpu(0);
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | guest_pd << 16 | (uint64_t)MR_READ << 32, 0, 0, 512, 0), OK);
    answer(0);
    vm_exit(vcpu, EXIT_INTR);
    assert_int_equal(vmcb->tlb_control, 0);
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest_pd << 16, 0, 0, 0, 0), OK);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->tlb_control, 3);
}

static void counters_are_given_back(void **state)
{
    (void)state;
    uint64_t pd = make_pd(PD_GUEST, 3 * MAX_VCPUS + 10, MAX_VCPUS + 5), slots[MAX_VCPUS], to;
    for (unsigned i = 0; i < MAX_VCPUS; i++)
        slots[i] = make_ec(pd, 0, EC_VCPU);
    to = slot_new();
    assert_int_equal(
        graph(CALL_EC_CREATE, to | pd << 16 | (uint64_t)EC_VCPU << 48, 0, EVENTS, 0, 0), NO_MEMORY);
    assert_int_equal(end(slots[7]), OK);
    assert_int_equal(
        graph(CALL_EC_CREATE, to | pd << 16 | (uint64_t)EC_VCPU << 48, 0, EVENTS, 0, 0), OK);
    assert_int_equal(((struct ec *)object_at(SLOT_ROOT_EC))->regs.rdx, 7);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(a_halt_ends_by_its_deadline),
        RIG_TEST(a_recall_wakes_a_halt),
        RIG_TEST(a_recall_from_another_core),
        RIG_TEST(only_vcpus_are_recalled),
        RIG_TEST(a_killed_vcpu_never_runs),
        RIG_TEST(halt_and_kill_at_once),
        RIG_TEST(a_vcpu_without_a_start_portal_stops),
        RIG_TEST(each_has_its_own_fpu),
        RIG_TEST(no_branch_is_predicted_by_another_vm),
        RIG_TEST(an_unmap_flushes_the_guest),
        RIG_TEST(counters_are_given_back),
    };
    return RIG_RUN(all);
}
