/* Scheduling. A core's ready list holds SCs; each names the EC at the end of its donation chain. */
#include <sched.h>
#include <apic.h>
#include <sm.h>
#include <vcpu.h>

static struct sc *sc_of_timer(struct timer *t) { return (struct sc *)((uint8_t *)t - __builtin_offsetof(struct sc, timer)); }
static struct ec *ec_of_timer(struct timer *t) { return (struct ec *)((uint8_t *)t - __builtin_offsetof(struct ec, timer)); }
/* Timers sit in SCs and ECs; the slot they lie in says which. */
static struct head *timer_owner(struct timer *t)
{
    return &objects[(uint64_t)((uint8_t *)t - (uint8_t *)objects) / sizeof(struct object)].head;
}

void timer_set(struct timer *t, uint64_t deadline)
{
    timer_clear(t);
    struct timer **p = &cpu_core()->timers;
    while (*p && (*p)->deadline <= deadline)
        p = &(*p)->next;
    *t = (struct timer){deadline, *p};
    *p = t;
    sched_arm();
}

void timer_clear(struct timer *t)
{
    if (!t->deadline)
        return;
    struct timer **p = &cpu_core()->timers;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    *t = (struct timer){0};
}

static void enqueue(struct sc *sc)
{
    struct core *c = cpu_core();
    struct sc **head = &c->ready[sc->priority];
    if (*head) {
        sc->next = *head;
        sc->prev = (*head)->prev;
        sc->prev->next = sc->next->prev = sc;
    } else {
        *head = sc->next = sc->prev = sc;
        c->ready_mask |= 1u << sc->priority;
    }
    sc->queued = 1;
}

static void dequeue(struct sc *sc)
{
    struct core *c = cpu_core();
    struct sc **head = &c->ready[sc->priority];
    if (*head == sc)
        *head = sc->next == sc ? 0 : sc->next;
    if (!*head)
        c->ready_mask &= ~(1u << sc->priority);
    sc->next->prev = sc->prev;
    sc->prev->next = sc->next;
    sc->queued = 0;
}

/* Charge the time since the last look to the running SC. A slice that is used up is filled again
   at once (period 0) and goes to the end of its priority, or waits for its period to end. */
static void account(uint64_t now)
{
    struct core *c = cpu_core();
    uint64_t used = now - c->since;
    c->since = now;
    if (!c->sc) {
        stat.core[c->number].idle += used;
        return;
    }
    struct sc *sc = c->sc;
    *sc->time += used;
    if (sc->left > used) {
        sc->left -= used;
        return;
    }
    sc->left = sc->period ? 0 : sc->budget;
    c->attention = 1;
    if (!sc->queued)
        return;
    dequeue(sc);
    if (!sc->period || now >= sc->replenish) {
        sc->left = sc->budget;
        sc->replenish = now + sc->period;
        enqueue(sc);
    } else {
        timer_set(&sc->timer, sc->replenish);
    }
}

/* To become ready costs a limited SC what its core spends on that beside it: an interrupt, two switches, the timer. Who
   is thrown out for it pays them in time, and would get nothing done beside one that naps all the time. */
#define WAKE_COST 4000u /* TSC ticks */

void sched_add(struct sc *sc)
{
    struct core *c = cpu_core();
    if (sc->queued || sc->timer.deadline)
        return;
    uint64_t now = cpu_tsc();
    if (sc->period && now >= sc->replenish) { /* once a period it is free: a budget may be smaller than the cost */
        sc->left = sc->budget;
        sc->replenish = now + sc->period;
    } else if (sc->period) {
        sc->left -= sc->left < WAKE_COST ? sc->left : WAKE_COST;
    }
    if (sc->left == 0) {
        timer_set(&sc->timer, sc->replenish);
        return;
    }
    enqueue(sc);
    if (!c->sc || sc->priority > c->sc->priority)
        c->attention = 1;
    else if (sc->priority == c->sc->priority)
        sched_arm();
}

/* A post from another core may come late: the EC was given up meanwhile (sched_purge) and may wait for something else. */
static bool may_wake(const struct ec *ec)
{
    return ec->state == STATE_BLOCKED ? !ec->sm : ec->state == STATE_NEW || ec->state == STATE_READY || ec->state == STATE_HALTED;
}

void sched_wake(struct ec *ec)
{
    if (!may_wake(ec))
        return;
    timer_clear(&ec->timer);
    ec->state = STATE_READY;
    if (ec->sc)
        sched_add(ec->sc);
}

void sched_block(void)
{
    struct core *c = cpu_core();
    account(cpu_tsc());
    if (c->sc->queued)
        dequeue(c->sc);
    c->sc = 0;
    c->current = 0;
    c->attention = 1;
}

void sched_switch(struct ec *ec)
{
    struct core *c = cpu_core();
    c->current = ec;
    if (c->sc)
        c->sc->ec = ec;
    if (ec->kind != EC_VCPU && c->cr3 != ec->pd->table_pa) {
        c->cr3 = ec->pd->table_pa;
        cpu_set_cr3(c->cr3);
    }
}

/* The end of the slice matters only if somebody waits for it or the budget is a limit. */
static bool slice_matters(const struct sc *sc) { return sc->period || sc->next != sc; }

void sched_arm(void)
{
    struct core *c = cpu_core();
    if (core_owned(c)) /* the timer is the guest's */
        return;
    uint64_t at = c->timers ? c->timers->deadline : 0;
    if (c->sc && c->sc->queued && slice_matters(c->sc)) {
        uint64_t end = c->since + c->sc->left;
        at = at && at < end ? at : end;
    }
    if (at != c->armed) {
        c->armed = at;
        apic_set_timer(at);
    }
}

void sched_pick(void)
{
    struct core *c = cpu_core();
    account(cpu_tsc());
    c->sc = c->ready_mask ? c->ready[31 - __builtin_clz(c->ready_mask)] : 0;
    c->current = 0;
    if (c->sc)
        sched_switch(c->sc->ec);
    sched_arm();
}

static void expire(struct timer *t)
{
    struct head *o = timer_owner(t);
    timer_clear(t);
    if (o->type == OBJ_SC) {
        if (sc_of_timer(t)->ec->state == STATE_READY) /* it may have blocked when its budget was used up */
            sched_add(sc_of_timer(t));
    } else if (ec_of_timer(t)->kind == EC_VCPU)
        vcpu_recall_local(ec_of_timer(t));
    else
        sm_timeout(ec_of_timer(t));
}

void sched_tick(void)
{
    struct core *c = cpu_core();
    uint64_t now = cpu_tsc();
    c->armed = 0;
    account(now);
    while (c->timers && c->timers->deadline <= now)
        expire(c->timers);
    sched_arm();
}

/* A handler whose call is over, whatever it did: it waits for its next caller. */
static void reset_handler(struct ec *ec)
{
    timer_clear(&ec->timer);
    sm_leave(ec);
    ec->sc = 0;
    ec->caller = 0;
    if (ec->state != STATE_STOPPED)
        ec->state = STATE_IDLE;
}

/* The living EC nearest to the SC's home whose handler is dead; NULL: the chain is whole. */
static struct ec *chain_cut(const struct sc *sc)
{
    struct ec *cut = 0;
    for (struct ec *ec = sc->ec; ec->caller; ec = ec->caller)
        if (ec->head.dead && !ec->caller->head.dead)
            cut = ec->caller;
    return cut;
}

/* A handler in a living SC's chain died: its caller gets ABORTED and the time back, and what the handler
   had called is off. A vCPU or a faulting thread stops: there is nobody left to say how it goes on. */
static void purge_chain(struct sc *sc)
{
    struct ec *cut = chain_cut(sc);
    if (!cut)
        return;
    for (struct ec *ec = sc->ec, *caller; ec != cut; ec = caller) {
        caller = ec->caller;
        if (!ec->head.dead)
            reset_handler(ec);
    }
    sc->ec = cut;
    cut->regs.rax = ABORTED;
    if (cut->call == BY_EVENT) {
        cut->state = STATE_STOPPED;
        if (sc->queued)
            dequeue(sc);
    } else {
        cut->state = STATE_READY;
        sched_add(sc);
    }
}

/* `ec` lives on, without the time that it ran on. */
static void lose_time(struct ec *ec)
{
    if (ec->kind == EC_HANDLER) {
        reset_handler(ec);
        return;
    }
    timer_clear(&ec->timer);
    sm_leave(ec);
    ec->sc = 0;
    if (ec->state == STATE_CALLING || ec->state == STATE_BLOCKED) {
        ec->state = STATE_READY;
        ec->regs.rax = ABORTED;
    }
}

static void purge_sc(struct core *c, struct sc *sc)
{
    for (struct ec *ec = sc->ec, *caller; ec; ec = caller) {
        caller = ec->caller;
        if (!ec->head.dead)
            lose_time(ec);
    }
    timer_clear(&sc->timer);
    if (sc->queued)
        dequeue(sc);
    if (c->sc == sc)
        c->sc = 0;
}

static void purge_ec(struct ec *ec)
{
    timer_clear(&ec->timer);
    sm_leave(ec);
    if (ec->sc && !ec->sc->head.dead)
        purge_chain(ec->sc);
}

void sched_purge(void)
{
    struct core *c = cpu_core();
    account(cpu_tsc());
    for (uint32_t i = 0; i < dead_count; i++) {
        struct object *o = &objects[dead[i]];
        if (o->head.type == OBJ_SC && o->sc.core == c->number)
            purge_sc(c, &o->sc);
        else if (o->head.type == OBJ_EC && o->ec.core == c->number)
            purge_ec(&o->ec);
    }
    if (c->owner && c->owner->head.dead) {
        c->reclaim = 1; /* until its interrupts are the kernel's again it is rung by NMI */
        c->owner = 0;
    }
    c->current = 0;
    c->attention = 1;
}
