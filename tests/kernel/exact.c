/*
 * Instructions that exit end where the processor says, whatever prefixes they have, and a guest
 * that steps through them takes its trap behind each, once. Shared, with a core of its own, and
 * without a VMM.
 */
#include "guests.h"

#include <lib/hw/cpuid.h>

#define END_PORT 0x61u /* exact_guest.S */
#define TRAP     0x5000u
#define TABLES   0xa000u
#define GDT_CODE 0x3808u
#define RUNNING  1u /* shared.arg */
#define STEPPED  2u
#define DR6      0xffff0ff0u
#define DR6_STEP (1u << 14)
#define PRIORITY 5u
#define MS       1000000ull /* TSC ticks */
#define EVENTS   32u
#define GROUPS   (MTD_ACDB | MTD_RIP | MTD_INFO)

enum mode { SHARED, OWN, ALONE, MODES };
static const char *const mode_name[MODES] = {"shared", "with its own core", "without a VMM"};

#define GUEST(name)                                                                                \
    extern const uint8_t guest_##name[];                                                           \
    extern const uint32_t ends_##name[];
GUEST(plain)
GUEST(ordinary)
GUEST(ports)
GUEST(prefixed)
GUEST(sleeping)
GUEST(sleeping_prefixed)
GUEST(nowhere)

static const struct row {
    const char *name, *stepped;
    const uint8_t *code;
    const uint32_t *ends;
    uint32_t exits, told; /* so many instructions exit; so many to the VMM */
    bool next_rip;        /* it must be the processor that knows where they end */
    enum mode modes;      /* in the first so many */
} rows[] = {
    {"instructions that exit", "steps over them", guest_plain, ends_plain, 11, 10, false, MODES},
    {"ports, with prefixes", "steps over ports, with prefixes", guest_ports, ends_ports, 5, 5,
     false, MODES},
    {"instructions that exit, with prefixes", "steps over them, with prefixes", guest_prefixed,
     ends_prefixed, 8, 6, true, MODES},
    {"HLT and XSETBV", "steps over HLT and XSETBV", guest_sleeping, ends_sleeping, 2, 2, false,
     OWN},
    {"HLT and XSETBV, with prefixes", "steps over HLT and XSETBV, with prefixes",
     guest_sleeping_prefixed, ends_sleeping_prefixed, 4, 4, true, OWN},
};

static const struct row ordinary = {
    "", "steps over what does not exit", guest_ordinary, ends_ordinary, 1, 0, false, MODES};

/* What the VMM was told, from the guest's first byte. */
static struct {
    uint64_t event, from, to;
} volatile told[EVENTS];
static volatile uint32_t told_count;
static bool dr6_told;
static volatile uint64_t seen[EVENT_COUNT], ends_somewhere; /* of what is no instruction */

static void start_64(struct exit_state *x)
{
    guest_start_state(x);
    x->seg[SEG_CS].attrib = 0xa9b;
    x->cr0 = 0x80000011, x->cr3 = TABLES, x->cr4 = 1 << 5 | 1 << 18; /* PAE, OSXSAVE */
    x->efer = 0x500;                                                 /* LMA, LME */
    x->rflags = 2;
}

static void on_event(uint64_t id, struct utcb *u)
{
    uint64_t event = id & 0xff;
    bool none = event == EVENT_RECALL || event == EVENT_MEMORY || event == EVENT_SHUTDOWN ||
                event == EVENT_EXCEPTION;
    ends_somewhere += none && u->exit.next_rip;
    seen[event]++;
    if (event == EVENT_START) {
        start_64(&u->exit);
        u->mtd = GUEST_START_MTD;
    } else if (event == EVENT_EXCEPTION) {
        u->exit.inject = exit_exception(&u->exit.info);
        u->exit.intr = 0;
        u->mtd = MTD_INJECT;
    } else if (event == EVENT_RECALL) {
        u->mtd = 0;
    } else if (event == EVENT_MEMORY) {
        u->exit.rip = GUEST_CODE + ends_nowhere[1];
        u->mtd = MTD_RIP;
    } else if (u->exit.next_rip == 0 || told_count == EVENTS ||
               (event == EVENT_PORT && u->exit.info.number == END_PORT)) {
        u->mtd = MTD_KILL;
    } else {
        told[told_count].event = event;
        told[told_count].from = u->exit.rip - GUEST_CODE;
        told[told_count].to = u->exit.next_rip - GUEST_CODE;
        told_count++;
        u->exit.rip = u->exit.next_rip;
        u->mtd = MTD_RIP;
    }
    pt_reply(0);
}

/* One to one, with a page of 2 MiB; code of 64 bits. */
static void write_tables(void)
{
    volatile uint64_t *table = (volatile uint64_t *)(guest_window(0) + TABLES);
    *(volatile uint64_t *)(guest_window(0) + GDT_CODE) = 0x00af9b000000ffff;
    table[0] = (TABLES + 0x1000) | 3;
    table[512] = (TABLES + 0x2000) | 3;
    table[1024] = 0x83;
}

static bool live(const struct row *r, enum mode mode, uint32_t arg)
{
    struct shared *s = guest_shared(0);
    told_count = 0;
    ends_somewhere = 0;
    for (uint32_t i = 0; i < EVENT_COUNT; i++)
        seen[i] = 0;
    bool ok = guest_make(0, r->code, SLOT_ROOT_PD, 1, on_event, GROUPS);
    write_tables();
    s->arg = mode == ALONE ? 0 : arg;
    ok = ok && sc_create(G_TIME, SLOT_ROOT_SYS, G_VCPU, PRIORITY,
                         mode == SHARED ? MS : SC_WHOLE_CORE, 0) == OK;
    if (mode == ALONE) {
        ok = ok && wait_done(0, 2) && disengage(G_GUEST, AFTER_QUIET, END_PORT, 1, END_PORT) == OK;
        ok = ok && becomes_set(&guest_stat(0)->disengaged);
        s->arg = arg;
    }
    return ok;
}

/* The VMM was told where each begins and ends. */
static bool told_right(const struct row *r, enum mode mode)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < told_count; i++) {
        const uint32_t *end = r->ends + 1;
        while (*end && *end <= told[i].from)
            end++;
        if (end[-1] != told[i].from || *end != told[i].to) {
            kit_print("     event %lu from %lx to %lx\n", told[i].event, told[i].from, told[i].to);
            ok = false;
        }
    }
    return is("exits to the VMM", told_count, mode == ALONE ? 0 : r->told) && ok;
}

/* A trap behind each instruction, of a step, and no other. */
static bool trapped_right(const struct row *r)
{
    const volatile uint32_t *trap = (const volatile uint32_t *)(guest_window(0) + TRAP);
    uint32_t n = 0;
    bool ok = true;
    for (; ok && r->ends[n + 1]; n++) {
        ok = is("trap at", trap[2 * n], GUEST_CODE + r->ends[n + 1]);
        ok = (!dr6_told || is("DR6", trap[2 * n + 1], DR6 | DR6_STEP)) && ok;
    }
    return is("traps", guest_shared(0)->rounds, n) && ok;
}

static bool one(const struct row *r, enum mode mode, uint32_t arg)
{
    bool ok = live(r, mode, arg) && is("it came to its end", wait_done(0, 1), true) &&
              is("it ran", guest_shared(0)->result[0], r->exits);
    ok = told_right(r, mode) && is("a trap ends somewhere", ends_somewhere, 0) && ok;
    ok = ok && (arg == STEPPED ? trapped_right(r) : is("traps", guest_shared(0)->rounds, 0));
    if (!ok)
        kit_print("     %s, %s\n", mode_name[mode], arg == STEPPED ? "stepping" : "running");
    return guest_end(0) && ok;
}

/* A recall of a guest that runs, memory that is not there, a triple fault: next_rip is 0. */
static void nowhere(void)
{
    static const struct row r = {.code = guest_nowhere};
    bool ok = true;
    for (enum mode mode = SHARED; mode <= OWN; mode++) {
        ok = live(&r, mode, 0) && wait_done(0, 2) && ok;
        rest(MS / 100);
        ok = ok && ec_recall(G_VCPU) == OK && becomes_set(&seen[EVENT_RECALL]);
        guest_shared(0)->arg = RUNNING;
        ok = ok && becomes_set(&seen[EVENT_SHUTDOWN]) && is("faults", seen[EVENT_MEMORY], 1);
        ok = is("next_rip", ends_somewhere, 0) && ok;
        ok = guest_end(0) && ok;
    }
    kit_check("what is no instruction ends nowhere", ok);
}

/* 8000_000Ah EDX[3] (APM2 15.7.1); Intel's processors tell an instruction's length. */
static bool has_next_rip(void)
{
    return cpu_cpuid(0, 0).ecx == CPUID_INTEL || cpu_cpuid(0x8000000a, 0).edx >> 3 & 1;
}

static void test(const struct row *r, const char *name, uint32_t arg)
{
    bool ok = true;
    if (r->next_rip && !has_next_rip()) {
        kit_print("     not tested, for this processor does not tell: %s\n", name);
        return;
    }
    for (enum mode mode = SHARED; mode < r->modes; mode++)
        ok = one(r, mode, arg) && ok;
    kit_check(name, ok);
}

void kit_main(void)
{
    kit_check("memory", guests_memory());
    kit_check("cores", guests_cores(2));
    struct kit_count before = kit_count();
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        test(&rows[i], rows[i].name, RUNNING);
    nowhere();
    dr6_told = false;
    test(&ordinary, ordinary.stepped, STEPPED);
    dr6_told = true; /* Bochs has it only in a #DB that is not intercepted */
    test(&ordinary, "DR6 tells of each step", STEPPED);
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        test(&rows[i], rows[i].stepped, STEPPED); /* Bochs has the trap in its host */
    kit_check("all is given back", kit_same(before, kit_count()));
}
