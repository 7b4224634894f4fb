/* Semaphores. Lock: sm->lock, over a few instructions, interrupts off; it nests inside nothing but
 * the graph lock. */
#include <cap.h>
#include <sched.h>
#include <sm.h>

static void lock(struct sm *sm)
{
    check_that(interrupts_off());
    while (__atomic_exchange_n(&sm->lock, 1, __ATOMIC_ACQUIRE))
        cpu_relax();
}
static void unlock(struct sm *sm) { __atomic_store_n(&sm->lock, 0, __ATOMIC_RELEASE); }

static void append(struct sm *sm, struct ec *ec)
{
    ec->sm = sm;
    ec->next = 0;
    if (sm->first)
        sm->last->next = ec;
    else
        sm->first = ec;
    sm->last = ec;
}

/* Take out the first living waiter, if any. Dead ones before it are dropped. The order of the two
   accesses: once `ec->sm` is cleared, the waiter's core (sched_purge) no longer takes this lock for
   it, answers the rendezvous, and the slot can become another object. So `dead` is read before
   `ec->sm` is cleared. */
static struct ec *take_first(struct sm *sm)
{
    for (struct ec *ec = sm->first; ec; ec = sm->first) {
        bool is_dead = ec->head.dead;
        sm->first = ec->next;
        __atomic_store_n(&ec->sm, 0, __ATOMIC_RELEASE);
        if (!is_dead)
            return ec;
    }
    return 0;
}

/* Make a waiter run again with `status`; it is in no queue any more. */
static void wake(struct ec *ec, uint64_t status)
{
    ec->regs.rax = status;
    sched_wake_anywhere(ec);
}

uint64_t sm_create(struct pd *self, uint64_t who, uint64_t count)
{
    void *payer;
    uint64_t s = cap_prepare(self, who, &payer);
    if (s)
        return s;
    struct sm *sm = object_new(OBJ_SM, payer);
    if (!sm)
        return NO_MEMORY;
    sm->count = count;
    return cap_hand_out(self, who, sm);
}

uint64_t sm_up(struct pd *self, uint64_t slot)
{
    void *o;
    uint64_t s = cap_find(self, slot, OBJ_SM, SM_UP, 1, &o);
    if (s)
        return s;
    struct sm *sm = o;
    lock(sm);
    struct ec *ec = take_first(sm);
    if (!ec && sm->count < ~0ull)
        sm->count++;
    unlock(sm);
    if (ec)
        wake(ec, OK);
    return OK;
}

uint64_t sm_down(struct ec *self, uint64_t slot, uint64_t deadline)
{
    void *o;
    uint64_t s = cap_find(self->pd, slot, OBJ_SM, SM_DOWN, 1, &o);
    if (s)
        return s;
    check_that(self == cpu_core()->current);
    struct sm *sm = o;
    lock(sm);
    if (sm->count)
        sm->count--;
    else if (deadline && deadline <= cpu_tsc())
        s = TIMEOUT;
    else {
        append(sm, self);
        self->state = STATE_BLOCKED;
    }
    unlock(sm);
    if (self->state != STATE_BLOCKED)
        return s;
    if (deadline)
        sched_timer_set(&self->timer, deadline);
    sched_block();
    return OK;
}

bool sm_leave(struct ec *ec)
{
    struct sm *sm = __atomic_load_n(&ec->sm, __ATOMIC_ACQUIRE);
    if (!sm)
        return false;
    lock(sm);
    bool queued = ec->sm == sm;
    struct ec **p = &sm->first, *before = 0;
    while (queued && *p != ec) {
        before = *p;
        p = &(*p)->next;
    }
    if (queued) {
        *p = ec->next;
        if (sm->last == ec)
            sm->last = before;
        ec->sm = 0;
    }
    unlock(sm);
    return queued;
}

void sm_timeout(struct ec *ec)
{
    if (sm_leave(ec))
        wake(ec, TIMEOUT);
}

void sm_abort(struct sm *sm)
{
    lock(sm);
    for (struct ec *ec = take_first(sm); ec; ec = take_first(sm))
        wake(ec, ABORTED);
    unlock(sm);
}
