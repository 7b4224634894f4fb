/* Random graphs: whatever root makes, copies, maps and destroys in whatever order, nothing is lost
 * and nothing is left. */
#include "rig.h"

enum { STEPS = 10000, FIRST = RIG_FREE, SLOTS = 200 };

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

/* Half of the time a slot that is likely to hold something. */
static uint64_t any_slot(void)
{
    return random_below(20) ? FIRST + random_below(SLOTS) : random_below(CAP_SLOTS + 8);
}
static uint64_t any_pd(void) { return random_below(4) ? any_slot() : LAB; }
static uint64_t any_va(void) { return random_below(1u << random_below(20)) << PAGE_SHIFT; }

/* The model: which slot must hold a capability to which object, as root sees it. */
static struct {
    uint64_t gen;
    uint16_t index;
} model[CAP_SLOTS];

static bool model_live(uint64_t slot)
{
    const struct head *h = &objects[model[slot].index].head;
    return model[slot].gen && h->gen == model[slot].gen && h->type != OBJ_NONE;
}

static void model_set(uint64_t slot, const void *object)
{
    model[slot].index = object_index(object);
    model[slot].gen = ((const struct head *)object)->gen;
}

static uint64_t make_something(uint64_t to)
{
    uint64_t payer = any_pd(), sys = SLOT_ROOT_SYS;
    switch (random_below(7)) {
    case 0:
        return graph(CALL_PD_CREATE, to | payer << 16 | sys << 32, random_below(2),
                     2 + random_below(40), random_below(40), 0);
    case 1:
        return graph(CALL_EC_CREATE,
                     to | payer << 16 | random_below(2) << 32 | random_below(2) << 48, any_va(),
                     EVENTS, 0x1000, 0x2000);
    case 2:
        return graph(CALL_EC_CREATE,
                     to | payer << 16 | random_below(2) << 32 | (uint64_t)EC_VCPU << 48, 0, EVENTS,
                     0x1000, 0x2000);
    case 3:
        return graph(CALL_SC_CREATE, to | sys << 16 | any_slot() << 32, random_below(PRIORITIES),
                     1 + random_below(500), random_below(2) * 1000, 0);
    case 4:
        return graph(CALL_PT_CREATE, to | payer << 16 | any_slot() << 32, 0x3000,
                     random_below(1 << 12), to, 0);
    case 5: return graph(CALL_SM_CREATE, to | payer << 16, random_below(3), 0, 0, 0);
    default:
        return graph(CALL_MR_SPLIT,
                     to | payer << 16 | (random_below(2) ? (uint64_t)RAM : any_slot()) << 32,
                     random_below(4096), 0, 0, 0);
    }
}

static void step(void)
{
    uint64_t slot = any_slot(), to = FIRST + random_below(SLOTS), was = root->caps[to].gen;
    switch (random_below(10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (make_something(to) == OK) {
            assert_false(was && model_live(to));
            model_set(to, object_at(to));
        }
        break;
    case 4:
        graph(CALL_MR_MAP,
              (random_below(2) ? (uint64_t)RAM : slot) | any_pd() << 16 |
                  (MR_READ | random_below(8)) << 32,
              any_va(), random_below(2048), 1 + random_below(1u << random_below(12)), 0);
        break;
    case 5:
        graph(CALL_MR_UNMAP, (random_below(2) ? (uint64_t)RAM : slot) | any_pd() << 16, 0, 0, 0, 0);
        break;
    case 6:
        if (graph(CALL_DELEGATE, SLOT_ROOT_PD | slot << 16, SLOT_ROOT_PD | to << 16, RIGHT_ALL, 0,
                  0) == OK)
            model_set(to, object_at(slot));
        break;
    case 7: pass(random_below(700)); break;
    default:
        if (slot >= FIRST && slot < CAP_SLOTS && end(slot) == OK)
            assert_false(model_live(slot));
    }
}

/* Threads that run do something, too: call, sleep, ring, fault, answer. */
static void act(uint32_t core)
{
    on_core(core);
    struct ec *ec = current();
    if (ec && ec->kind == EC_VCPU) {
        vm_exit(ec, random_below(2) ? EXIT_HLT : EXIT_INTR);
    } else if (ec) {
        switch (random_below(5)) {
        case 0:
            ec->utcb->mtd = random_below(1 << 12) & ~(uint64_t)MTD_TIMER;
            reply(ec, 2);
            break;
        case 1: fault(ec, 13, 0); break;
        case 2:
            call(ec, CALL_SM_DOWN, 1 + random_below(8), random_below(2) * (machine.tsc + 100));
            break;
        case 3: call(ec, CALL_PT_CALL, 1 + random_below(8), 1); break;
        default: call(ec, CALL_SM_UP, 1 + random_below(8), 0);
        }
    }
    deliver();
    on_core(0);
}

/* Root hands out what it has, so that threads have something to call. */
static void hand_out(void)
{
    uint64_t pd = any_slot(),
             to = random_below(2) ? 1 + random_below(8) : EVENTS + random_below(EVENT_COUNT);
    graph(CALL_REVOKE, pd | to << 16, 0, 0, 0, 0);
    graph(CALL_DELEGATE, SLOT_ROOT_PD | any_slot() << 16, pd | to << 16, RIGHT_ALL, 0, 0);
}

static void model_agrees(void)
{
    for (uint64_t slot = FIRST; slot < FIRST + SLOTS; slot++) {
        void *o;
        const struct head *h = &objects[model[slot].index].head;
        uint64_t s = cap_find(root, slot, (enum object_type)h->type, 0, 1, &o);
        assert_int_equal(s == OK, model_live(slot));
        if (s == OK)
            assert_ptr_equal(o, h);
    }
}

static void ten_thousand_random_steps(void **state)
{
    (void)state;
    memset(model, 0, sizeof model);
    seed = 0x9e3779b97f4a7c15;
    for (uint32_t i = 0; i < STEPS; i++) {
        step();
        hand_out();
        act(i & 1);
        if (i % 64 == 0)
            model_agrees();
    }
    ((struct mr *)object_at(RAM))->frames = RAM_FRAMES; /* what was split off belonged to LAB */
    graph(CALL_MR_UNMAP, RAM, 0, 0, 0, 0);
}

/* The same VM, made and ended over and over: rig_end() compares all counters after the last. */
static void a_vm_made_and_ended_a_thousand_times(void **state)
{
    (void)state;
    uint64_t vmm = slot_new(), guest = slot_new(), vcpu = slot_new(), handler = slot_new(),
             portal = slot_new(), time = slot_new();
    uint64_t lab = (uint64_t)LAB << 16, sys = SLOT_ROOT_SYS;
    for (unsigned i = 0; i < 1000; i++) {
        struct kernel_stat was = counters;
        assert_int_equal(graph(CALL_PD_CREATE, vmm | lab, PD_HOST, 40, 40, 0), OK);
        assert_int_equal(graph(CALL_PD_CREATE, guest | vmm << 16 | sys << 32, PD_GUEST, 20, 20, 0),
                         OK);
        assert_int_equal(
            graph(CALL_EC_CREATE, vcpu | guest << 16 | (uint64_t)EC_VCPU << 48, 0, EVENTS, 0, 0),
            OK);
        assert_int_equal(graph(CALL_EC_CREATE, handler | vmm << 16 | (uint64_t)EC_HANDLER << 48,
                               0x5000, EVENTS, 0, 0),
                         OK);
        assert_int_equal(graph(CALL_PT_CREATE, portal | vmm << 16 | handler << 32, 0, 0, 0, 0), OK);
        give(portal, guest, EVENTS + EVENT_START, PT_CALL);
        assert_int_equal(
            graph(CALL_MR_MAP, RAM | guest << 16 | (uint64_t)MR_READ << 32, 0, 0, 1024, 0), OK);
        assert_int_equal(graph(CALL_SC_CREATE, time | sys << 16 | vcpu << 32, 5, SLICE, 0, 0), OK);
        assert_ptr_equal(current(), object_at(handler));
        assert_int_equal(end(vmm), OK);
        assert_int_equal(counters.frames_free, was.frames_free);
        assert_int_equal(counters.objects_free, was.objects_free);
        assert_int_equal(counters.table_frames, was.table_frames);
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {RIG_TEST(a_vm_made_and_ended_a_thousand_times),
                                     RIG_TEST(ten_thousand_random_steps)};
    return RIG_RUN(all);
}
