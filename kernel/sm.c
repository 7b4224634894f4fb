/* Semaphores. Lock: sm->lock, over a few instructions, interrupts off; it nests inside nothing but the graph lock. */
#include <cap.h>
#include <sched.h>
#include <sm.h>

static void lock(struct sm *sm)
{
    while (__atomic_exchange_n(&sm->lock, 1, __ATOMIC_ACQUIRE))
        cpu_relax();
}
static void unlock(struct sm *sm) { __atomic_store_n(&sm->lock, 0, __ATOMIC_RELEASE); }

static void append(struct sm *sm, struct ec *ec)
{
    ec->sm = sm;
    ec->next = 0;
    *(sm->first ? &sm->last->next : &sm->first) = ec;
    sm->last = ec;
}

/* The waiter that runs again, if any. One that is dead is dropped: its core will look for it in no queue that it has left,
   and after it has answered the rendezvous the slot may be another's. So `dead` is read before it is let go. */
static struct ec *take_first(struct sm *sm)
{
    for (struct ec *ec; (ec = sm->first);) {
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
    if (ec->core == cpu_core()->number) {
        sched_wake(ec);
        return;
    }
    ec->woken = 1;
    core_post(ec);
}

uint64_t sm_create(struct pd *self, uint64_t who, uint64_t count)
{
    void *payer;
    uint64_t s = cap_vacant(self, who & 0xffff, 1);
    if (s == OK)
        s = cap_find(self, who >> 16 & 0xffff, OBJ_PD, PD_CREATE, 1, &payer);
    if (s)
        return s;
    struct sm *sm = object_new(OBJ_SM, payer);
    if (!sm)
        return NO_MEMORY;
    sm->count = count;
    cap_set(self, who & 0xffff, sm, RIGHT_ALL);
    return OK;
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
        timer_set(&self->timer, deadline);
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
    for (struct ec *ec; (ec = take_first(sm));)
        wake(ec, ABORTED);
    unlock(sm);
}
