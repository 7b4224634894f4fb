/* What the threads of the storm's domains do: any call, with arguments that often mean something.
 * Its status is ignored: each may be refused, and what must hold is the kernel's invariant. */
#include "pci.h"
#include "storm.h"

#define EVENTS(v) (1u + 32u * (v)) /* in a guest's table */
#define END_PORT  0x61u
#define STACKS    64u
#define STACK     2048u
#define UTCBS     0x70000000ull /* 256 pages */
#define WINDOWS   0x50000000ull
#define PLAIN_ID  0x1000u /* a portal's that is no event's */
#define ANY_MTD   0xffffu
#define START_STATE                                                                                \
    (MTD_ACDB | MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER | MTD_INJECT)

static uint8_t stacks[STACKS][STACK] __attribute__((aligned(16)));

static uint64_t slot(uint64_t *s)
{
    return STORM_FREE + storm_random(s) % (STORM_END - STORM_FREE);
}
static uint64_t pd(uint64_t *s)
{
    return storm_random(s) % 4 ? (uint64_t)STORM_PD : STORM_PEER + storm_random(s) % STORM_DOMAINS;
}
static uint64_t core(uint64_t *s) { return storm_random(s) % storm.cores; }
static uint64_t utcb(uint64_t *s) { return UTCBS + storm_random(s) % 256 * PAGE_SIZE; }
static uint64_t stack(uint64_t *s)
{
    return address_of(stacks[storm_random(s) % STACKS] + STACK - 8);
}

static uint64_t near_value(uint64_t *s)
{
    static const uint64_t values[] = {0,          1,        2,        3,          8,
                                      4096,       0x200000, 0x400000, 0x40000000, 0x7fffffffe000,
                                      1ull << 63, ~0ull,    ~0ull - 1};
    uint64_t r = storm_random(s);
    if (r & 1)
        return values[(r >> 8) % (sizeof(values) / sizeof(values[0]))];
    if (r & 2)
        return r >> 8 & 15;
    return r & 4 ? r >> 8 & 0xff : storm_random(s);
}

/* ---- handlers -------------------------------------------------------------- */
static void act(uint64_t *s);

static void flat(struct segment *to, uint16_t selector, uint16_t attributes)
{
    *to = (struct segment){selector, attributes, 0xffffffff, 0};
}

/* 32-bit protected mode, and now and then something else: any bits but those that the emulator
   takes its host by (a guest with LME and without PAE), or aborts for (an interrupt at a CPL above
   0 whose TSS is none, or is busy): decision 41. */
static void set_start(struct exit_state *x, uint64_t vcpu, uint64_t *s)
{
    for (uint32_t i = SEG_ES; i <= SEG_GS; i++)
        flat(&x->seg[i], 0x10, 0xc93);
    flat(&x->seg[SEG_CS], 8, 0xc9b);
    x->seg[SEG_GDTR] = (struct segment){0, 0, 0x17, STORM_GDT};
    x->seg[SEG_IDTR] = (struct segment){0, 0, 0x7ff, STORM_IDT};
    x->seg[SEG_LDTR] = (struct segment){0, 0x82, 0, 0};
    x->seg[SEG_TR] = (struct segment){0, 0x89, 0x67, STORM_GDT + 0x100};
    x->cpl = x->efer = 0;
    x->cr0 = 0x11;
    x->dr6 = 0xffff0ff0, x->dr7 = 0x400, x->xcr0 = 1;
    x->rip = STORM_CODE, x->rsp = STORM_STACK + 0x1000 * (vcpu + 1), x->rflags = 2;
    if (storm_random(s) % 4)
        return;
    x->rip = storm_random(s) % 0x8000;
    x->rflags = storm_random(s) & 0x3ffff;
    x->cr4 = storm_random(s) & 0x6ff & ~0x20ull;
    x->cr3 = near_value(s);
    x->xcr0 = storm_random(s) & 7;
    x->seg[storm_random(s) % (SEG_GS + 1)].attrib = storm_random(s) & 0xfff;
}

/* The rest of the state that a reply may change. */
static void answer(struct exit_state *x, uint64_t *s)
{
    x->deadline = tsc() + storm_random(s) % 100000;
    x->inject = storm_random(s) % 8 ? 0 : storm_random(s);
    x->apic_reg = 0x30 + storm_random(s) % 16;
    x->apic_value = storm_random(s);
    x->cr8 = storm_random(s);
    x->intr = storm_random(s) % 2 ? 0 : INTR_PENDING | (storm_random(s) & 0xff);
}

static uint64_t answered_groups(uint64_t *s)
{
    uint64_t mtd = storm_random(s) & (MTD_TIMER | MTD_APIC | MTD_CR8);
    mtd |= storm_random(s) % 4 == 0 ? MTD_HALT : 0;
    mtd |= storm_random(s) % 16 == 0 ? MTD_INJECT : 0;
    mtd |= storm_random(s) % 32 == 0 ? MTD_KILL : 0;
    const uint64_t others = ANY_MTD ^ (MTD_CONTROL | MTD_EFER | MTD_SEGS);
    return mtd | (storm_random(s) % 64 == 0 ? storm_random(s) & others : 0);
}

static bool goes_on_behind(uint64_t event)
{
    return event == EVENT_MSR || event == EVENT_PORT || event == EVENT_HLT || event == EVENT_VMCALL;
}

/* Of calls and events alike; `id` as in make_handler(). */
static void __attribute__((noreturn)) handle(uint64_t id, struct utcb *u)
{
    static uint64_t handled;
    uint64_t event = id & 0xff,
             s = (tsc() + __atomic_add_fetch(&handled, 0x1234567, __ATOMIC_RELAXED)) *
                     0x9e3779b97f4a7c15ull |
                 1;
    __atomic_fetch_add(&storm.events, 1, __ATOMIC_RELAXED);
    if (id < PLAIN_ID && event == EVENT_START && storm_random(&s) % 16) {
        set_start(&u->exit, id >> 8, &s);
        u->mtd = START_STATE;
        pt_reply(0);
    }
    for (uint64_t n = storm_random(&s) % 4 ? 0 : storm_random(&s) % 4; n; n--)
        act(&s);
    if (storm_random(&s) % 32 == 0)
        __asm__ volatile("ud2");
    answer(&u->exit, &s);
    u->mtd = answered_groups(&s);
    if (id < PLAIN_ID && goes_on_behind(event)) {
        u->exit.rip = u->exit.next_rip;
        u->mtd |= MTD_RIP;
    }
    pt_reply(storm_random(&s) % 70);
}

static uint64_t handler_entry(void) { return (uint64_t)(uintptr_t)handle; }

/* ---- guests ---------------------------------------------------------------- */
static bool make_vcpu(uint64_t g, uint64_t v, uint64_t on, uint64_t *s)
{
    uint64_t vcpu = slot(s), handler = slot(s),
             whole = (storm.cores > 2 && on == storm.cores - 1) || storm_random(s) % 8 == 0;
    ignore(ec_create(vcpu, g, on, EC_VCPU, 0, EVENTS(v), 0, 0).status);
    ignore(ec_create(handler, STORM_PD, on, EC_HANDLER, utcb(s), 0, 0, stack(s)).status);
    for (uint64_t e = 0; e < EVENT_COUNT; e++) {
        ignore(pt_create(STORM_ANY, STORM_PD, handler, handler_entry(),
                         MTD_RIP | MTD_INFO | (storm_random(s) & ANY_MTD), e | v << 8));
        ignore(delegate(STORM_PD, STORM_ANY, g, EVENTS(v) + e, PT_CALL));
        ignore(revoke(STORM_PD, STORM_ANY));
    }
    uint64_t budget = whole ? SC_WHOLE_CORE : 10000 + storm_random(s) % 1000000;
    return sc_create(slot(s), STORM_SYS, vcpu, 1 + storm_random(s) % 20, budget, 0) == OK;
}

static void make_guest(uint64_t *s)
{
    uint64_t g = slot(s), on = core(s);
    if (pd_create(g, STORM_PD, STORM_SYS, PD_GUEST, 0, 32, 24, 0) != OK)
        return;
    ignore(mr_map(STORM_MR, g, MR_READ | MR_WRITE | MR_EXEC, 0, 0, STORM_FRAMES));
    if (storm.device != PCI_NONE && storm_random(s) % 4 == 0)
        ignore(dv_create(slot(s), g, STORM_SYS, storm.device, 0));
    for (uint64_t v = 0, n = 1 + storm_random(s) % 2; v < n; v++)
        if (make_vcpu(g, v, (on + v) % storm.cores, s))
            __atomic_fetch_add(&storm.runs, 1, __ATOMIC_RELAXED);
    if (storm_random(s) % 8 == 0)
        ignore(mr_seal(STORM_MR, g));
    if (storm_random(s) % 2)
        ignore(disengage(g, storm_random(s) & 1, END_PORT, 1, 0));
}

/* ---- single calls ---------------------------------------------------------- */
static void wake(uint64_t *s)
{
    for (uint64_t n = 3; n; n--)
        ignore(sm_up(slot(s)));
}
static void make_semaphore(uint64_t *s) { ignore(sm_create(slot(s), pd(s), storm_random(s) % 3)); }
static void nap(uint64_t *s) { ignore(sm_down(slot(s), tsc() + storm_random(s) % 20000)); }
static void nap_not(uint64_t *s) { ignore(sm_down(slot(s), storm_random(s) % 3)); }
static void end(uint64_t *s) { ignore(destroy(slot(s))); }
static void make_thread(uint64_t *s)
{
    ignore(ec_create(slot(s), pd(s), core(s), EC_THREAD, utcb(s), STORM_FAULT,
                     (uint64_t)(uintptr_t)storm_thread, stack(s))
               .status);
}
static void make_time(uint64_t *s)
{
    uint64_t budget = 1000 + storm_random(s) % 1000000,
             period = storm_random(s) & 1 ? 0 : 1001000 + storm_random(s) % 1000000;
    ignore(sc_create(slot(s), STORM_SYS, slot(s), 1 + storm_random(s) % 20, budget, period));
}
static void make_handler(uint64_t *s)
{
    ignore(
        ec_create(slot(s), pd(s), core(s), EC_HANDLER, utcb(s), STORM_FAULT, 0, stack(s)).status);
}
static void make_portal(uint64_t *s)
{
    ignore(pt_create(slot(s), pd(s), slot(s), handler_entry(), storm_random(s) & ANY_MTD,
                     PLAIN_ID | (storm_random(s) & 15)));
}
static void call(uint64_t *s) { ignore(pt_call(slot(s), storm_random(s) % 66)); }
static void recall(uint64_t *s)
{
    for (uint64_t n = 3; n; n--)
        ignore(ec_recall(slot(s)));
}
static void copy(uint64_t *s) { ignore(delegate(pd(s), slot(s), pd(s), slot(s), storm_random(s))); }
static void drop(uint64_t *s) { ignore(revoke(pd(s), slot(s))); }
static void map(uint64_t *s)
{
    uint64_t va = WINDOWS + storm_random(s) % 64 * PAGE_SIZE * 8;
    ignore(mr_map(STORM_MR, pd(s), MR_READ | MR_WRITE, va, storm_random(s) % STORM_FRAMES,
                  1 + storm_random(s) % 8));
}
static void unmap(uint64_t *s) { ignore(mr_unmap(STORM_MR, storm_random(s) & 1 ? 0 : pd(s))); }
static void leave(uint64_t *s) { ignore(disengage(slot(s), storm_random(s) % 3, END_PORT, 1, 0)); }
static void seal(uint64_t *s)
{
    if (storm_random(s) % 16 == 0)
        ignore(mr_seal(STORM_MR, slot(s)));
}
static void scrub(uint64_t *s)
{
    (void)s;
    ignore(mr_scrub(STORM_MR));
}
static void make_domain(uint64_t *s)
{
    ignore(pd_create(slot(s), pd(s), STORM_SYS, storm_random(s) & 1, 0, 2 + storm_random(s) % 8,
                     storm_random(s) % 8, 0));
}
/* Within what another domain of its own has. */
static void reach_into(uint64_t *s)
{
    uint64_t other = slot(s);
    switch (storm_random(s) % 4) {
    case 0: ignore(sm_create(slot(s), other, 0)); break;
    case 1:
        ignore(ec_create(slot(s), other, core(s), EC_HANDLER, utcb(s), 0, 0, stack(s)).status);
        break;
    case 2:
        ignore(ec_create(slot(s), other, core(s), EC_VCPU, 0, EVENTS(storm_random(s) % 2), 0, 0)
                   .status);
        break;
    default: ignore(delegate(other, storm_random(s) % 64, STORM_PD, slot(s), ~0ull));
    }
}
static void kill_peer(uint64_t *s)
{
    if (storm_random(s) % 64 == 0)
        ignore(destroy(STORM_PEER + storm_random(s) % STORM_DOMAINS));
}
static void set_cpuid(uint64_t *s) { ignore(vcpu_cpuid(slot(s))); }
static void use_device(uint64_t *s)
{
    if (storm.device == PCI_NONE)
        return;
    ignore(dv_create(slot(s), slot(s), STORM_SYS, storm.device, storm_random(s) % 2));
    ignore(dv_irq(slot(s), slot(s), storm_random(s) % 20, storm_random(s) % 260).status);
}
/* Any number, any words; not those that take the caller's own ground away, or wait for ever. */
static void any_call(uint64_t *s)
{
    uint64_t number = storm_random(s) % (CALL_COUNT + 1), r = storm_random(s);
    uint64_t slots = (r & 63) | (r >> 8 & 7) << 16 | (r >> 12 & 63) << 32 | (r >> 20 & 3) << 48;
    bool waits = number == CALL_PT_REPLY || number == CALL_SM_DOWN,
         starts = number == CALL_CORE_START || number == CALL_IOMMU_START;
    if (waits || starts || (number == CALL_REVOKE && slots >> 16 < STORM_FREE) ||
        (number == CALL_DESTROY && slots == STORM_PD))
        return;
    ignore(call5(number, storm_random(s) & 1 ? slots : near_value(s), near_value(s), near_value(s),
                 near_value(s), near_value(s))
               .status);
}

static void act(uint64_t *s)
{
    static void (*const acts[])(uint64_t *) = {
        make_semaphore, wake,         nap,         nap_not,     end,        make_thread,
        make_time,      make_handler, make_portal, call,        call,       make_guest,
        make_guest,     recall,       copy,        drop,        map,        unmap,
        leave,          seal,         scrub,       make_domain, reach_into, kill_peer,
        set_cpuid,      use_device,   any_call,    any_call,    any_call,   any_call};
    __atomic_fetch_add(&storm.calls, 1, __ATOMIC_RELAXED);
    acts[storm_random(s) % (sizeof(acts) / sizeof(acts[0]))](s);
}

void storm_thread(void)
{
    static uint64_t threads;
    uint64_t s = (tsc() + storm.seed + __atomic_add_fetch(&threads, 0x7654321, __ATOMIC_RELAXED)) *
                     0x9e3779b97f4a7c15ull |
                 1;
    for (;;) {
        act(&s);
        if (storm_random(&s) % 4096 == 0)
            __asm__ volatile("ud2");
    }
}
