/* Scheduling contexts, timers and semaphores, with a clock that the test moves. */
#include "rig.h"

enum { BELL = 10, BELL2 = 11 };

struct thread {
    uint64_t pd, ec, sc;
    struct ec *e;
    struct sc *s;
};

static struct thread start(uint64_t core, uint64_t priority, uint64_t budget, uint64_t period)
{
    struct thread t;
    t.pd = make_pd(PD_HOST, 16, 16);
    t.ec = make_ec(t.pd, core, EC_THREAD);
    t.sc = make_sc(t.ec, priority, budget, period);
    t.e = object_at(t.ec);
    t.s = object_at(t.sc);
    return t;
}

/* Root ups the semaphore from core 0: from within whichever thread runs there that holds it. */
static void up_by(struct ec *ec, uint64_t slot)
{
    assert_int_equal(call(ec, CALL_SM_UP, slot, 0), OK);
}

static void a_slot_of_time_takes_only_what_it_says(void **state)
{
    (void)state;
    uint64_t pd = make_pd(PD_HOST, 16, 16), ec = make_ec(pd, 0, EC_THREAD),
             handler = make_ec(pd, 0, EC_HANDLER);
    uint64_t to = slot_new() | (uint64_t)SLOT_ROOT_SYS << 16;
    assert_int_equal(graph(CALL_SC_CREATE, to | handler << 32, 1, 1, 0, 0), bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_SC_CREATE, to | ec << 32, PRIORITIES, 1, 0, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_SC_CREATE, to | ec << 32, 1, 0, 0, 0), bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_SC_CREATE, to | ec << 32, 1, 1ull << 60, 0, 0), bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_SC_CREATE, to | ec << 32, 1, 10, 9, 0), bad(BAD_ARG, 4));
    assert_int_equal(graph(CALL_SC_CREATE, to | ec << 32, 1, 10, 1ull << 60, 0), bad(BAD_ARG, 4));
    make_sc(ec, 1, 10, 0);
    assert_int_equal(
        graph(CALL_SC_CREATE, slot_new() | (uint64_t)SLOT_ROOT_SYS << 16 | ec << 32, 1, 1, 0, 0),
        bad(BUSY, 1));
}

static void the_highest_priority_runs(void **state)
{
    (void)state;
    struct thread low = start(0, 3, SLICE, 0), high = start(0, 9, SLICE, 0),
                  middle = start(0, 5, SLICE, 0);
    assert_ptr_equal(current(), high.e);
    pass(10 * SLICE);
    assert_ptr_equal(current(), high.e);
    assert_int_equal(end(high.pd), OK);
    assert_ptr_equal(current(), middle.e);
    assert_int_equal(end(middle.pd), OK);
    assert_ptr_equal(current(), low.e);
}

static void equals_take_turns(void **state)
{
    (void)state;
    struct thread t[3] = {start(0, 5, 100, 0), start(0, 5, 200, 0), start(0, 5, 300, 0)};
    uint64_t ran[3] = {0};
    for (unsigned i = 0; i < 60000; i += 10) {
        for (unsigned k = 0; k < 3; k++)
            ran[k] += current() == t[k].e ? 10 : 0;
        pass(10);
    }
    assert_in_range(ran[0], 9900, 10100);
    assert_in_range(ran[1], 19800, 20200);
    assert_in_range(ran[2], 29700, 30300);
    assert_in_range(t[1].s->spent, 19800, 20200);
}

static void a_thread_alone_needs_no_timer(void **state)
{
    (void)state;
    struct thread t = start(0, 5, 100, 0);
    assert_int_equal(machine.cpu[0].timer_at, 0);
    struct thread other = start(0, 5, 100, 0);
    assert_int_equal(machine.cpu[0].timer_at, machine.tsc + 100);
    assert_int_equal(end(other.pd), OK);
    assert_ptr_equal(current(), t.e);
    pass(200);
    assert_int_equal(machine.cpu[0].timer_at, 0);
}

static void a_budget_is_a_limit(void **state)
{
    (void)state;
    struct thread limited = start(0, 9, 100, 1000), rest = start(0, 5, SLICE, 0);
    uint64_t ran = 0;
    for (unsigned i = 0; i < 10000; i += 10) {
        ran += current() == limited.e ? 10 : 0;
        pass(10);
    }
    assert_in_range(ran, 980, 1020);
    assert_ptr_not_equal(rest.e, NULL);
}

/* But for the price of waking up. */
static void a_sleeper_keeps_its_budget(void **state)
{
    (void)state;
    struct thread t = start(0, 9, 10000, 100000), other = start(0, 5, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, t.pd, BELL, SM_DOWN);
    give(sm, other.pd, BELL, SM_UP);
    pass(40);
    call(t.e, CALL_SM_DOWN, BELL, 0);
    assert_ptr_equal(current(), other.e);
    pass(100);
    up_by(other.e, BELL);
    assert_ptr_equal(current(), t.e);
    assert_int_equal(t.s->remaining, 10000 - 40 - 4000);
    pass(5960);
    assert_ptr_equal(current(), other.e);
}

/* The budget ends in the very call that blocks: the end of the period must not wake the sleeper. */
static void a_sleeper_without_budget_sleeps_on(void **state)
{
    (void)state;
    struct thread t = start(0, 9, 100, 1000), other = start(0, 5, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, t.pd, BELL, SM_DOWN);
    give(sm, other.pd, BELL, SM_UP);
    machine.tsc += 100; /* the timer has fired, but its interrupt waits until the call is over */
    call(t.e, CALL_SM_DOWN, BELL, 0);
    assert_ptr_equal(current(), other.e);
    pass(950);
    assert_ptr_equal(current(), other.e);
    assert_int_equal(t.e->state, STATE_BLOCKED);
    up_by(other.e, BELL);
    assert_ptr_equal(current(), t.e);
}

/* Who naps all the time throws another out each time: it pays for that, and is out of time long
 * before it has used it. */
static void a_nap_has_a_price(void **state)
{
    (void)state;
    struct thread victim = start(0, 3, SLICE, 0), napper = start(0, 9, 1000000, 2000000);
    uint64_t bell = make_sm(0), naps = 0, begin = machine.tsc;
    give(bell, napper.pd, BELL, SM_DOWN);
    while (machine.tsc - begin < 1900000) {
        if (current() == napper.e) {
            call(napper.e, CALL_SM_DOWN, BELL, machine.tsc + 100);
            naps++;
        }
        assert_ptr_equal(current(), victim.e);
        pass(100);
    }
    assert_in_range(naps, 240, 260); /* of 1,000,000 ticks at 4,000 each; it used none */
    assert_int_equal(napper.s->spent, 0);
    pass(200000);
    assert_ptr_equal(current(), napper.e); /* the next period */
}

/* The same with the chain cut: what is stopped must not come back with its budget. */
static void a_stopped_fault_without_budget_stays_stopped(void **state)
{
    (void)state;
    struct thread t = start(0, 9, 100, 1000);
    uint64_t pd = make_pd(PD_HOST, 16, 16), handler = make_ec(pd, 0, EC_HANDLER);
    give(make_pt(handler, 0, 0), t.pd, EVENTS, PT_CALL);
    fault(t.e, 13, 0);
    pass(150);
    assert_null(current());
    assert_int_equal(end(pd), OK);
    assert_int_equal(t.e->state, STATE_STOPPED);
    pass(900); /* into its next period */
    assert_null(current());
}

static void a_call_on_time_that_ran_out_waits(void **state)
{
    (void)state;
    struct thread t = start(0, 9, 100, 1000);
    uint64_t pd = make_pd(PD_HOST, 16, 16), handler = make_ec(pd, 0, EC_HANDLER);
    give(make_pt(handler, 0, 0), t.pd, BELL, PT_CALL);
    call(t.e, CALL_PT_CALL, BELL, 0);
    assert_ptr_equal(current(), object_at(handler));
    pass(100);
    assert_null(current());
    pass(900);
    assert_ptr_equal(current(), object_at(handler));
    reply(current(), 0);
    assert_ptr_equal(current(), t.e);
}

/* MDS and its kin. The time of a call is its caller's; a new SC in the slot of one that has ended
   is another. */
static void buffers_are_cleared_for_another_s_time(void **state)
{
    (void)state;
    struct thread t = start(0, 9, SLICE, 0);
    uint64_t pd = make_pd(PD_HOST, 16, 16), handler = make_ec(pd, 0, EC_HANDLER);
    give(make_pt(handler, 0, 0), t.pd, BELL, PT_CALL);
    uint32_t before = machine.clears;
    call(t.e, CALL_PT_CALL, BELL, 0);
    assert_ptr_equal(current(), object_at(handler));
    reply(current(), 0);
    pass(10 * SLICE);
    assert_ptr_equal(current(), t.e);
    assert_int_equal(machine.clears, before);
    struct thread higher = start(0, 10, SLICE, 0);
    assert_ptr_equal(current(), higher.e);
    assert_int_equal(machine.clears, before + 1);
    const struct sc *slot = higher.s;
    assert_int_equal(end(higher.pd), OK);
    assert_ptr_equal(current(), t.e);
    assert_int_equal(machine.clears, before + 2);
    higher = start(0, 10, SLICE, 0);
    assert_ptr_equal(higher.s, slot);
    assert_int_equal(machine.clears, before + 3);
}

/* ---- semaphores ---- */
static void a_semaphore_counts(void **state)
{
    (void)state;
    struct thread t = start(0, 5, SLICE, 0);
    uint64_t sm = make_sm(1);
    give(sm, t.pd, BELL, SM_UP | SM_DOWN);
    up_by(t.e, BELL);
    assert_int_equal(call(t.e, CALL_SM_DOWN, BELL, 0), OK);
    assert_int_equal(call(t.e, CALL_SM_DOWN, BELL, 0), OK);
    assert_int_equal(call(t.e, CALL_SM_DOWN, BELL, machine.tsc), TIMEOUT);
    assert_int_equal(call(t.e, CALL_SM_DOWN, BELL, 1), TIMEOUT);
    ((struct sm *)object_at(sm))->count = ~0ull;
    up_by(t.e, BELL);
    assert_int_equal(((struct sm *)object_at(sm))->count, ~0ull);
}

static void rights_on_a_semaphore(void **state)
{
    (void)state;
    struct thread t = start(0, 5, SLICE, 0);
    uint64_t sm = make_sm(1);
    give(sm, t.pd, BELL, SM_UP);
    give(sm, t.pd, BELL2, SM_DOWN);
    assert_int_equal(call(t.e, CALL_SM_DOWN, BELL, 0), bad(BAD_RIGHT, 1));
    assert_int_equal(call(t.e, CALL_SM_UP, BELL2, 0), bad(BAD_RIGHT, 1));
    assert_int_equal(call(t.e, CALL_SM_UP, CAP_SLOTS, 0), bad(BAD_CAP, 1));
    assert_int_equal(call(t.e, CALL_SM_UP, 0, 0), bad(BAD_CAP, 1));
}

static void waiters_come_in_order(void **state)
{
    (void)state;
    struct thread last = start(0, 1, SLICE, 0), t[3];
    uint64_t sm = make_sm(0);
    give(sm, last.pd, BELL, SM_UP);
    for (unsigned i = 0; i < 3; i++) {
        t[i] = start(0, 9, SLICE, 0);
        give(sm, t[i].pd, BELL, SM_DOWN);
        call(t[i].e, CALL_SM_DOWN, BELL, i == 1 ? machine.tsc + 50 : 0);
    }
    up_by(last.e, BELL);
    assert_ptr_equal(current(), t[0].e);
    call(t[0].e, CALL_SM_DOWN, BELL, 0); /* to the end of the queue */
    pass(60);                            /* the second gives up */
    assert_ptr_equal(current(), t[1].e);
    assert_int_equal(t[1].e->regs.rax, TIMEOUT);
    assert_int_equal(end(t[1].pd), OK);
    up_by(last.e, BELL);
    assert_ptr_equal(current(), t[2].e);
    assert_int_equal(t[2].e->regs.rax, OK);
    assert_int_equal(end(t[2].pd), OK);
    up_by(last.e, BELL);
    assert_ptr_equal(current(), t[0].e);
}

static void the_last_waiter_leaves_and_another_comes(void **state)
{
    (void)state;
    struct thread low = start(0, 1, SLICE, 0), a = start(0, 9, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, low.pd, BELL, SM_UP);
    give(sm, a.pd, BELL, SM_DOWN);
    call(a.e, CALL_SM_DOWN, BELL, 0);
    struct thread b = start(0, 9, SLICE, 0);
    give(sm, b.pd, BELL, SM_DOWN);
    call(b.e, CALL_SM_DOWN, BELL, machine.tsc + 10);
    pass(10);
    assert_ptr_equal(current(), b.e);
    call(b.e, CALL_SM_DOWN, BELL, 0);
    up_by(low.e, BELL);
    assert_ptr_equal(current(), a.e);
    assert_int_equal(end(a.pd), OK);
    up_by(low.e, BELL);
    assert_ptr_equal(current(), b.e);
}

static void a_timeout_after_the_wake_is_nothing(void **state)
{
    (void)state;
    struct thread low = start(0, 1, SLICE, 0), t = start(0, 9, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, low.pd, BELL, SM_UP);
    give(sm, t.pd, BELL, SM_DOWN);
    call(t.e, CALL_SM_DOWN, BELL, machine.tsc + 100);
    up_by(low.e, BELL);
    assert_ptr_equal(current(), t.e);
    assert_null(cores[0].timers);
    pass(200);
    assert_int_equal(t.e->regs.rax, OK);
}

static void timers_fire_in_order(void **state)
{
    (void)state;
    static const uint64_t wait[] = {300, 100, 200, 100};
    struct thread t[4];
    uint64_t sm = make_sm(0), begin = machine.tsc;
    for (unsigned i = 0; i < 4; i++) {
        t[i] = start(0, 5, SLICE, 0);
        give(sm, t[i].pd, BELL, SM_DOWN);
        call(t[i].e, CALL_SM_DOWN, BELL, begin + wait[i]);
    }
    assert_int_equal(machine.cpu[0].timer_at, begin + 100);
    pass(100);
    assert_ptr_equal(current(), t[1].e);
    assert_int_equal(call(t[1].e, CALL_SM_DOWN, BELL, machine.tsc), TIMEOUT);
    assert_int_equal(t[3].e->state, STATE_READY);
    assert_int_equal(t[2].e->state, STATE_BLOCKED);
    assert_int_equal(machine.cpu[0].timer_at, begin + 200);
    pass(100);
    assert_int_equal(t[2].e->state, STATE_READY);
    pass(100);
    assert_int_equal(t[0].e->state, STATE_READY);
    assert_null(cores[0].timers);
}

/* The hardware's counter is short: a far deadline takes several shots. */
static void a_far_deadline_is_kept(void **state)
{
    (void)state;
    struct thread t = start(0, 5, SLICE, 0);
    give(make_sm(0), t.pd, BELL, SM_DOWN);
    call(t.e, CALL_SM_DOWN, BELL, machine.tsc + (5ull << 31));
    pass((5ull << 31) - 1);
    assert_null(current());
    pass(1);
    assert_ptr_equal(current(), t.e);
}

static void a_destroyed_semaphore_wakes_all(void **state)
{
    (void)state;
    struct thread here = start(0, 5, SLICE, 0), there = start(1, 5, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, here.pd, BELL, SM_DOWN);
    give(sm, there.pd, BELL, SM_DOWN);
    call(here.e, CALL_SM_DOWN, BELL, machine.tsc + 100);
    on_core(1);
    call(there.e, CALL_SM_DOWN, BELL, machine.tsc + 100);
    on_core(0);
    assert_int_equal(end(sm), OK);
    assert_ptr_equal(cores[0].current, here.e);
    assert_ptr_equal(cores[1].current, there.e);
    assert_int_equal(here.e->regs.rax, ABORTED);
    assert_int_equal(there.e->regs.rax, ABORTED);
    assert_null(cores[0].timers);
    assert_null(cores[1].timers);
}

static void a_waiter_on_another_core_is_posted(void **state)
{
    (void)state;
    struct thread here = start(0, 5, SLICE, 0), there = start(1, 5, SLICE, 0);
    uint64_t sm = make_sm(0);
    give(sm, here.pd, BELL, SM_UP);
    give(sm, there.pd, BELL, SM_DOWN);
    on_core(1);
    call(there.e, CALL_SM_DOWN, BELL, machine.tsc + 100);
    on_core(0);
    up_by(here.e, BELL);
    assert_true(machine.ipis & 2);
    assert_null(cores[1].current);
    pass(150); /* its deadline passes before the IPI comes: the wake counts */
    deliver();
    assert_ptr_equal(cores[1].current, there.e);
    assert_int_equal(there.e->regs.rax, OK);
    assert_null(cores[1].timers);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(a_slot_of_time_takes_only_what_it_says),
        RIG_TEST(the_highest_priority_runs),
        RIG_TEST(equals_take_turns),
        RIG_TEST(a_thread_alone_needs_no_timer),
        RIG_TEST(a_budget_is_a_limit),
        RIG_TEST(a_sleeper_keeps_its_budget),
        RIG_TEST(a_sleeper_without_budget_sleeps_on),
        RIG_TEST(a_nap_has_a_price),
        RIG_TEST(a_stopped_fault_without_budget_stays_stopped),
        RIG_TEST(a_call_on_time_that_ran_out_waits),
        RIG_TEST(buffers_are_cleared_for_another_s_time),
        RIG_TEST(a_semaphore_counts),
        RIG_TEST(rights_on_a_semaphore),
        RIG_TEST(waiters_come_in_order),
        RIG_TEST(the_last_waiter_leaves_and_another_comes),
        RIG_TEST(a_timeout_after_the_wake_is_nothing),
        RIG_TEST(timers_fire_in_order),
        RIG_TEST(a_far_deadline_is_kept),
        RIG_TEST(a_destroyed_semaphore_wakes_all),
        RIG_TEST(a_waiter_on_another_core_is_posted),
    };
    return RIG_RUN(all);
}
