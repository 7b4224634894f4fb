/*
 * What a hostile VMM costs its neighbours' guests, counted in the instructions
 * that those execute: the time they are charged would hide it.
 *
 * A VMM plays each of its rights in a loop. The promise to a guest: what the
 * budgets above it leave, shared equally at its priority; of that, at most
 * LOSS percent may be missing. A guest whose VMM has left sees no exit at all.
 *
 * Under -icount the TSC counts the instructions of all cores together. Where
 * attacker and victim have a core each, those of the victim's core are what the
 * attacker's rounds do not explain: a round costs it no less than it does where
 * nobody else has anything to do, which is measured first.
 */
#include "hostile.h"
#include <lib/format.h>
#include <root/hardware/port.h>

extern const uint8_t guest_count[], guest_sleep[];

#define MS       1000000ull /* TSC ticks, which are instructions of all cores */
#define LOSS     5u         /* percent */
#define PERIOD   (10 * MS)
#define TURN     (MS / 2) /* of root: none begins sooner after the last one */
#define PRIORITY 5u       /* of guests; their workers have one more */
#define POST                                                                                       \
    28u /* instructions of core_post() and its ring: a recall that finds none waiting has them     \
           besides */
#define LIVES 3u
#define SLICE                                                                                      \
    (MS / 4) /* where victim and attacker's vCPU take turns: a window cuts one of many in two */
#define VTD      0xfed90000ull /* where QEMU has it */
#define FUNCTION 0x20u         /* requester ID that no device has */
#define ROUND    2u            /* instructions of a victim's round */

enum { VICTIM, OWN }; /* guests: the victim, and the attacker's own */
enum slot { H_PD = G_FREE, H_BELL, H_GO, H_ROOT, H_DV, H_UNIT, H_COPY };
enum thread { SERVER = GUESTS, NAPPER, FAR, WORKER, WAKER, ROOT };

static uint64_t cost[ATTACKS_MAX]; /* of a round, in hundredths of an instruction */

/* ---- the attacker's domain --------------------------------------------------- */
static void (*volatile once)(void);

static void attacker(void)
{
    for (;;) {
        void (*now)(void) = once;
        if (!now) {
            bell_wait(E_GO, 0);
            continue;
        }
        now();
        rounds++;
    }
}

static void woken(void)
{
    for (;;)
        bell_wait(E_BELL, 0);
}

/* As root's main loop takes its bell: a turn, and a rest. */
static void turns(void)
{
    for (;;) {
        bell_wait(H_ROOT, 0);
        for (uint32_t i = 0; i < 64 && sm_down(H_ROOT, 1) == OK; i++)
            ;
        rest(TURN);
    }
}

static void serve(void) { pt_reply(8); }
static void serve_late(void)
{
    bell_wait(E_BELL, tsc() + 100);
    pt_reply(0);
}

static bool give_portal(uint64_t slot, enum thread handler_of, uint32_t core, void (*entry)(void))
{
    bool ok = kit_handler(handler_of, H_PD, core);
    ok = ok && pt_create(H_COPY, SLOT_ROOT_PD, KIT_THREAD + handler_of, (uint64_t)(uintptr_t)entry,
                         0, 0) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, H_COPY, H_PD, slot, PT_CALL) == OK &&
         revoke(SLOT_ROOT_PD, H_COPY) == OK;
    return ok;
}

static bool give(uint64_t slot, uint64_t to, uint64_t rights)
{
    return delegate(SLOT_ROOT_PD, slot, H_PD, to, rights) == OK;
}

/* Thread `i` of the attacker's domain, its time being `budget` of each `period`. */
static bool helper(enum thread i, uint32_t core, void (*entry)(void), uint64_t budget,
                   uint64_t period)
{
    bool ok =
        kit_thread(i, H_PD, core, entry, E_EMPTY, PRIORITY + 1) && destroy(KIT_TIME + i) == OK;
    kit_empty(KIT_TIME + i);
    return ok && sc_create(KIT_TIME + i, SLOT_ROOT_SYS, KIT_THREAD + i, PRIORITY + 1, budget,
                           period) == OK;
}

/* What only some attacks use: a function of no device, a region. */
static bool give_rest(void)
{
    bool ok = dv_create(H_DV, G_GUEST + OWN, SLOT_ROOT_SYS, FUNCTION, 0) == OK &&
              give(H_DV, E_DV, DV_IRQ);
    ok = ok && give(G_SPARE, E_REGION, MR_READ | MR_UNMAP);
    return ok && (!kit_stat->core[OTHER_CORE].online || give_portal(E_FAR, FAR, OTHER_CORE, serve));
}

/* A VMM with a worker on `core` and a vCPU, which runs `code`, on `vcpu_core`; its domain may use
 * OTHER_CORE besides. */
static bool make_attacker(uint32_t core, uint32_t vcpu_core, const uint8_t *code)
{
    once = 0;
    bool ok = kit_domain_with(H_PD, 1u << core | 1u << vcpu_core | 1u << OTHER_CORE, 64, 48) &&
              sm_create(H_BELL, SLOT_ROOT_PD, 0) == OK && sm_create(H_GO, SLOT_ROOT_PD, 0) == OK &&
              sm_create(H_ROOT, SLOT_ROOT_PD, 0) == OK;
    ok = ok && guest_make(OWN, code, H_PD, vcpu_core, guest_plain_vmm, 0);
    ok = ok && give(H_PD, E_PD, PD_CREATE | PD_TAKE | PD_MAP) &&
         give(G_GUEST + OWN, E_GUEST, PD_GRANT | PD_MAP) && give(H_BELL, E_BELL, SM_UP | SM_DOWN);
    ok = ok && give(H_ROOT, E_ROOT_BELL, SM_UP) && give(H_GO, E_GO, SM_DOWN) &&
         give(KIT_THREAD + OWN, E_HANDLER, EC_BIND);
    ok = ok && give(G_VCPU + OWN, E_VCPU, EC_RECALL | EC_SETUP);
    return ok && give_rest() && give_portal(E_CALL, SERVER, core, serve) &&
           give_portal(E_NAP, NAPPER, core, serve_late);
}

static void end_attacker(void)
{
    once = 0;
    for (uint32_t i = SERVER; i <= ROOT; i++)
        kit_end(i);
    guest_end(OWN);
    kit_destroy(H_PD);
    kit_destroy(H_BELL);
    kit_destroy(H_GO);
    kit_destroy(H_ROOT);
    for (uint64_t slot = H_PD; slot <= H_COPY; slot++)
        kit_empty(slot);
}

/* ---- measuring --------------------------------------------------------------- */
struct seen {
    uint64_t ticks, attacks, rounds, exits, status;
    uint64_t posts; /* recalls of the attacker's vCPU that it has seen: if they came from another
                       core, each was posted once */
};

static uint64_t posts(void)
{
    return kit_stat->core[1].online ? guest_stat(OWN)->exits[EVENT_RECALL] : 0;
}

static struct seen look(void)
{
    return (struct seen){tsc(),  rounds, guest_shared(VICTIM)->result[0], guest_exits(VICTIM),
                         status, posts()};
}

static struct seen since(struct seen from, struct seen to)
{
    return (struct seen){to.ticks - from.ticks,
                         to.attacks - from.attacks,
                         (uint32_t)(to.rounds - from.rounds),
                         to.exits - from.exits,
                         to.status,
                         to.posts - from.posts};
}

/* Over `window` ticks, once the attack has gone on for `settle`. */
static struct seen measure(const struct attack *a, uint64_t settle, uint64_t window)
{
    status = OK;
    argument = a->argument;
    once = a->once;
    bell_ring(H_GO);
    rest(settle);
    struct seen from = look();
    rest(window);
    struct seen to = look();
    once = 0;
    bell_ring(H_BELL); /* one that waits without a limit goes on, too, */
    rest(settle > PERIOD ? PERIOD + MS
                         : MS); /* but where it has a budget perhaps not before its next period */
    while (sm_down(H_BELL, 1) == OK)
        ;
    return since(from, to);
}

static void tell(const char *arena, const struct attack *a, bool ok)
{
    char name[128];
    format(name, sizeof(name), "%s: a neighbour that %s", arena, a->name);
    kit_check(name, ok);
}

/* Of the instructions of its core, the victim has at least the promise (percent) but for LOSS. */
static void keeps(const char *arena, const struct attack *a, const struct seen *s, uint64_t of_core,
                  uint64_t promise)
{
    uint64_t permille = of_core ? s->rounds * ROUND * 1000 / of_core : 0;
    bool ok = permille * 100 >= promise * 10 * (100 - LOSS);
    kit_print("     it has %lu.%lu %% of its core and is promised %lu %%; %lu attacks of %lu, "
              "exits %lu, posts %lu, status %lx\n",
              permille / 10, permille % 10, promise, s->attacks, cost[a - attacks] / 100, s->exits,
              s->posts, s->status);
    tell(arena, a, ok && s->attacks);
}

/* A timer whose interrupt nobody takes, each 0.8 us: so often, or oftener, the emulator goes on to
   the next core. Else a core whose deadline has come would wait for it, and attacker and victim
   would have turns of milliseconds. */
static void short_turns(void)
{
    enum { PIT = 0x40, RATE = 0x34, PIC1 = 0x21, PIC2 = 0xa1 };
    port_out8(PIC1, 0xff);
    port_out8(PIC2, 0xff);
    port_out8(PIT + 3, RATE);
    port_out8(PIT, 2);
    port_out8(PIT, 0);
}

/* Instructions of the victim's core, of those that all have executed. Without an exit they are its
 * own. */
static uint64_t of_victims_core(const struct attack *a, const struct seen *s)
{
    if (s->exits == 0)
        return s->rounds * ROUND;
    uint64_t others = s->attacks * cost[a - attacks] / 100 + s->posts * POST;
    return s->ticks > others ? s->ticks - others : 0;
}

static bool for_each(unsigned arena, bool (*begin)(void), void (*one)(const struct attack *a),
                     void (*end)(void), const char *name)
{
    bool ok = begin();
    for (uint32_t i = 0; ok && i < attack_count; i++)
        if (attacks[i].arenas & arena)
            one(&attacks[i]);
    end();
    kit_check(name, ok);
    return ok;
}

/* ---- victims ----------------------------------------------------------------- */
/* As many objects as with a victim, which are what a new one is looked for among. */
static bool victim_without_time(uint32_t core)
{
    return guest_make(VICTIM, guest_count, SLOT_ROOT_PD, core, guest_plain_vmm, 0);
}

static bool make_victim(uint32_t core, uint64_t budget)
{
    bool ok = victim_without_time(core) &&
              sc_create(G_TIME + VICTIM, SLOT_ROOT_SYS, G_VCPU + VICTIM, PRIORITY, budget, 0) == OK;
    return ok && wait_done(VICTIM, 1);
}

static void end_all(void)
{
    end_attacker();
    guest_end(VICTIM);
}

/* ---- what a round costs the attacker ----------------------------------------- */
static bool begin_far_costs(void)
{
    return victim_without_time(0) && make_attacker(0, 1, guest_sleep) &&
           helper(WORKER, 0, attacker, PERIOD, 0);
}
static bool begin_costs(void)
{
    return victim_without_time(0) && make_attacker(0, 0, guest_sleep) &&
           helper(WORKER, 0, attacker, PERIOD, 0);
}

static void one_cost(const struct attack *a)
{
    struct seen s = measure(a, MS / 10, MS);
    cost[a - attacks] = s.attacks ? s.ticks * 100 / s.attacks : 0;
}

static void costs(void) { for_each(~0u, begin_costs, one_cost, end_all, "an attacker alone"); }
/* A recall of a vCPU on another core, which never runs: it costs more than one on the same core. */
static void far_costs(void)
{
    for_each(FAR_VCPU, begin_far_costs, one_cost, end_all,
             "an attacker alone, its vCPU on another core");
}

/* ---- who has which core ------------------------------------------------------- */
static bool begin_same_attacker(void)
{
    return make_attacker(1, 1, guest_sleep) && helper(WORKER, 1, attacker, 5 * MS, PERIOD);
}
static bool begin_same(void) { return make_victim(1, MS) && begin_same_attacker(); }

static void one_same(const struct attack *a)
{
    struct seen s = measure(a, PERIOD + MS, 2 * PERIOD);
    keeps("worker on the victim's core", a, &s, s.ticks, 50);
}

static bool begin_apart(void)
{
    return make_victim(1, MS) && make_attacker(0, 0, guest_sleep) &&
           helper(WORKER, 0, attacker, PERIOD, 0);
}

static void one_apart(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, PERIOD);
    keeps("worker on another core", a, &s, of_victims_core(a, &s), 100);
}

static bool begin_far_wake(void)
{
    bool ok = make_victim(1, MS) && make_attacker(0, 1, guest_sleep) &&
              helper(WORKER, 0, attacker, PERIOD, 0);
    return ok && helper(WAKER, 1, woken, 5 * MS, PERIOD);
}

static void one_far_wake(const struct attack *a)
{
    struct seen s = measure(a, PERIOD + MS, 2 * PERIOD);
    keeps("woken from another core", a, &s, of_victims_core(a, &s), 50);
}

static bool begin_vcpu(const uint8_t *code)
{
    bool ok = make_victim(1, SLICE) && make_attacker(0, 1, code) &&
              helper(WORKER, 0, attacker, PERIOD, 0);
    return ok && sc_create(G_TIME + OWN, SLOT_ROOT_SYS, G_VCPU + OWN, PRIORITY, SLICE, 0) == OK &&
           wait_done(OWN, 1);
}

static bool begin_far_vcpu(void) { return begin_vcpu(guest_sleep); }
static bool begin_far_busy(void) { return begin_vcpu(guest_count); }

static void one_far_vcpu(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, 4 * PERIOD);
    keeps("worker on another core, vCPU on the victim's", a, &s, of_victims_core(a, &s), 50);
}

static void one_far_busy(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, 4 * PERIOD);
    keeps("worker on another core, a busy vCPU on the victim's", a, &s, of_victims_core(a, &s), 50);
}

/* Of what root's turns leave, which is nearly all here. */
static bool begin_roots(void)
{
    bool ok = make_victim(0, MS) && make_attacker(1, 1, guest_sleep) &&
              helper(WORKER, 1, attacker, PERIOD, 0);
    return ok && kit_thread(ROOT, SLOT_ROOT_PD, 0, turns, KIT_EMPTY, PRIORITY + 2);
}

static void one_roots(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, PERIOD);
    keeps("beside root", a, &s, of_victims_core(a, &s), 100);
}

/* Root makes the attacker's domain and ends it, while its worker is at it. All the machine's
   instructions count as the victim's core's, though root has some of them. */
static bool begin_ended(void) { return make_victim(1, MS); }

static void one_ended(const struct attack *a)
{
    bool ok = true;
    argument = a->argument;
    struct seen from = look();
    for (uint32_t i = 0; ok && i < LIVES; i++) {
        ok = begin_same_attacker();
        once = a->once;
        bell_ring(H_GO);
        rest(PERIOD);
        ok = destroy(H_PD) == OK && ok;
        end_attacker();
    }
    struct seen s = since(from, look());
    keeps("worker on the victim's core", a, &s, s.ticks, 50);
    kit_check("lives of an attacker", ok);
}

static bool begin_engaged(void)
{
    return make_victim(1, SC_WHOLE_CORE) && make_attacker(0, 0, guest_sleep) &&
           helper(WORKER, 0, attacker, PERIOD, 0);
}

static void one_engaged(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, PERIOD);
    keeps("beside a core of one's own", a, &s, of_victims_core(a, &s), 100);
}

static bool begin_left(void)
{
    return begin_engaged() && disengage(G_GUEST + VICTIM, AFTER_STRICT, 0, 0, 0) == OK &&
           becomes_set(&guest_stat(VICTIM)->disengaged);
}

static void one_left(const struct attack *a)
{
    struct seen s = measure(a, 2 * MS, PERIOD);
    tell("beside a guest without a VMM", a,
         is("its exits", s.exits, 0) && s.attacks &&
             is("it ended", guest_stat(VICTIM)->end_event, 0));
}

static bool start_iommu(void)
{
    return kit_cut(VTD, 1, H_UNIT, H_COPY) &&
           iommu_start(SLOT_ROOT_SYS, H_UNIT, IOMMU_VTD, 1).status == OK &&
           revoke(SLOT_ROOT_PD, H_COPY) == OK;
}

void kit_main(void)
{
    kit_check("every call has a row", attacks_have_all_calls());
    kit_check("memory", guests_memory());
    kit_check("an IOMMU", start_iommu());
    costs();
    kit_check("cores", guests_cores(CORES));
    short_turns();
    far_costs();
    for_each(SAME, begin_same, one_same, end_all, "a worker on the victim's core");
    for_each(APART, begin_apart, one_apart, end_all, "a worker on another core");
    for_each(FAR_WAKE, begin_far_wake, one_far_wake, end_all,
             "a worker that is woken from another core");
    for_each(FAR_VCPU, begin_far_vcpu, one_far_vcpu, end_all,
             "a worker on another core, a vCPU on the victim's");
    for_each(FAR_VCPU, begin_far_busy, one_far_busy, end_all,
             "a worker on another core, a busy vCPU on the victim's");
    for_each(ROOTS, begin_roots, one_roots, end_all,
             "a worker on another core, the victim on root's");
    for_each(ENDED, begin_ended, one_ended, end_all, "a domain that is ended");
    for_each(APART, begin_engaged, one_engaged, end_all, "beside a core of one's own");
    for_each(APART, begin_left, one_left, end_all, "beside a guest without a VMM");
}
