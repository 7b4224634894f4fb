/* Semaphores, deadlines, priorities, budgets, aborted calls, other cores. */
#include "calls.h"

enum slot { T_SM = C_LOCAL, T_PING, T_PONG, T_PT, T_PD, T_DONE, T_SC };
#define MS       ((uint64_t)1000000) /* about a millisecond of TSC ticks in the emulator */
#define PATIENCE (100000 * MS)
#define ROUNDS   1000u
#define SERVER   5u
#define CLIENT   6u
#define SPINNER  7u
#define OTHER    8u

static volatile uint64_t status, spins, order[4], orders;

static void deadlines(void)
{
    bool ok = sm_create(T_SM, SLOT_ROOT_PD, 1) == OK &&
              sm_down(T_SM, 1) == OK; /* count first, deadline second */
    ok = ok && sm_down(T_SM, 1) == TIMEOUT && sm_down(T_SM, tsc()) == TIMEOUT;
    uint64_t start = tsc();
    ok = ok && sm_down(T_SM, start + 20 * MS) == TIMEOUT;
    uint64_t took = tsc() - start;
    if (took < 20 * MS || took > 200 * MS)
        kit_print("     a wait of %lu ticks took %lu\n", 20 * MS, took);
    kit_check("deadlines", ok && took >= 20 * MS && took <= 200 * MS && destroy(T_SM) == OK);
}

static void hold(void)
{
    bell_wait(T_SM, 0);
    pt_reply(0);
}

static void call_and_note(void)
{
    status = pt_call(T_PT, 0);
    bell_ring(T_DONE);
    kit_park();
}

static void wait_and_note(void)
{
    status = sm_down(T_SM, 0);
    bell_ring(T_DONE);
    kit_park();
}

/* The semaphore a thread waits on ends: ABORTED. */
static void abort_wait(void)
{
    bool ok = sm_create(T_SM, SLOT_ROOT_PD, 0) == OK && sm_create(T_DONE, SLOT_ROOT_PD, 0) == OK;
    ok = ok && kit_thread(CLIENT, SLOT_ROOT_PD, 0, wait_and_note, KIT_EMPTY, 31) &&
         destroy(T_SM) == OK;
    ok = ok && sm_down(T_DONE, tsc() + PATIENCE) == OK && status == ABORTED;
    kit_end(CLIENT);
    kit_check("a semaphore ends under its waiter", destroy(T_DONE) == OK && ok);
}

/* A handler's domain ends in a call: ABORTED to the caller; a second caller before that: BUSY. */
static void abort_call(void)
{
    status = OK;
    bool ok = kit_domain(T_PD, 64, 32) && kit_handler(SERVER, T_PD, 0) &&
              sm_create(T_SM, SLOT_ROOT_PD, 0) == OK;
    ok = ok && sm_create(T_DONE, SLOT_ROOT_PD, 0) == OK &&
         delegate(SLOT_ROOT_PD, T_SM, T_PD, T_SM, SM_DOWN) == OK;
    ok = ok && pt_create(T_PT, SLOT_ROOT_PD, KIT_THREAD + SERVER,
                         address_of((void *)(uintptr_t)hold), 0, 0) == OK;
    ok = ok && kit_thread(CLIENT, SLOT_ROOT_PD, 0, call_and_note, KIT_EMPTY, 31);
    ok = ok && STATUS_CODE(pt_call(T_PT, 0)) == BUSY;
    ok = ok && destroy(T_PD) == OK && sm_down(T_DONE, tsc() + PATIENCE) == OK && status == ABORTED;
    ok = ok && STATUS_CODE(pt_call(T_PT, 0)) == BAD_CAP;
    kit_end(CLIENT);
    kit_end(SERVER);
    ok &= destroy(T_SM) == OK;
    kit_check("a handler ends in a call", destroy(T_DONE) == OK && ok);
}

static void note_high(void)
{
    bell_wait(T_PING, 0);
    order[orders++ & 3] = 2;
    kit_park();
}

static void note_low(void)
{
    bell_wait(T_PONG, 0);
    order[orders++ & 3] = 1;
    bell_ring(T_DONE);
    kit_park();
}

/* Of two that are woken, the one with the higher priority runs first. */
static void priorities(void)
{
    orders = 0;
    bool ok = sm_create(T_PING, SLOT_ROOT_PD, 0) == OK &&
              sm_create(T_PONG, SLOT_ROOT_PD, 0) == OK && sm_create(T_DONE, SLOT_ROOT_PD, 0) == OK;
    ok = ok && kit_thread(CLIENT, SLOT_ROOT_PD, 0, note_high, KIT_EMPTY, 8) &&
         kit_thread(OTHER, SLOT_ROOT_PD, 0, note_low, KIT_EMPTY, 7);
    bell_wait(T_DONE, tsc() + MS); /* let them wait */
    bell_ring(T_PONG);
    bell_ring(T_PING);
    ok = ok && sm_down(T_DONE, tsc() + PATIENCE) == OK && orders == 2 && order[0] == 2 &&
         order[1] == 1;
    kit_end(CLIENT);
    kit_end(OTHER);
    ok &= destroy(T_PING) == OK;
    ok &= destroy(T_PONG) == OK;
    kit_check("priorities", destroy(T_DONE) == OK && ok);
}

static void spin(void)
{
    for (uint64_t last = tsc();;) {
        uint64_t now = tsc();
        if (now - last < MS / 10)
            spins += now - last;
        last = now;
    }
}

/* A quarter of the period is a quarter of the time, whatever the priority. */
static void budget(void)
{
    spins = 0;
    bool ok = sm_create(T_SM, SLOT_ROOT_PD, 0) == OK &&
              kit_thread(SPINNER, SLOT_ROOT_PD, 0, spin, KIT_EMPTY, 9);
    ok = ok && destroy(KIT_TIME + SPINNER) == OK && revoke(SLOT_ROOT_PD, KIT_TIME + SPINNER) == OK;
    ok = ok && sc_create(KIT_TIME + SPINNER, SLOT_ROOT_SYS, KIT_THREAD + SPINNER, 31, 5 * MS,
                         20 * MS) == OK;
    uint64_t start = tsc(), had = spins;
    ok = ok && sm_down(T_SM, start + 400 * MS) == TIMEOUT;
    uint64_t percent = (spins - had) * 100 / (tsc() - start);
    kit_print("     a budget of 25 %% used %lu %%\n", percent);
    kit_end(SPINNER);
    kit_check("budget and period", ok && percent >= 15 && percent <= 30 && destroy(T_SM) == OK);
}

static void pong(void)
{
    for (;;) {
        bell_wait(T_PING, 0);
        bell_ring(T_PONG);
    }
}

static void cores(void)
{
    bool ok = sm_create(T_PING, SLOT_ROOT_PD, 0) == OK && sm_create(T_PONG, SLOT_ROOT_PD, 0) == OK;
    ok = ok && kit_thread(OTHER, SLOT_ROOT_PD, 1, pong, KIT_EMPTY, 5);
    for (uint32_t i = 0; ok && i < ROUNDS; i++)
        ok = sm_up(T_PING) == OK && sm_down(T_PONG, tsc() + PATIENCE) == OK;
    kit_check("ping-pong between cores", ok);
    kit_end(OTHER);
    kit_check("and its end", destroy(T_PING) == OK && destroy(T_PONG) == OK);
}

static void nap(void)
{
    status = sm_down(T_SM, tsc() + 2 * MS);
    bell_ring(T_DONE);
    kit_park();
}

/* Each core's own timer ends a wait there. What waits for it is bounded by that of core 0. */
static void timers(void)
{
    bool ok = sm_create(T_SM, SLOT_ROOT_PD, 0) == OK && sm_create(T_DONE, SLOT_ROOT_PD, 0) == OK;
    for (uint32_t core = 0; core < MAX_CORES && kit_stat->core[core].online; core++) {
        status = OK;
        bool woke = kit_thread(OTHER, SLOT_ROOT_PD, core, nap, KIT_EMPTY, 5) &&
                    sm_down(T_DONE, tsc() + 200 * MS) == OK;
        kit_end(OTHER);
        if (!woke || status != TIMEOUT)
            kit_print("     core %u: %s\n", core,
                      woke ? "woken by something else" : "it sleeps for ever");
        ok = ok && woke && status == TIMEOUT;
    }
    ok &= destroy(T_SM) == OK;
    kit_check("a timer on every core", destroy(T_DONE) == OK && ok);
}

/* A portal serves its own core only. */
static void wrong_core(void)
{
    bool ok = kit_handler(SERVER, SLOT_ROOT_PD, 1) &&
              pt_create(T_PT, SLOT_ROOT_PD, KIT_THREAD + SERVER,
                        address_of((void *)(uintptr_t)hold), 0, 0) == OK;
    ok = ok && calls_expect("pt_call", "another core", pt_call(T_PT, 0), BAD_CORE, 1);
    kit_end(SERVER);
    kit_empty(T_PT);
    kit_check("a portal of another core", ok);
}

/* Objects end while a thread on the other core uses them as fast as it can. */
static void use_all(void)
{
    for (;;) {
        bell_ring(T_PING);
        ignore(pt_call(T_PT, 4)); /* the portal may have ended */
        bell_wait(T_PONG, tsc() + 1000);
    }
}

static void serve(void) { pt_reply(4); }

static void race(void)
{
    struct kit_count before = kit_count();
    bool ok = kit_thread(OTHER, SLOT_ROOT_PD, 1, use_all, KIT_EMPTY, 5);
    for (uint32_t i = 0; ok && i < ROUNDS; i++) {
        ok = kit_domain(T_PD, 64, 32) && sm_create(T_PING, T_PD, 0) == OK &&
             sm_create(T_PONG, T_PD, 0) == OK && kit_handler(SERVER, T_PD, 1);
        ok = ok && pt_create(T_PT, T_PD, KIT_THREAD + SERVER, address_of((void *)(uintptr_t)serve),
                             0, 0) == OK;
        for (uint64_t end = tsc() + i * 20; tsc() < end;)
            ;
        ok = ok && destroy(T_PD) == OK;
    }
    kit_end(OTHER);
    kit_check("objects end under another core's calls", ok && kit_same(before, kit_count()));
}

void time_test(void)
{
    deadlines();
    abort_wait();
    abort_call();
    priorities();
    budget();
    if (!kit_stat->core[1].online)
        return;
    cores();
    timers();
    wrong_core();
    race();
}
