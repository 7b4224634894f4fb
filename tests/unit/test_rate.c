/* The TSC's frequency on a machine that is stopped between any two readings. */
#include "test.h"
#include <root/hardware/rate.h>
#include <stdbool.h>
#include <stdlib.h>

#define HZ    2096014000ull
#define EXACT 40 /* millionths: a tick of the timer, and half a reading, of 50 ms at either end */

static struct {
    uint64_t ns, from, stop, seldom; /* `stop`: ns, in one of `seldom` readings */
    uint32_t mask;
    bool dead;
    uint64_t jump_at, jump; /* the timer alone goes on by `jump` ticks, once, at `jump_at` ns */
} machine;

/* A reading takes a microsecond, and a stop comes before or after the moment that it tells. */
static void pass(void)
{
    machine.ns += 500;
    if (machine.seldom && (uint64_t)rand() % machine.seldom == 0)
        machine.ns += (uint64_t)rand() % machine.stop;
}

static uint32_t timer(void)
{
    pass();
    uint64_t ticks =
        machine.dead ? 0 : (uint64_t)((unsigned __int128)machine.ns * PM_TIMER_HZ / 1000000000);
    pass();
    ticks += machine.jump_at && machine.ns > machine.jump_at ? machine.jump : 0;
    return (uint32_t)(ticks + machine.from) & machine.mask;
}

static uint64_t clock_now(void)
{
    machine.ns += 20;
    return (uint64_t)((unsigned __int128)machine.ns * HZ / 1000000000);
}

static const struct rate_source source = {timer, clock_now};

static void expect_near(uint64_t millionths)
{
    uint64_t rate = rate_measure(&source), off = rate > HZ ? rate - HZ : HZ - rate;
    if (off > HZ / 1000000 * millionths)
        fail_msg("%lu Hz is off by %lu millionths", rate, off * 1000000 / HZ);
}

/* A clock of seconds: its reading takes as long as the timer's. */
static uint32_t second(void)
{
    pass();
    uint64_t now = machine.dead ? 0 : machine.ns / 1000000000 + machine.from;
    pass();
    return (uint32_t)(now % 60);
}

static void expect_near_by_seconds(uint64_t millionths)
{
    static const struct rate_source seconds = {second, clock_now};
    uint64_t rate = rate_measure_seconds(&seconds), off = rate > HZ ? rate - HZ : HZ - rate;
    if (off > HZ / 1000000 * millionths)
        fail_msg("%lu Hz is off by %lu millionths", rate, off * 1000000 / HZ);
}

/* From any second of a minute, also if a whole one is missed in between. */
static void a_clock_of_seconds_will_do(void **state)
{
    (void)state;
    machine.seldom = 0;
    for (machine.from = 54; machine.from < 61; machine.from++) {
        machine.ns = 300000000;
        expect_near_by_seconds(EXACT);
    }
    machine.stop = 1500000000, machine.seldom = 4000000;
    for (uint32_t i = 0; i < 5; i++)
        expect_near_by_seconds(EXACT);
    machine.seldom = 0, machine.from = 0;
    machine.dead = true;
    static const struct rate_source seconds = {second, clock_now};
    assert_int_equal(rate_measure_seconds(&seconds), 0);
    machine.dead = false;
}

static void the_rate_is_right(void **state)
{
    (void)state;
    machine.mask = ~0u, machine.seldom = 0;
    for (machine.ns = 0; machine.ns < 1000000; machine.ns += 77777)
        expect_near(EXACT);
}

static void it_is_right_however_often_we_are_stopped(void **state)
{
    (void)state;
    srand(7);
    machine.mask = ~0u, machine.stop = 3000000;
    for (machine.seldom = 3; machine.seldom < 3000; machine.seldom += machine.seldom / 2)
        for (uint32_t i = 0; i < 20; i++)
            expect_near(EXACT);
}

/* Timers of 24 bits, those that claim 32 and have 24, and the wrap of either. */
static void a_timer_wraps(void **state)
{
    static const uint32_t masks[] = {0xffffff, ~0u};
    (void)state;
    machine.seldom = 0;
    for (uint32_t m = 0; m < COUNT(masks); m++)
        for (uint32_t i = 1; i < 12; i++) {
            machine.mask = masks[m];
            machine.ns = 0;
            machine.from = 0x100000000 - i * 50000;
            expect_near(EXACT);
        }
    machine.from = 0;
}

/* In one of the three intervals an emulator lets one clock go on without the other. */
static void one_bad_interval_does_not_count(void **state)
{
    (void)state;
    machine.mask = ~0u, machine.seldom = 0, machine.jump = 5000;
    for (uint64_t at = 10; at < 150; at += 40) {
        machine.ns = 0;
        machine.jump_at = at * 1000000;
        expect_near(EXACT);
    }
    machine.jump_at = 0;
}

static void a_dead_timer_is_none(void **state)
{
    (void)state;
    machine.mask = ~0u, machine.seldom = 0, machine.dead = true;
    assert_int_equal(rate_measure(&source), 0);
    machine.dead = false;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_is_right),
        cmocka_unit_test(a_clock_of_seconds_will_do),
        cmocka_unit_test(it_is_right_however_often_we_are_stopped),
        cmocka_unit_test(a_timer_wraps),
        cmocka_unit_test(one_bad_interval_does_not_count),
        cmocka_unit_test(a_dead_timer_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
