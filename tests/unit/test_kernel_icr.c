/* The ICR filter against a table of its own: machines with any owners, any APIC IDs, any value. */
#include "rig.h"
#include <icr.h>

enum { ROUNDS = 300000 };
enum { FIXED, LOWEST, SMI, NMI = 4, INIT, STARTUP };

static struct core saved[MAX_CORES];
static struct ec *mine[MAX_CORES], *theirs;
static struct ec *sender;
static uint64_t sent[MAX_CORES + 1]; /* what each core was sent; none: 0 */
static uint32_t strangers;           /* sent to an APIC ID that no core has */

static uint64_t seed = 0x2545f4914f6cdd1d;
static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x9e3779b97f4a7c15;
}
static uint64_t below(uint64_t n) { return (random64() >> 20) % n; }

static void note(uint64_t v)
{
    for (uint32_t i = 0; i < MAX_CORES; i++)
        if (cores[i].apic_id == v >> 32) {
            assert_int_equal(sent[i], 0);
            sent[i] = v;
            return;
        }
    strangers++;
}

static struct ec *make_vcpu(uint64_t pd)
{
    struct ec *ec = object_at(make_ec(pd, 0, EC_VCPU));
    ec->core_mode = CORE_OWNED;
    return ec;
}

static struct ec *any_owner(uint32_t core)
{
    if (below(2))
        return mine[core];
    return below(2) ? theirs : NULL;
}

/* Cores with owners: the sender's VM, another VM, nobody; a dead one, one that has not begun, one
   that waits for SIPI, one with an NMI on its way. */
static void any_machine(void)
{
    uint32_t id = (uint32_t)below(20), step = (uint32_t)(1 + below(9));
    for (uint32_t i = 0; i < MAX_CORES; i++, id += 1 + (uint32_t)below(step)) {
        cores[i].apic_id = id;
        mine[i]->core_mode = (uint8_t)(below(8) ? CORE_OWNED + below(2) : CORE_GIVEN);
        mine[i]->head.dead = !below(8);
        mine[i]->hazard = below(4) ? 0 : HAZARD_NMI;
        mine[i]->state = below(8) ? STATE_READY : STATE_HALTED;
        cores[i].owner = any_owner(i);
    }
    uint32_t at = (uint32_t)below(MAX_CORES);
    machine.core = &cores[at];
    sender = cores[at].owner = mine[at];
    sender->core_mode = (uint8_t)(CORE_OWNED + below(2));
    sender->head.dead = 0;
}

/* The VM's vCPUs are on all cores, one each; at the end as they were made. */
static void spread(struct pd *pd, uint64_t on, bool out)
{
    pd->cores = on;
    for (uint32_t i = 0; i < MAX_CORES; i++)
        mine[i]->core = out ? (uint8_t)i : 0;
}

static uint64_t any_icr(void)
{
    uint64_t icr = random64();
    uint32_t id = cores[below(MAX_CORES)].apic_id,
             cluster = (id >> 4) << 16 | (uint32_t)below(0x10000);
    switch (below(5)) {
    case 0: return icr;
    case 1: return (uint32_t)icr | (uint64_t)id << 32;
    case 2: return (uint32_t)icr | (uint64_t)cluster << 32;
    case 3: return (icr & 0xfffff) | (uint64_t)(0xffffffff - below(3)) << 32;
    default: return (icr & ~0xc0000ull & 0xffffffff) | (uint64_t)id << 32;
    }
}

/* x2APIC addressing once more (APM2 16.5, 16.14): which cores would the value reach on a bare
 * machine? */
static bool reaches(uint64_t icr, uint32_t from, uint32_t id)
{
    const uint32_t to = (uint32_t)(icr >> 32);
    switch (icr >> 18 & 3) {
    case 1: return id == from;
    case 2: return true;
    case 3: return id != from;
    default: break;
    }
    if (to == 0xffffffffu)
        return true;
    if (icr >> 11 & 1)
        return (to & 0xffff0000u) == id / 16 << 16 && (to & 0xffffu & 1u << id % 16) != 0;
    return id == to;
}

static void the_filter_lets_out_what_it_should(void **state)
{
    (void)state;
    uint64_t vm = make_pd(PD_GUEST, 4 * MAX_CORES, 2 * MAX_CORES),
             other = make_pd(PD_GUEST, 20, 20);
    for (uint32_t i = 0; i < MAX_CORES; i++)
        mine[i] = make_vcpu(vm);
    theirs = make_vcpu(other);
    struct pd *pd = mine[0]->pd;
    const uint64_t own_cores = pd->cores;
    spread(pd, ~0ull >> (64 - MAX_CORES), true);
    memcpy(saved, cores, sizeof saved);
    machine.icr = note;
    for (uint32_t i = 1; i < MAX_CORES; i++) /* all are up */
        machine.cpu[i] = machine.cpu[0];
    uint32_t heard = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        any_machine();
        memset(sent, 0, sizeof sent);
        bool waits[MAX_CORES];
        for (uint32_t i = 0; i < MAX_CORES; i++)
            waits[i] = mine[i]->hazard;
        const uint64_t icr = any_icr(), mode = icr >> 8 & 7, vector = icr & 0xff;
        const uint32_t from = machine.core->apic_id;
        bool taken = icr_write(sender, icr);
        assert_int_equal(taken,
                         sender->core_mode == CORE_DISENGAGED || (mode != INIT && mode != STARTUP));
        bool goes = mode == NMI || (mode <= LOWEST && vector >= 32), one = false;
        for (uint32_t i = 0; i < MAX_CORES; i++) {
            const struct ec *to = cores[i].owner;
            bool named = goes && to && to == mine[i] && to->core_mode >= CORE_OWNED &&
                         !to->head.dead && reaches(icr, from, cores[i].apic_id);
            bool expected = named && !(mode == LOWEST && one) &&
                            !(mode == NMI && (to->state == STATE_HALTED || waits[i]));
            one |= named;
            if (mode == NMI) {
                assert_int_equal(mine[i]->hazard & HAZARD_NMI,
                                 waits[i] || expected ? HAZARD_NMI : 0);
                assert_int_equal(sent[i] & 0xfffff, expected ? 0x4400 : 0);
            } else {
                assert_int_equal(sent[i] & 0xffffffff, expected ? vector | 1u << 14 : 0);
            }
            heard += expected;
        }
        assert_int_equal(theirs->hazard, HAZARD_START);
    }
    assert_int_equal(strangers, 0);
    spread(pd, own_cores, false);
    assert_true(heard > ROUNDS / 100); /* it does let something out */
    for (uint32_t i = 0; i < MAX_CORES; i++) {
        mine[i]->head.dead = 0;
        mine[i]->core_mode = CORE_SHARED;
        mine[i]->state = STATE_NEW;
    }
    theirs->core_mode = CORE_SHARED;
    memcpy(cores, saved, sizeof saved);
    on_core(0);
}

int main(void)
{
    const struct CMUnitTest all[] = {RIG_TEST(the_filter_lets_out_what_it_should)};
    return RIG_RUN(all);
}
