/* Portals: calls and replies, time that travels along, and chains that lose a link. */
#include "rig.h"

enum { MY_PORTAL = 10, NEXT_PORTAL = 11, BELL = 12 };

/* A client thread on core 0 and a server with a handler there, bound by a portal in the client's
 * MY_PORTAL. */
struct pair {
    uint64_t client_pd, client, server_pd, handler, portal;
    struct ec *c, *h;
};

static struct pair make_pair(void)
{
    struct pair p;
    p.server_pd = make_pd(PD_HOST, 16, 16);
    p.handler = make_ec(p.server_pd, 0, EC_HANDLER);
    p.portal = make_pt(p.handler, 0, 77);
    p.client = make_thread(0, 5, &p.client_pd);
    give(p.portal, p.client_pd, MY_PORTAL, PT_CALL);
    p.c = object_at(p.client);
    p.h = object_at(p.handler);
    return p;
}

/* A third: the server's handler calls on to it by its NEXT_PORTAL. */
static struct ec *make_third(const struct pair *p, uint64_t *pd, uint64_t *slot)
{
    *pd = make_pd(PD_HOST, 16, 16);
    *slot = make_ec(*pd, 0, EC_HANDLER);
    give(make_pt(*slot, 0, 78), p->server_pd, NEXT_PORTAL, PT_CALL);
    return object_at(*slot);
}

static void a_call_carries_words_and_time(void **state)
{
    (void)state;
    struct pair p = make_pair();
    p.c->utcb->word[0] = 1, p.c->utcb->word[1] = 2, p.c->utcb->word[2] = 3;
    call(p.c, CALL_PT_CALL, MY_PORTAL, 2);
    assert_ptr_equal(current(), p.h);
    assert_int_equal(p.h->regs.rip, 0x3000);
    assert_int_equal(p.h->regs.rdi, 77);
    assert_int_equal(p.h->regs.rsi, p.h->utcb_va);
    assert_int_equal(p.h->regs.rsp, p.h->sp);
    assert_int_equal(p.h->utcb->word[1], 2);
    assert_int_equal(p.h->utcb->word[2], 0);
    assert_ptr_equal(p.h->sc, p.c->sc);
    assert_int_equal(machine.cpu[0].cr3, p.h->pd->table_pa);
    p.h->utcb->word[0] = 9, p.h->utcb->word[1] = 8;
    p.c->regs.rax = 55;
    reply(p.h, 1);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, OK);
    assert_int_equal(p.c->utcb->word[0], 9);
    assert_int_equal(p.c->utcb->word[1], 2);
    assert_int_equal(machine.cpu[0].cr3, p.c->pd->table_pa);
    assert_null(p.h->sc);
}

static void a_reply_is_cut_to_the_utcb(void **state)
{
    (void)state;
    struct pair p = make_pair();
    call(p.c, CALL_PT_CALL, MY_PORTAL, UTCB_WORDS);
    p.h->utcb->word[UTCB_WORDS - 1] = 5;
    reply(p.h, ~0ull);
    assert_int_equal(p.c->utcb->word[UTCB_WORDS - 1], 5);
    assert_int_equal(call(p.c, CALL_PT_CALL, MY_PORTAL, UTCB_WORDS + 1), bad(BAD_ARG, 2));
    assert_ptr_equal(current(), p.c);
}

static void a_busy_handler_refuses(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(p.portal, p.server_pd, NEXT_PORTAL, PT_CALL);
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    assert_int_equal(call(p.h, CALL_PT_CALL, NEXT_PORTAL, 0), bad(BUSY, 1)); /* itself */
    reply(p.h, 0);
    assert_ptr_equal(current(), p.c);
}

static void a_handler_on_another_core_refuses(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(make_pt(make_ec(p.server_pd, 1, EC_HANDLER), 0, 0), p.client_pd, NEXT_PORTAL, PT_CALL);
    assert_int_equal(call(p.c, CALL_PT_CALL, NEXT_PORTAL, 0), bad(BAD_CORE, 1));
}

static void a_portal_takes_only_what_it_says(void **state)
{
    (void)state;
    uint64_t pd = make_pd(PD_HOST, 16, 16), thread = make_ec(pd, 0, EC_THREAD),
             handler = make_ec(pd, 0, EC_HANDLER), slot = slot_new();
    uint64_t to = slot | (uint64_t)LAB << 16;
    assert_int_equal(graph(CALL_PT_CREATE, to | thread << 32, 0, 0, 0, 0), bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_PT_CREATE, to | handler << 32, USER_END, 0, 0, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_PT_CREATE, to | handler << 32, 0, 1ull << 32, 0, 0),
                     bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_PT_CREATE, to | pd << 32, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_PT_CREATE, LAB | handler << 32 | (uint64_t)LAB << 16, 0, 0, 0, 0),
                     bad(BUSY, 1));
    give(handler, SLOT_ROOT_PD, slot, EC_RECALL);
    assert_int_equal(
        graph(CALL_PT_CREATE, slot_new() | (uint64_t)LAB << 16 | slot << 32, 0, 0, 0, 0),
        bad(BAD_RIGHT, 1));
}

static void a_fault_is_a_message(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(make_pt(p.handler, MTD_INFO | MTD_RIP | MTD_FLAGS, 5), p.client_pd, EVENTS, PT_CALL);
    p.c->regs = (struct regs){
        .rax = 1, .r15 = 15, .rip = 0x1234, .rflags = RFLAGS_FIXED | RFLAGS_IF, .rsp = 0x4000};
    fault(p.c, 14, 6);
    assert_ptr_equal(current(), p.h);
    struct exit_state *x = &p.h->utcb->exit;
    const struct exit_info want = {.number = 14, .error = 6, .address = 0xdead000};
    assert_memory_equal(&x->info, &want, sizeof want);
    assert_int_equal(x->rip, 0x1234);
    x->rip = 0x1238, x->rax = 7, x->r15 = 16, x->rsp = USER_END,
    x->rflags = ~0ull; /* a stack no IRET would take; all flags */
    reply(p.h, 0);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->way, WAY_IRET);
    assert_int_equal(p.c->regs.rip, 0x1238);
    assert_int_equal(p.c->regs.rax, 1);
    assert_int_equal(p.c->regs.r15, 15);
    assert_int_equal(p.c->regs.rsp, 0);
    assert_int_equal(p.c->regs.rflags & (RFLAGS_IOPL | RFLAGS_NT | RFLAGS_IF | 1 << 16 | 1 << 17),
                     RFLAGS_IF);
    assert_int_equal(p.c->regs.rflags >> 22, 0);
    fault(p.c, 13, 0);
    x->rip = 1ull << 63;
    reply(p.h, 0);
    assert_int_equal(p.c->regs.rip, 0);
}

static void a_reply_writes_back_only_what_it_marks(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(make_pt(p.handler, MTD_RIP, 5), p.client_pd, EVENTS, PT_CALL);
    p.c->regs.rax = 3, p.c->regs.rip = 0x1111;
    p.h->utcb->exit.rax = 99;
    fault(p.c, 6, 0);
    assert_int_equal(p.h->utcb->exit.rax, 99); /* not asked for */
    p.h->utcb->exit.rip = 0x2222;
    p.h->utcb->mtd = 0;
    reply(p.h, 0);
    assert_int_equal(p.c->regs.rax, 3);
    assert_int_equal(p.c->regs.rip, 0x1111);
}

static void a_fault_without_a_portal_stops_the_thread(void **state)
{
    (void)state;
    struct pair p = make_pair();
    fault(p.c, 13, 0);
    assert_null(current());
    assert_int_equal(p.c->state, STATE_STOPPED);
}

static void a_handler_may_kill_what_faulted(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(make_pt(p.handler, MTD_INFO, 5), p.client_pd, EVENTS, PT_CALL);
    fault(p.c, 13, 0);
    p.h->utcb->mtd = MTD_KILL;
    reply(p.h, 0);
    assert_null(current());
    assert_int_equal(p.c->state, STATE_STOPPED);
    assert_int_equal(p.h->state, STATE_IDLE);
}

static void an_answer_to_nobody_waits(void **state)
{
    (void)state;
    struct pair p = make_pair();
    reply(p.c, 0);
    assert_null(current());
}

/* The handler that works dies: its caller hears of it and has its time back. */
static void the_end_of_a_chain_dies(void **state)
{
    (void)state;
    struct pair p = make_pair();
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    assert_int_equal(end(p.server_pd), OK);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, ABORTED);
    assert_int_equal(call(p.c, CALL_PT_CALL, MY_PORTAL, 0), bad(BAD_CAP, 1));
}

static void a_sleeping_end_of_a_chain_dies(void **state)
{
    (void)state;
    struct pair p = make_pair();
    uint64_t sm = make_sm(0);
    give(sm, p.server_pd, BELL, SM_DOWN);
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    call(p.h, CALL_SM_DOWN, BELL, machine.tsc + 5000);
    assert_null(current());
    assert_int_equal(end(p.handler), OK);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, ABORTED);
    pass(10000);
    assert_int_equal(graph(CALL_SM_UP, sm, 0, 0, 0, 0), BAD_CALL); /* not an object call */
    assert_null(((struct sm *)object_at(sm))->first);
}

/* A caller in the middle dies: what it called must not answer into its grave. */
static void the_middle_of_a_chain_dies(void **state)
{
    (void)state;
    struct pair p = make_pair();
    uint64_t third_pd, third_slot;
    struct ec *third = make_third(&p, &third_pd, &third_slot);
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    call(p.h, CALL_PT_CALL, NEXT_PORTAL, 0);
    assert_ptr_equal(current(), third);
    assert_int_equal(end(p.server_pd), OK);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, ABORTED);
    assert_ptr_equal(p.c->sc->ec, p.c);
    assert_int_equal(third->state, STATE_IDLE);
    assert_null(third->caller);
    assert_null(third->sc);
}

/* The first caller dies, with its time: the handlers wait for the next. */
static void the_start_of_a_chain_dies(void **state)
{
    (void)state;
    struct pair p = make_pair();
    uint64_t third_pd, third_slot;
    struct ec *third = make_third(&p, &third_pd, &third_slot);
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    call(p.h, CALL_PT_CALL, NEXT_PORTAL, 0);
    assert_int_equal(end(p.client_pd), OK);
    assert_null(current());
    assert_int_equal(p.h->state, STATE_IDLE);
    assert_int_equal(third->state, STATE_IDLE);
    assert_null(third->caller);
    uint64_t pd, again = make_thread(0, 5, &pd);
    give(p.portal, pd, MY_PORTAL, PT_CALL);
    call(object_at(again), CALL_PT_CALL, MY_PORTAL, 0);
    assert_ptr_equal(current(), p.h);
}

/* Another core has taken the handler off a semaphore, but its post comes when the call is over:
 * nothing is woken. */
static void a_late_post_wakes_nobody(void **state)
{
    (void)state;
    struct pair p = make_pair();
    give(make_sm(0), p.server_pd, BELL, SM_DOWN);
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    call(p.h, CALL_SM_DOWN, BELL, 0);
    assert_true(sm_leave(p.h));
    assert_int_equal(end(p.client_pd), OK);
    p.h->woken = 1;
    core_post(p.h);
    deliver();
    assert_int_equal(p.h->state, STATE_IDLE);
    uint64_t pd, again = make_thread(0, 5, &pd);
    give(p.portal, pd, MY_PORTAL, PT_CALL);
    call(object_at(again), CALL_PT_CALL, MY_PORTAL, 0);
    call(p.h, CALL_SM_DOWN, BELL, 0);
    p.h->woken = 1;
    core_post(p.h);
    deliver();
    assert_int_equal(p.h->state, STATE_BLOCKED);
}

/* A handler that was stopped stays so when its caller ends. */
static void a_stopped_handler_is_not_called_again(void **state)
{
    (void)state;
    struct pair p = make_pair();
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    fault(p.h, 6, 0);
    assert_int_equal(p.h->state, STATE_STOPPED);
    assert_int_equal(end(p.client_pd), OK);
    uint64_t pd, again = make_thread(0, 5, &pd);
    give(p.portal, pd, MY_PORTAL, PT_CALL);
    assert_int_equal(call(object_at(again), CALL_PT_CALL, MY_PORTAL, 0), bad(BUSY, 1));
}

static void time_that_is_destroyed_ends_its_chain(void **state)
{
    (void)state;
    struct pair p = make_pair();
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    assert_int_equal(end(p.client + 1), OK); /* make_thread() put its SC there */
    assert_null(current());
    assert_null(p.c->sc);
    assert_int_equal(p.h->state, STATE_IDLE);
    make_sc(p.client, 5, SLICE, 0);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, ABORTED);
}

static void a_destroyed_portal_is_stale(void **state)
{
    (void)state;
    struct pair p = make_pair();
    assert_int_equal(end(p.portal), OK);
    make_sm(0); /* takes the free slot of the object table */
    assert_int_equal(call(p.c, CALL_PT_CALL, MY_PORTAL, 0), bad(BAD_CAP, 1));
}

/* The call is the handler's and the caller's, not the portal's. */
static void a_reply_outlives_its_portal(void **state)
{
    (void)state;
    struct pair p = make_pair();
    call(p.c, CALL_PT_CALL, MY_PORTAL, 0);
    assert_int_equal(end(p.portal), OK);
    assert_ptr_equal(current(), p.h);
    p.h->utcb->word[0] = 7;
    reply(p.h, 1);
    assert_ptr_equal(current(), p.c);
    assert_int_equal(p.c->regs.rax, OK);
    assert_int_equal(p.c->utcb->word[0], 7);
    assert_int_equal(p.h->state, STATE_IDLE);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(a_call_carries_words_and_time),
        RIG_TEST(a_reply_is_cut_to_the_utcb),
        RIG_TEST(a_busy_handler_refuses),
        RIG_TEST(a_handler_on_another_core_refuses),
        RIG_TEST(a_portal_takes_only_what_it_says),
        RIG_TEST(a_fault_is_a_message),
        RIG_TEST(a_reply_writes_back_only_what_it_marks),
        RIG_TEST(a_fault_without_a_portal_stops_the_thread),
        RIG_TEST(a_handler_may_kill_what_faulted),
        RIG_TEST(an_answer_to_nobody_waits),
        RIG_TEST(the_end_of_a_chain_dies),
        RIG_TEST(a_sleeping_end_of_a_chain_dies),
        RIG_TEST(the_middle_of_a_chain_dies),
        RIG_TEST(the_start_of_a_chain_dies),
        RIG_TEST(a_late_post_wakes_nobody),
        RIG_TEST(a_stopped_handler_is_not_called_again),
        RIG_TEST(time_that_is_destroyed_ends_its_chain),
        RIG_TEST(a_destroyed_portal_is_stale),
        RIG_TEST(a_reply_outlives_its_portal),
    };
    return RIG_RUN(all);
}
