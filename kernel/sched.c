/* Scheduling. A core's ready list holds SCs; each names the EC at the end of its donation chain. */
#include <sched.h>
#include <apic.h>
#include <sm.h>
#include <vcpu.h>

void sched_timer_set(struct timer *t, uint64_t deadline)
{
    sched_timer_clear(t);
    struct timer **p = &cpu_core()->timers;
    /* mutant: timer-order */
    while (*p && (*p)->deadline <= deadline)
        p = &(*p)->next;
    *t = (struct timer){deadline, *p};
    *p = t;
    sched_arm();
}

void sched_timer_clear(struct timer *t)
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
    /* mutant: ready-unlink */
    sc->next->prev = sc->prev;
    sc->prev->next = sc->next;
    sc->queued = 0;
}

/* Charge the time since the last call to the running SC. When its slice is used up: without a
   period it gets a new slice and goes to the end of its priority's list; with one it leaves the
   list until the period ends. */
static void account(uint64_t now)
{
    struct core *c = cpu_core();
    uint64_t used = now - c->since;
    c->since = now;
    if (!c->sc) {
        counters.core[c->number].idle += used;
        return;
    }
    struct sc *sc = c->sc;
    *sc->time += used;
    if (sc->remaining > used) {
        sc->remaining -= used;
        return;
    }
    sc->remaining = sc->period ? 0 : sc->budget;
    c->attention = 1;
    if (!sc->queued)
        return;
    dequeue(sc);
    if (!sc->period || now >= sc->replenish) {
        sc->remaining = sc->budget;
        sc->replenish = now + sc->period;
        enqueue(sc);
    } else {
        sched_timer_set(&sc->timer, sc->replenish);
    }
}

/* Charged to an SC with a period each time that it becomes ready: about what its core spends on the
   interrupt, two switches and the timer. Without it the SC that is preempted would pay: one that
   sleeps and wakes all the time could stop it. */
#define WAKE_COST 4000u /* TSC ticks */

void sched_add(struct sc *sc)
{
    struct core *c = cpu_core();
    check_that(is_own_core(sc->core));
    if (sc->queued || sc->timer.deadline)
        return;
    uint64_t now = cpu_tsc();
    if (sc->period &&
        now >= sc->replenish) { /* free once a period: a budget may be smaller than the cost */
        sc->remaining = sc->budget;
        sc->replenish = now + sc->period;
    } else if (sc->period) {
        sc->remaining -= sc->remaining < WAKE_COST ? sc->remaining : WAKE_COST;
    }
    if (sc->remaining == 0) {
        sched_timer_set(&sc->timer, sc->replenish);
        return;
    }
    enqueue(sc);
    if (!c->sc || sc->priority > c->sc->priority)
        c->attention = 1;
    else if (sc->priority == c->sc->priority)
        sched_arm();
}

/* May a post wake `ec`? A post of another core can arrive after sched_purge() took the EC out of
   what it waited for. By then it may wait for something else: a reply, or another semaphore. Such a
   post must not wake it. */
static bool may_wake(const struct ec *ec)
{
    return ec->state == STATE_BLOCKED
               ? !ec->sm
               : ec->state == STATE_NEW || ec->state == STATE_READY || ec->state == STATE_HALTED;
}

void sched_wake(struct ec *ec)
{
    check_that(is_own_core(ec->core));
    if (!may_wake(ec))
        return;
    sched_timer_clear(&ec->timer);
    ec->state = STATE_READY;
    if (ec->sc)
        sched_add(ec->sc);
}

void sched_wake_anywhere(struct ec *ec)
{
    if (ec->core == cpu_core()->number) {
        sched_wake(ec);
        return;
    }
    /* Before the post: core_take_inbox() wakes only an EC in which it finds this set */
    ec->woken = 1;
    core_post(ec);
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
    check_that(is_own_core(ec->core));
    c->current = ec;
    if (c->sc)
        c->sc->ec = ec;
    if (ec->kind != EC_VCPU && c->cr3 != ec->pd->table_pa) {
        c->cr3 = ec->pd->table_pa;
        cpu_set_cr3(c->cr3);
    }
}

void sched_arm(void)
{
    struct core *c = cpu_core();
    if (core_owned(c)) /* the timer is the guest's */
        return;
    uint64_t at = c->timers ? c->timers->deadline : 0;
    /* A slice's end matters if the budget is a limit, or another SC has the same priority. */
    if (c->sc && c->sc->queued && (c->sc->period || c->sc->next != c->sc)) {
        uint64_t end = c->since + c->sc->remaining;
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
    const struct sc *before = c->sc;
    c->sc = c->ready_mask ? c->ready[31 - __builtin_clz(c->ready_mask)] : 0;
    /* MDS and its kin: who has the core now does not sample what another left in its buffers. A VM
       has SCs of its own, on which its VMM runs, too. What a vCPU leaves in the core goes later:
       vcpu_load_core(). */
    if (c->sc != before)
        cpu_clear_buffers();
    c->current = 0;
    if (c->sc)
        sched_switch(c->sc->ec);
    sched_arm();
}

static void expire(struct timer *t)
{
    /* The SC or EC in which the timer lies. */
    struct object *o = &objects[((uint64_t)t - (uint64_t)objects) / sizeof(struct object)];
    sched_timer_clear(t);
    if (o->head.type == OBJ_SC) {
        if (o->sc.ec->state == STATE_READY) /* it may have blocked when its budget was used up */
            sched_add(&o->sc);
    } else if (o->ec.kind == EC_VCPU)
        vcpu_recall_local(&o->ec);
    else
        sm_timeout(&o->ec);
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

/* The living EC `ec` loses the SC that it ran on. A handler goes back to waiting for a caller; a
   thread that waited in a call or on a semaphore goes on with ABORTED once it has time again. */
static void lose_time(struct ec *ec)
{
    check_that(is_own_core(ec->core) && !ec->head.dead);
    sched_timer_clear(&ec->timer);
    sm_leave(ec);
    ec->sc = 0;
    ec->caller = 0;
    if (ec->kind == EC_HANDLER && ec->state != STATE_STOPPED) {
        ec->state = STATE_IDLE;
    } else if (ec->state == STATE_CALLING || ec->state == STATE_BLOCKED) {
        ec->state = STATE_READY;
        ec->regs.rax = ABORTED;
    }
}

/* Where a chain of calls breaks: the living EC nearest to the SC's home that waits for a dead
   handler; NULL: no handler in it is dead. */
static struct ec *chain_cut(const struct sc *sc)
{
    struct ec *cut = 0;
    for (struct ec *ec = sc->ec; ec->caller; ec = ec->caller)
        if (ec->head.dead && !ec->caller->head.dead)
            cut = ec->caller;
    return cut;
}

/* A handler in the call chain of a living SC died. Its caller gets ABORTED and the SC; the handlers
   that the dead one had called in turn lose it. A vCPU or a faulting thread at the cut stops: only
   its handler could have set its state. */
static void purge_chain(struct sc *sc)
{
    struct ec *cut = chain_cut(sc);
    if (!cut)
        return;
    for (struct ec *ec = sc->ec, *caller; ec != cut; ec = caller) {
        caller = ec->caller;
        if (!ec->head.dead)
            lose_time(ec);
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

static void purge_sc(struct core *c, struct sc *sc)
{
    for (struct ec *ec = sc->ec, *caller; ec; ec = caller) {
        caller = ec->caller;
        if (!ec->head.dead)
            lose_time(ec);
    }
    sched_timer_clear(&sc->timer);
    if (sc->queued)
        dequeue(sc);
    if (c->sc == sc)
        c->sc = 0;
}

static void purge_ec(struct ec *ec)
{
    sched_timer_clear(&ec->timer);
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
        /* Before `owner` is cleared: until reclaim(), others must ring by NMI (core_owned). */
        c->reclaim = 1;
        c->owner = 0;
    }
    c->current = 0;
    c->attention = 1;
}
