/*
 * A core's lists: after any three operations on any timers the list is sorted
 * and holds exactly those that were set; the ready lists stay circular.
 */
#include "small.h"
#include <sched.c>

struct object objects[OBJECTS];
struct kernel_stat counters;
static struct core this_core = {.number = 1};

struct core *cpu_core(void) { return &this_core; }
uint64_t cpu_tsc(void) { return any(); }
void apic_set_timer(uint64_t at) { (void)at; }

enum { COUNT = 3, STEPS = 3 };

static void timers_are_sound(const struct timer *all)
{
    uint64_t found = 0, before = 1;
    for (const struct timer *t = this_core.timers; t && found <= COUNT; t = t->next) {
        check(t->deadline >= before);
        before = t->deadline;
        found++;
    }
    for (uint64_t i = 0; i < COUNT; i++)
        found -= all[i].deadline != 0;
    check(found == 0);
}

void timers(void)
{
    static struct timer all[COUNT];
    for (unsigned n = 0; n < STEPS; n++) {
        uint64_t i = any(), deadline = any();
        assume(i < COUNT);
        if (deadline)
            sched_timer_set(&all[i], deadline);
        else
            sched_timer_clear(&all[i]);
        check(all[i].deadline == deadline);
    }
    timers_are_sound(all);
}

/* The list of one priority: circular both ways, as long as what is queued in it. */
static void list_is_sound(const struct sc *all, unsigned priority)
{
    uint32_t queued = 0, found = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        queued += all[i].queued && all[i].priority == priority;
    const struct sc *head = this_core.ready[priority], *sc = head;
    check((this_core.ready_mask >> priority & 1) == (queued != 0) && (head != 0) == (queued != 0));
    for (; sc && (sc != head || !found) && found <= COUNT; found++, sc = sc->next)
        check(sc->queued && sc->priority == priority && sc->next->prev == sc);
    check(found == queued);
}

void ready(void)
{
    static struct sc all[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        all[i].priority = i == 2 ? PRIORITIES - 1 : 0;
    for (unsigned n = 0; n < COUNT + 1; n++) {
        struct sc *sc = &all[n % COUNT];
        if (any() & 1)
            continue;
        if (sc->queued)
            dequeue(sc);
        else
            enqueue(sc);
    }
    list_is_sound(all, 0);
    list_is_sound(all, PRIORITIES - 1);
}

bool sm_leave(struct ec *ec) { return ec->sm; }
void sm_timeout(struct ec *ec) { (void)ec; }
void vcpu_recall_local(struct ec *ec) { (void)ec; }
