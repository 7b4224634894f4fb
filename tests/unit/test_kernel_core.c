/* Cores together: the graph lock, the rendezvous, the inbox, and what a destroyed object may leave
 * behind. */
#include "rig.h"

enum { BELL = 10 };

extern uint64_t core_starting;
void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip);
void call_graph(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t number);

static struct pd *watched;
static uint64_t watched_va;
static bool seen_mapped;

/* The last TLB flush must not come before the last unmap. */
static void look(void)
{
    uint64_t frame, bits;
    seen_mapped = ptab_lookup(watched, watched_va, &frame, &bits);
}

static void the_machine_is_up(void **state)
{
    (void)state;
    assert_int_equal(core_count, 2);
    assert_int_equal(counters.core[1].online, 1);
    assert_int_equal(counters.core[1].apic_id, 1);
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, 1, 0, 0, 0), bad(BUSY, 2));
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, 1u << 20, 0, 0, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_PD, 2, 0, 0, 0), bad(BAD_CAP, 1));
}

/* Each of 64 cores by its own bit: one that were left out would keep what was unmapped. */
static void each_core_that_uses_a_space_is_named(void **state)
{
    (void)state;
    const struct pd *pd = &objects[1].pd;
    uint32_t count = core_count;
    uint64_t before[MAX_CORES];
    for (uint32_t i = 0; i < MAX_CORES; i++) {
        before[i] = cores[i].cr3;
        cores[i].cr3 = 0;
    }
    core_lock_graph();
    core_count = MAX_CORES;
    for (uint32_t i = 0; i < MAX_CORES; i++) {
        cores[i].cr3 = pd->table_pa;
        assert_int_equal(core_users(pd), 1ull << i | pd->cores);
        cores[i].cr3 = 0;
    }
    core_count = count;
    core_unlock_graph();
    for (uint32_t i = 0; i < MAX_CORES; i++)
        cores[i].cr3 = before[i];
}

static uint64_t commands[4];
static unsigned command_count;
static void note_command(uint64_t icr) { commands[command_count++ % COUNT(commands)] = icr; }

static void starts(uint64_t apic_id, uint64_t status, unsigned count, uint64_t first,
                   uint64_t second)
{
    command_count = 0;
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, apic_id, 0, 0, 0), status);
    assert_int_equal(command_count, count);
    assert_int_equal(count > 0 ? commands[0] : 0, first);
    assert_int_equal(count > 1 ? commands[1] : 0, second);
}

/* INIT, then as many start-up IPIs as root asks for. A core that does not come is given up for the
   next, unless it has the stack already. */
static void a_core_that_does_not_come_is_given_up(void **state)
{
    (void)state;
    const uint64_t init = 0x4500, start_up = 0x4600 | core_ap_page, two = 2ull << 32,
                   three = 3ull << 32;
    machine.icr = note_command;
    starts(2, OK, 1, two | init, 0);
    uint64_t stack = core_starting;
    assert_int_not_equal(stack, 0);
    starts(2, OK, 1, two | start_up, 0);
    starts(2, OK, 1, two | start_up, 0);
    starts(3, OK, 2, two | init, three | init);
    assert_int_equal(core_starting, stack);
    starts(3, OK, 1, three | start_up, 0);
    starts(2, OK, 2, three | init, two | init);
    core_starting = 0; /* entry.S, core_entry_ap */
    starts(2, BUSY, 0, 0, 0);
    starts(3, BUSY, 0, 0, 0);
    core_starting = stack;
}

static void idle_time_is_counted(void **state)
{
    (void)state;
    uint64_t pd, t = make_thread(0, 5, &pd), idle = counters.core[0].idle, begin = machine.tsc;
    pass(500);
    assert_int_equal(end(t + 1), OK);
    assert_int_equal(counters.core[0].idle, idle);
    pass(300);
    make_sc(t, 5, SLICE, 0);
    assert_int_equal(counters.core[0].idle - idle, machine.tsc - begin - 500);
}

static void an_unmapped_region_is_flushed_everywhere(void **state)
{
    (void)state;
    uint64_t pd, t = make_thread(1, 5, &pd);
    deliver();
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | pd << 16 | (uint64_t)MR_READ << 32, 0x40000000, 0, 1, 0), OK);
    watched = object_at(pd), watched_va = 0x40000000;
    seen_mapped = true;
    machine.flushed = look;
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | pd << 16, 0, 0, 0, 0), OK);
    assert_false(seen_mapped);
    assert_ptr_equal(cores[1].current, object_at(t));
}

/* A domain has ECs only on cores that it was given, and gives no others on. */
static void a_domain_keeps_to_its_cores(void **state)
{
    (void)state;
    uint64_t first = slot_new(), second = slot_new(), ec = slot_new(), lab = (uint64_t)LAB << 16;
    assert_int_equal(graph(CALL_PD_CREATE, first | lab, PD_HOST, 20, 20, 2), OK);
    assert_int_equal(graph(CALL_PD_CREATE, second | first << 16, PD_HOST, 4, 4, 3),
                     bad(BAD_ARG, 5));
    assert_int_equal(graph(CALL_PD_CREATE, second | first << 16, PD_HOST, 4, 4, 1ull << 63),
                     bad(BAD_ARG, 5));
    assert_int_equal(graph(CALL_PD_CREATE, second | first << 16, PD_HOST, 10, 4, 0), OK);
    for (uint64_t pd = first; pd <= second; pd++) {
        assert_int_equal(graph(CALL_EC_CREATE, ec | pd << 16 | 0ull << 32, 0x5000, EVENTS, 0, 0),
                         bad(BAD_ARG, 1));
        assert_int_equal(graph(CALL_EC_CREATE, ec | pd << 16 | 1ull << 32, 0x5000, EVENTS, 0, 0),
                         OK);
        assert_int_equal(end(ec), OK);
    }
}

/* What nobody called, woke or gave time to ends unnoticed, however often. */
static void what_rests_ends_unnoticed(void **state)
{
    (void)state;
    uint64_t pd, other;
    make_thread(1, 5, &pd);
    deliver();
    other = make_pd(PD_HOST, 40, 40);
    uint32_t wanted = cores[1].sync_wanted;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t thread = make_ec(other, 1, EC_THREAD), handler = make_ec(other, 1, EC_HANDLER),
                 portal = make_pt(handler, 0, 0);
        assert_int_equal(end(i & 1 ? thread : handler), OK);
        assert_int_equal(end(i & 1 ? handler : thread), OK);
        assert_int_equal(end(portal), bad(BAD_CAP, 1));
        assert_int_equal(end(make_sm(0)), OK);
        slots_again(thread);
    }
    assert_int_equal(end(other), OK);
    assert_int_equal(cores[1].sync_wanted, wanted);
}

/* A thread that dies alone takes its UTCB's frame out of a living space: before the flush, not
 * after. */
static void a_dead_threads_utcb_is_flushed(void **state)
{
    (void)state;
    uint64_t pd, other;
    make_thread(0, 5, &pd);
    other = make_ec(pd, 1, EC_THREAD);
    struct ec *ec = object_at(other);
    watched = ec->pd, watched_va = ec->utcb_va;
    seen_mapped = true;
    machine.flushed = look;
    core_lock_graph();
    assert_int_equal(pd_destroy(root, other), OK); /* no flush but its own */
    core_unlock_graph();
    assert_false(seen_mapped);
}

/* A core whose waiter's time is up may be about to lock a semaphore that ends: it is waited for
 * after the queue is empty. */
static const struct sm *ending;
static bool seen_waiting;
static void enters(uint64_t icr)
{
    (void)icr; /* the post to the waiter's core: between the two rendezvous */
    cores[1].outside = 0;
}
static void look_at_queue(void)
{
    seen_waiting = ending->first != 0;
    if (!seen_waiting)
        cores[1].outside = 1;
}

static void a_semaphore_has_no_waiters_at_its_end(void **state)
{
    (void)state;
    uint64_t pd, bell = make_sm(0), waiter = make_thread(1, 5, &pd);
    give(bell, pd, BELL, SM_DOWN);
    deliver();
    on_core(1);
    call(object_at(waiter), CALL_SM_DOWN, BELL, 0);
    on_core(0);
    ending = object_at(bell);
    seen_waiting = true;
    machine.relax = look_at_queue;
    cores[1].outside = 1;
    machine.icr = enters;
    assert_int_equal(end(bell), OK);
    machine.icr = NULL;
    machine.ipis |= 2;
    deliver();
    assert_false(seen_waiting);
}

/* A thread that is dying waits on a semaphore that lives: who ups it meanwhile lets it alone, and
 * the up is not lost. */
static void a_dead_waiter_is_not_woken(void **state)
{
    (void)state;
    uint64_t first_pd, second_pd, bell = make_sm(0), first = make_thread(1, 5, &first_pd),
                                  second = make_thread(1, 6, &second_pd);
    deliver();
    give(bell, first_pd, BELL, SM_DOWN);
    give(bell, second_pd, BELL, SM_DOWN);
    on_core(1);
    call(object_at(second), CALL_SM_DOWN, BELL, 0);
    call(object_at(first), CALL_SM_DOWN, BELL, 0);
    on_core(0);
    struct ec *dying = object_at(second);
    dying->head.dead = 1;
    assert_int_equal(sm_up(root, bell), OK);
    assert_null(dying->sm);
    assert_int_equal(dying->inboxed, 0);
    deliver();
    assert_ptr_equal(cores[1].current, object_at(first));
    dying->head.dead = 0;
}

static void a_dying_space_is_left(void **state)
{
    (void)state;
    uint64_t pd, there;
    make_thread(1, 5, &pd);
    deliver();
    make_thread(0, 5, &there);
    assert_int_equal(cores[1].cr3, ((struct pd *)object_at(pd))->table_pa);
    assert_int_equal(end(pd), OK);
    assert_int_equal(machine.cpu[1].cr3, kernel_space->table_pa);
    assert_null(cores[1].current);
}

/* Core 1 spins for the graph lock, so it takes no IPI. Meanwhile core 0, which has the lock,
   destroys a thread of core 1, and its slot gets a new owner. */
static uint64_t doomed;
static void *new_owner;

static void spinner_polls(void)
{
    on_core(1);
    core_sync_poll();
    on_core(0);
}

static void destroyer_works(void)
{
    machine.relax = spinner_polls;
    on_core(0);
    assert_int_equal(pd_destroy(root, doomed), OK);
    new_owner = object_new(OBJ_SM, object_at(LAB));
    core_unlock_graph();
    on_core(1);
}

static void spin_on_core_1(uint64_t number)
{
    core_lock_graph();
    on_core(1);
    machine.relax = destroyer_works;
    call_graph(0, 0, 0, 0, 0, number);
}

static void a_posted_thread_dies_while_its_core_spins(void **state)
{
    (void)state;
    uint64_t pd, spinner_pd, bell = make_sm(0), spinner = make_thread(1, 5, &spinner_pd);
    deliver();
    doomed = make_thread(1, 9, &pd);
    deliver();
    struct ec *ec = object_at(doomed);
    give(bell, pd, BELL, SM_DOWN);
    on_core(1);
    call(ec, CALL_SM_DOWN, BELL, 0);
    assert_ptr_equal(current(), object_at(spinner));
    on_core(0);
    assert_int_equal(sm_up(root, bell), OK); /* posted to core 1; its IPI waits */
    spin_on_core_1(CALL_REVOKE);
    assert_ptr_equal(new_owner, ec); /* else this test tests nothing */
    assert_null(cores[1].inbox);
    core_lock_graph();
    object_free(new_owner);
    core_unlock_graph();
    settle();
    assert_ptr_equal(current(), object_at(spinner));
}

/* A caller dies while it waits for the graph lock, and its slot is taken: the call must not happen.
 */
static void a_dead_caller_makes_no_call(void **state)
{
    (void)state;
    uint64_t pd;
    doomed = make_thread(1, 9, &pd);
    deliver();
    struct ec *ec = object_at(doomed);
    spin_on_core_1(CALL_COUNT);
    assert_ptr_equal(new_owner, ec);
    assert_int_equal(ec->regs.rax,
                     0); /* no status was written into the semaphore that lives there */
    core_lock_graph();
    object_free(new_owner);
    core_unlock_graph();
    settle();
    assert_null(current());
}

/* Debug builds: what breaks a contract stops the kernel, which names the place. */
static jmp_buf stopped;
static void leave_stopped_kernel(void) { longjmp(stopped, 1); }

static void free_without_lock(void) { object_free(root); }
static void wake_elsewhere(void) { sched_wake(object_at(doomed)); }
static void pay_by_the_dead(void)
{
    core_lock_graph();
    root->head.dead = 1;
    (void)object_new(OBJ_SM, root);
}

static void stops_with(void (*act)(void), const char *sentence)
{
    memset(machine.serial, 0, sizeof machine.serial);
    machine.halted = leave_stopped_kernel;
    if (!setjmp(stopped)) {
        act();
        fail_msg("it does not stop: %s", sentence);
    }
    machine.halted = NULL;
    panic_used = 0; /* it goes on after all */
    assert_non_null(strstr(machine.serial, sentence));
}

static void machine_check(void) { trap_kernel(18, 0, 0); }

/* The first bank with something valid; its address, if it has one. */
static void a_machine_check_is_told(void **state)
{
    (void)state;
    uint64_t *bank = machine_cpu()->bank;
    bank[4 * 1 + 1] = 0xb200000000000135;
    bank[4 * 1 + 2] = 0x1234567000;
    stops_with(machine_check, "b200000000000135 0000000000000000");
    bank[4 * 1 + 1] |= 1ull << 58;
    stops_with(machine_check, "b600000000000135 0000001234567000");
    bank[4 * 0 + 1] = 0xb200000000000111;
    stops_with(machine_check, "b200000000000111 0000000000000000");
    memset(machine_cpu()->bank, 0, sizeof machine_cpu()->bank);
}

static void a_broken_contract_is_told(void **state)
{
    (void)state;
    uint64_t pd;
    doomed = make_thread(1, 9, &pd);
    deliver();
    on_core(0);
    stops_with(free_without_lock, "kernel/object.c:");
    stops_with(free_without_lock, ": has_graph_lock()");
    stops_with(wake_elsewhere, ": is_own_core(ec->core)");
    stops_with(pay_by_the_dead, "!payer->head.dead");
    root->head.dead = 0;
    core_unlock_graph();
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(the_machine_is_up),
        RIG_TEST(a_core_that_does_not_come_is_given_up),
        RIG_TEST(each_core_that_uses_a_space_is_named),
        RIG_TEST(idle_time_is_counted),
        RIG_TEST(an_unmapped_region_is_flushed_everywhere),
        RIG_TEST(a_domain_keeps_to_its_cores),
        RIG_TEST(what_rests_ends_unnoticed),
        RIG_TEST(a_dead_threads_utcb_is_flushed),
        RIG_TEST(a_semaphore_has_no_waiters_at_its_end),
        RIG_TEST(a_dead_waiter_is_not_woken),
        RIG_TEST(a_dying_space_is_left),
        RIG_TEST(a_posted_thread_dies_while_its_core_spins),
        RIG_TEST(a_dead_caller_makes_no_call),
        RIG_TEST(a_machine_check_is_told),
        RIG_TEST(a_broken_contract_is_told),
    };
    return RIG_RUN(all);
}
