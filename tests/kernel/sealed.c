/*
 * What a VMM still sees and sets of a guest whose memory is sealed: at each
 * event it asks for all registers and sets all of them. Whoever had the
 * registers would have the memory, by way of any load or store of the guest's.
 */
#include "guests.h"

#include <guest/bare/hypercall.h>

#define SEALED   0x60000000ull /* guest-physical, and where the test maps it before */
#define SECRET   0x5000u
#define MARK     0xa5a50000ull
#define PRIORITY 5u
#define MS       1000000ull /* TSC ticks */
#define ALL                                                                                        \
    (MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_INFO | MTD_INJECT | MTD_TIMER | MTD_CONTROL | \
     MTD_SEGS | MTD_SYSCALL | MTD_EFER | MTD_CR8)
#define WORDS           65u /* of struct exit_state that the kernel fills in */
#define W(field)        (1ull << (__builtin_offsetof(struct exit_state, field) / 8))
#define NUMBER          W(info.number)
#define KIND            W(info.flags) /* and size */
#define REGS            8u
#define GP              (INJECT_EXCEPTION | INJECT_ERROR | 13)
#define INJECT_SOFTWARE (4u << 8) /* APM2 15.20 */

#define GUEST_CODE_OF(name) extern const uint8_t guest_##name[]
GUEST_CODE_OF(in8);
GUEST_CODE_OF(out32);
GUEST_CODE_OF(rdmsr);
GUEST_CODE_OF(wrmsr);
GUEST_CODE_OF(vmcall);
GUEST_CODE_OF(hlt);
GUEST_CODE_OF(recall);
GUEST_CODE_OF(gadgets);
GUEST_CODE_OF(gadgets_end);

enum slot { S_OTHER = G_FREE };

/* The words of struct exit_state that a VMM may see, must see, and may set at an event; the one
 * exception it may raise. */
static const struct row {
    const char *name;
    const uint8_t *code;
    uint32_t event;
    uint64_t sees, needs, sets, raises;
} rows[] = {
    {"IN", guest_in8, EVENT_PORT, NUMBER | KIND, NUMBER | KIND, W(rax), GP},
    {"OUT", guest_out32, EVENT_PORT, W(rax) | NUMBER | KIND, W(rax) | NUMBER | KIND, 0, GP},
    {"RDMSR", guest_rdmsr, EVENT_MSR, W(rcx) | NUMBER | KIND, W(rcx) | NUMBER | KIND,
     W(rax) | W(rdx), GP},
    {"WRMSR", guest_wrmsr, EVENT_MSR, W(rax) | W(rcx) | W(rdx) | NUMBER | KIND,
     W(rax) | W(rcx) | W(rdx) | NUMBER | KIND, 0, GP},
    {"VMCALL", guest_vmcall, EVENT_VMCALL, 0, 0, W(rax), 0},
    {"HLT", guest_hlt, EVENT_HLT, 0, 0, 0, 0},
    {"recall", guest_recall, EVENT_RECALL, 0, 0, 0, 0},
};

/* In the order of the guest's record. */
static const struct {
    const char *name;
    uint64_t word;
} regs[REGS] = {{"rax", W(rax)}, {"rcx", W(rcx)}, {"rdx", W(rdx)}, {"rbx", W(rbx)},
                {"rsp", W(rsp)}, {"rbp", W(rbp)}, {"rsi", W(rsi)}, {"rdi", W(rdi)}};

/* What it tries to inject: NMI, exceptions, software and external interrupts. The guest has no
   handler: one that it gets is its end. */
static const uint64_t injections[] = {INJECT_NMI | 2,
                                      INJECT_EXCEPTION | 1,
                                      INJECT_EXCEPTION | 6,
                                      INJECT_EXCEPTION | INJECT_ERROR | 8,
                                      GP,
                                      INJECT_EXCEPTION | 18,
                                      INJECT_SOFTWARE | 128,
                                      64,
                                      13};

static volatile uint64_t inject;
static const struct row *volatile now;
static volatile uint64_t seen[WORDS], times, odd;

static void mark_all(struct exit_state *x)
{
    uint64_t *word = (uint64_t *)x;
    for (uint32_t i = 0; i < WORDS; i++)
        word[i] = MARK + i;
    x->rip = SEALED; /* a gadget; it goes on behind the instruction */
    x->inject = inject ? INJECT_VALID | inject : 0;
    x->intr = INTR_PENDING | 64;
}

/* All groups in, all groups out. */
static void on_event(uint64_t id, struct utcb *u)
{
    uint64_t event = id & 0xff;
    if (event == EVENT_START) {
        guest_start_state(&u->exit);
        u->mtd = GUEST_START_MTD;
    } else if (event == now->event && times == 0) {
        for (uint32_t i = 0; i < WORDS; i++)
            seen[i] = ((uint64_t *)&u->exit)[i];
        times = 1;
        mark_all(&u->exit);
        u->mtd = ALL;
    } else {
        odd = 1 + event;
        u->mtd = MTD_KILL;
    }
    pt_reply(0);
}

/* ---- a sealed guest ----------------------------------------------------------- */
static uint64_t map_here(void)
{
    return mr_map(G_SPARE, SLOT_ROOT_PD, MR_READ | MR_WRITE, SEALED, 0, GUEST_SPARE);
}

static void write_sealed(void)
{
    volatile uint8_t *to = (volatile uint8_t *)SEALED;
    for (const uint8_t *from = guest_gadgets; from < guest_gadgets_end; from++)
        *to++ = *from;
    guest_fit_hypercalls((volatile uint8_t *)SEALED, to);
    *(volatile uint32_t *)(SEALED + SECRET) = 0x5ec2e7;
}

static bool make(const uint8_t *code, guest_vmm *vmm)
{
    bool ok = guest_make(0, code, SLOT_ROOT_PD, 1, vmm, ALL) && map_here() == OK;
    if (ok)
        write_sealed();
    ok = ok && mr_map(G_SPARE, G_GUEST, MR_READ | MR_WRITE | MR_EXEC, SEALED, 0, GUEST_SPARE) == OK;
    ok = ok && mr_seal(G_SPARE, G_GUEST) == OK && map_here() == (BUSY | 1 << 8);
    return ok && sc_create(G_TIME, SLOT_ROOT_SYS, G_VCPU, PRIORITY, MS, 0) == OK;
}

static bool end(void)
{
    bool ok = guest_end(0);
    while (mr_scrub(G_SPARE) == AGAIN)
        ;
    return ok;
}

/* ---- each event ---------------------------------------------------------------- */
static bool sees_no_more(const struct row *r)
{
    bool ok = true;
    for (uint32_t i = 0; i < WORDS; i++) {
        bool low = i < 64, may = low && r->sees >> i & 1, must = low && r->needs >> i & 1;
        if ((!may && seen[i]) || (must && !seen[i])) {
            kit_print("     %s: word %u of the state is %lx\n", r->name, i, seen[i]);
            ok = false;
        }
    }
    return ok;
}

static bool sets_no_more(const struct row *r)
{
    bool ok = true;
    for (uint32_t i = 0; i < REGS; i++) {
        uint32_t was = i == 1 && r->event == EVENT_MSR ? 0x1b : 0x11110001 + i,
                 is_now = guest_shared(0)->result[i];
        if (is_now != was && !(r->sets & regs[i].word)) {
            kit_print("     %s: %s is %x, not %x\n", r->name, regs[i].name, is_now, was);
            ok = false;
        }
    }
    return ok;
}

/* A guest's life until its VMM has answered the event. */
static bool live(const struct row *r, uint64_t injected)
{
    now = r;
    inject = injected;
    times = odd = 0;
    bool ok = make(r->code, on_event);
    if (r->event == EVENT_RECALL) {
        ok = ok && wait_done(0, 2) && ec_recall(G_VCPU) == OK && becomes_set(&times);
        guest_shared(0)->arg = 1;
    }
    return ok;
}

static bool injects_no_more(const struct row *r)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < sizeof(injections) / sizeof(injections[0]); i++) {
        bool may = injections[i] == r->raises;
        ok = live(r, injections[i]) &&
             is("injected", may ? becomes_set(&odd) : wait_done(0, 1), true);
        ok = is("its end", odd, may ? 1 + EVENT_SHUTDOWN : 0) && ok;
        if (!ok)
            kit_print("     %s: injection %lx\n", r->name, injections[i]);
        ok = end() && ok;
    }
    return ok;
}

static void one(const struct row *r)
{
    bool ok = live(r, 0);
    ok = ok && is("it went on", wait_done(0, 1), true) && is("events", times, 1);
    if (odd)
        kit_print("     %s: then came event %lu\n", r->name, odd - 1);
    ok = sees_no_more(r) && sets_no_more(r) && ok;
    ok = end() && ok && injects_no_more(r);
    kit_check(r->name, ok);
}

/* ---- the attack ------------------------------------------------------------------ */
static volatile uint64_t gadget, address, value, got;

/* At a recall the guest is to run a gadget; its VMMCALL would tell what it read. */
static void on_recall(uint64_t id, struct utcb *u)
{
    uint64_t event = id & 0xff;
    if (event == EVENT_START) {
        guest_start_state(&u->exit);
        u->mtd = GUEST_START_MTD;
    } else if (event == EVENT_RECALL) {
        u->exit.rip = SEALED + gadget;
        u->exit.rsi = address;
        u->exit.rax = value;
        u->mtd = MTD_RIP | MTD_REST | MTD_ACDB;
        times++;
    } else {
        got = event == EVENT_VMCALL ? u->exit.rax : 0;
        odd = 1 + event;
        u->mtd = MTD_KILL;
    }
    pt_reply(0);
}

static bool aim(uint64_t at, uint64_t with)
{
    gadget = at, address = SEALED + SECRET, value = with;
    times = odd = got = 0;
    bool ok = make(guest_recall, on_recall) && wait_done(0, 2) && ec_recall(G_VCPU) == OK &&
              becomes_set(&times);
    rest(MS);
    ok = is("what a gadget tells", got, 0) && is("its event", odd, 0) && ok;
    guest_shared(0)->arg = 1;
    ok = ok && wait_done(0, 1) && is("esi", guest_shared(0)->result[6], 0x11110007);
    return end() && ok;
}

/* Nothing that its VMM could direct enters the domain any more. */
static bool closed(void)
{
    bool ok = make(guest_recall, on_event) && wait_done(0, 2);
    ok = ok && is("one more vCPU",
                  STATUS_CODE(ec_create(S_OTHER, G_GUEST, 0, EC_VCPU, 0, 200, 0, 0).status), BUSY);
    kit_empty(S_OTHER);
    return end() && ok;
}

void kit_main(void)
{
    kit_check("memory", guests_memory() && map_here() == OK &&
                            mr_unmap(G_SPARE, 0) == OK); /* the tables are there from now on */
    kit_check("cores", guests_cores(2));
    struct kit_count before = kit_count();
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        one(&rows[i]);
    kit_check("sealed memory read through the registers", aim(0, 0));
    kit_check("sealed memory written through the registers", aim(16, 0xbadc0de));
    kit_check("no more vCPUs", closed());
    kit_check("all is given back", kit_same(before, kit_count()));
}
