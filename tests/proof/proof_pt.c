/*
 * Messages: whatever a fault handler sends, a thread goes on in user mode with
 * interrupts on; whatever is said about lengths, no more than a message moves.
 */
#include "small.h"
#undef USER_END
#define USER_END                                                                                   \
    0x00007ffffffff000ull /* the real one: nothing here depends on the size of tables */
#include <pt.c>

struct object objects[OBJECTS];
struct kernel_stat counters;
static struct core this_core;
static struct exit_state message;

struct core *cpu_core(void) { return &this_core; }

static bool is_canonical_user(uint64_t address) { return address <= 0x00007fffffffffffull; }

void fault_reply(void)
{
    static struct ec ec;
    __CPROVER_havoc_object(&message);
    uint64_t mtd = any(), rflags = any();
    ec.regs.rflags = rflags;
    ec.regs.rip = any();
    ec.regs.rsp = any();
    assume(is_canonical_user(ec.regs.rip) && is_canonical_user(ec.regs.rsp));
    thread_load(&ec, &message, mtd);
    const uint64_t kept = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_IOPL | RFLAGS_NT | ~0xffffull;
    check((ec.regs.rflags & kept) == (rflags & kept));
    check(is_canonical_user(ec.regs.rip) && is_canonical_user(ec.regs.rsp));
}

static struct utcb page[2];
static uint64_t moved;

/* Thread 0 calls whatever portal it can name, with any number of words; handler 1 is whatever it
 * is. */
void call(void)
{
    static struct cap caps[CAP_SLOTS];
    static struct pd domain = {.caps = caps, .slots = CAP_SLOTS};
    static struct ec caller = {.pd = &domain, .utcb = &page[0]}, handler = {.utcb = &page[1]};
    __CPROVER_havoc_object(caps);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i].pt = (struct pt){.head.type = any() & 15, .head.gen = any(), .ec = &handler};
        assume(i >= CAP_SLOTS || caps[i].index < OBJECTS);
    }
    caller.core = any() & 1;
    handler.core = any() & 1;
    handler.state = any() & 7;
    enum ec_state was = (enum ec_state)handler.state;
    uint64_t words = any(), slot = any();
    if (pt_call(&caller, slot, words)) {
        check(moved == 0 && handler.state == was && !handler.caller && !this_core.current);
        return;
    }
    check(slot < CAP_SLOTS && caps[slot].rights & PT_CALL &&
          objects[caps[slot].index].head.gen == caps[slot].gen);
    check(objects[caps[slot].index].head.type == OBJ_PT && was == STATE_IDLE &&
          handler.core == caller.core);
    check(moved == words && handler.caller == &caller && this_core.current == &handler);
}

void reply(void)
{
    static struct ec caller = {.utcb = &page[0], .state = STATE_CALLING, .call = BY_CALL},
                     handler = {.utcb = &page[1], .caller = &caller};
    uint64_t words = any();
    pt_reply(&handler, words);
    check(moved <= words && !handler.caller && handler.state == STATE_IDLE &&
          this_core.current == &caller);
}

void sched_switch(struct ec *ec) { this_core.current = ec; }

/* Messages between UTCBs are only measured, registers are moved. */
void cpu_copy_words(uint64_t *to, const uint64_t *from, uint64_t words)
{
    if (to == page[0].word || to == page[1].word) {
        check(words <= UTCB_WORDS && (from == page[0].word || from == page[1].word));
        moved = words;
        return;
    }
    for (uint64_t i = 0; i < words; i++)
        to[i] = from[i];
}
