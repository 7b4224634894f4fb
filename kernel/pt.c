/* Portals. The handler runs on its caller's scheduling context: time is donated, no scheduler is
 * asked. */
#include <cap.h>
#include <pt.h>
#include <sched.h>
#include <virt.h>

uint64_t pt_create(struct pd *self, uint64_t who, uint64_t entry, uint64_t mtd, uint64_t id)
{
    void *payer, *ec;
    uint64_t s = cap_prepare(self, who, &payer);
    if (s == OK)
        s = cap_find(self, who >> 32, OBJ_EC, EC_BIND, 1, &ec);
    if (s)
        return s;
    if (((struct ec *)ec)->kind != EC_HANDLER)
        return bad(BAD_ARG, 1);
    if (entry >= USER_END)
        return bad(BAD_ARG, 2);
    if (mtd >> 32)
        return bad(BAD_ARG, 3);
    struct pt *pt = object_new(OBJ_PT, payer);
    if (!pt)
        return NO_MEMORY;
    pt->ec = ec;
    pt->next = pt->ec->portals;
    pt->ec->portals = pt;
    pt->entry = entry;
    pt->mtd = (uint32_t)mtd;
    pt->id = id;
    return cap_hand_out(self, who, pt);
}

void pt_unlink(const struct pt *pt)
{
    struct pt **p = &pt->ec->portals;
    while (*p != pt)
        p = &(*p)->next;
    *p = pt->next;
}

/* `self` waits for `pt`'s handler, which starts anew at the portal's entry on the same time. */
static void enter(struct ec *self, const struct pt *pt, enum call_kind kind)
{
    struct ec *handler = pt->ec;
    self->state = STATE_CALLING;
    self->call = (uint8_t)kind;
    handler->state = STATE_READY;
    handler->caller = self;
    handler->sc = self->sc;
    handler->way = WAY_SYSRET;
    handler->regs.rip = pt->entry;
    handler->regs.rsp = handler->sp;
    handler->regs.rdi = pt->id;
    handler->regs.rsi = handler->utcb_va;
    sched_switch(handler);
}

uint64_t pt_call(struct ec *self, uint64_t slot, uint64_t words)
{
    void *o;
    uint64_t s = cap_find(self->pd, slot, OBJ_PT, PT_CALL, 1, &o);
    if (s)
        return s;
    const struct pt *pt = o;
    /* mutant: call-words */
    if (words > UTCB_WORDS)
        return bad(BAD_ARG, 2);
    if (pt->ec->core != self->core)
        return bad(BAD_CORE, 1);
    /* mutant: call-busy */
    if (pt->ec->state != STATE_IDLE)
        return bad(BUSY, 1);
    cpu_copy_words(pt->ec->utcb->word, self->utcb->word, words);
    enter(self, pt, BY_CALL);
    return OK;
}

static void stop(struct ec *ec)
{
    ec->state = STATE_STOPPED;
    sched_block();
}

/* Of a thread that faulted its handler sees where and why, and may have it go on elsewhere. What it
   sets is kept harmless: no IF, IOPL or NT, and no address that IRETQ would stumble over
   (APM2 8.9.5). */
static void thread_store(const struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    if (mtd & MTD_RIP)
        x->rip = ec->regs.rip, x->next_rip = 0;
    if (mtd & MTD_FLAGS)
        x->rflags = ec->regs.rflags, x->rsp = ec->regs.rsp;
    if (mtd & MTD_INFO)
        x->info = (struct exit_info){.number = (uint32_t)ec->fault[0],
                                     .error = (uint32_t)ec->fault[1],
                                     .address = ec->fault[2]};
}

static uint64_t user_address(uint64_t va) { return va < USER_END ? va : 0; }

static void thread_load(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    const uint64_t arithmetic = 0x8d5 | RFLAGS_DF | RFLAGS_TF;
    if (mtd & MTD_RIP)
        /* mutant: fault-address */
        ec->regs.rip = user_address(once(x->rip));
    if (mtd & MTD_FLAGS) {
        /* mutant: fault-flags */
        ec->regs.rflags = (ec->regs.rflags & ~arithmetic) | (x->rflags & arithmetic);
        ec->regs.rsp = user_address(once(x->rsp));
    }
}

void pt_event(struct ec *self, unsigned event)
{
    void *o;
    self->event = (uint8_t)event;
    if (cap_find(self->pd, self->events + event, OBJ_PT, PT_CALL, 0, &o) ||
        ((struct pt *)o)->ec->core != self->core || ((struct pt *)o)->ec->state != STATE_IDLE) {
        stop(self);
        return;
    }
    const struct pt *pt = o;
    struct utcb *u = pt->ec->utcb;
    u->mtd = pt->mtd;
    if (self->kind == EC_VCPU)
        virt_store(self, &u->exit, pt->mtd);
    else
        thread_store(self, &u->exit, pt->mtd);
    enter(self, pt, BY_EVENT);
}

/* What the handler of an exit or fault decided. */
static void resume_event(struct ec *ec, const struct utcb *u)
{
    uint64_t mtd = once(u->mtd);
    if (ec->kind == EC_VCPU)
        mtd = virt_load(ec, &u->exit, mtd);
    else
        thread_load(ec, &u->exit, mtd);
    sched_switch(ec);
    if (mtd & MTD_KILL) {
        stop(ec);
    } else if (mtd & MTD_HALT && ec->kind == EC_VCPU && !(ec->hazard & HAZARDS_WAKE)) {
        ec->state = STATE_HALTED;
        sched_block(); /* a recall from now on finds it halted: core_take_inbox(),
                          vcpu_recall_local() */
    }
}

void pt_reply(struct ec *self, uint64_t words)
{
    struct ec *caller = self->caller;
    self->state = STATE_IDLE;
    self->caller = 0;
    if (!caller) {
        sched_block();
        return;
    }
    self->sc = 0;
    caller->state = STATE_READY;
    if (caller->call == BY_EVENT) {
        resume_event(caller, self->utcb);
        return;
    }
    /* mutant: reply-words */
    cpu_copy_words(caller->utcb->word, self->utcb->word, words < UTCB_WORDS ? words : UTCB_WORDS);
    caller->regs.rax = OK;
    sched_switch(caller);
}
