/*
 * Objects from creation to destruction: quotas, reuse, whole domains, and a
 * domain that makes random calls. After each the counters are as before.
 */
#include "calls.h"

enum slot { L_PD = C_LOCAL, L_SM, L_PT, L_CHILD, L_GRAND, L_TMP, L_DONE };
#define CYCLES   10000u
#define CALLS    20000u
#define WORKER   3u
#define SERVER   4u
#define PATIENCE 10000000000ull
/* Slots in the domain that makes random calls. */
#define OWN_PD   1u
#define OWN_DONE 2u
#define OWN_MR   3u

static bool given_back(struct kit_count before, const char *what)
{
    bool same = kit_same(before, kit_count());
    struct kit_count now = kit_count();
    if (!same)
        kit_print("     %s: frames %u -> %u, objects %u -> %u, tables %u -> %u\n", what,
                  before.frames, now.frames, before.objects, now.objects, before.tables,
                  now.tables);
    return same;
}

static void stale(void)
{
    bool ok = sm_create(L_SM, SLOT_ROOT_PD, 0) == OK &&
              delegate(SLOT_ROOT_PD, L_SM, SLOT_ROOT_PD, L_TMP, RIGHT_ALL) == OK;
    ok = ok && destroy(L_SM) == OK;
    ok = ok && STATUS_CODE(sm_up(L_SM)) == BAD_CAP && STATUS_CODE(sm_up(L_TMP)) == BAD_CAP;
    ok = ok && sm_create(L_SM, SLOT_ROOT_PD, 0) ==
                   OK; /* very likely in the same place of the kernel's table */
    ok = ok && STATUS_CODE(sm_up(L_TMP)) == BAD_CAP && STATUS_CODE(destroy(L_TMP)) == BAD_CAP &&
         sm_up(L_SM) == OK;
    ok = ok && destroy(L_SM) == OK;
    kit_check("a stale capability stays stale", ok);
}

static void rights(void)
{
    bool ok = sm_create(L_SM, SLOT_ROOT_PD, 0) == OK &&
              delegate(SLOT_ROOT_PD, L_SM, SLOT_ROOT_PD, L_TMP, SM_UP) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, L_TMP, SLOT_ROOT_PD, L_CHILD, RIGHT_ALL) ==
                   OK; /* a copy of a copy has no more */
    ok = ok && STATUS_CODE(sm_down(L_CHILD, 0)) == BAD_RIGHT &&
         STATUS_CODE(destroy(L_CHILD)) == BAD_RIGHT && sm_up(L_CHILD) == OK;
    ok = ok && revoke(SLOT_ROOT_PD, L_TMP) == OK && STATUS_CODE(sm_up(L_TMP)) == BAD_CAP &&
         sm_up(L_SM) == OK;
    ok = ok && destroy(L_SM) == OK && revoke(SLOT_ROOT_PD, L_CHILD) == OK;
    kit_check("a copy has no more rights than its source", ok);
}

/* Use up one quota of a small domain; nobody else notices, and all comes back with the domain. */
static void quota(void)
{
    struct kit_count before = kit_count();
    bool ok = pd_create(L_PD, SLOT_ROOT_PD, 0, PD_HOST, 0, 8, 5, 0) == OK;
    uint64_t made = 0, s;
    for (;;) {
        s = sm_create(C_LOCAL + 20 + made, L_PD, 0);
        if (s != OK)
            break;
        made++;
    }
    ok = ok && made == 5 && s == NO_MEMORY;
    for (uint64_t i = 0; i < made; i++)
        ok = ok && destroy(C_LOCAL + 20 + i) == OK;
    for (made = 0; made < 16; made++) { /* three tables each */
        s = mr_map(C_MR, L_PD, MR_READ, made << 39 | 0x200000, 0, 1);
        if (s != OK)
            break;
    }
    ok = ok && made == 2 && s == NO_MEMORY;
    ok = ok && mr_unmap(C_MR, 0) == OK && sm_create(L_SM, SLOT_ROOT_PD, 0) == OK &&
         destroy(L_SM) == OK && destroy(L_PD) == OK;
    kit_check("quotas", given_back(before, "quotas") && ok);
}

static void serve(void) { pt_reply(1); }
static void idle(void)
{
    for (;;)
        bell_wait(OWN_DONE, 0);
}

/* A domain with something of everything in it, and a domain in that. */
static bool one_life(uint32_t i)
{
    bool ok = kit_domain(L_PD, 64, 40);
    ok = ok && pd_create(L_CHILD, L_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 10, 6, 0) == OK &&
         pd_create(L_GRAND, L_PD, 0, PD_HOST, 0, 4, 4, 0) == OK;
    ok = ok && kit_handler(SERVER, L_PD, 0) &&
         pt_create(L_PT, L_PD, KIT_THREAD + SERVER, address_of((void *)(uintptr_t)serve), 0, i) ==
             OK;
    ok = ok && sm_create(L_SM, L_PD, 0) == OK &&
         delegate(SLOT_ROOT_PD, L_SM, L_PD, OWN_DONE, SM_DOWN) == OK;
    ok = ok && kit_thread(WORKER, L_PD, 0, idle, KIT_EMPTY, 31) && pt_call(L_PT, 1) == OK;
    ok = ok && ec_create(L_TMP, L_CHILD, 0, EC_VCPU, 0, 0, 0, 0).status == OK;
    ok = ok && mr_map(C_MR, L_CHILD, MR_READ | MR_WRITE, 0, 0, C_MR_FRAMES / 2) == OK;
    return destroy(L_PD) == OK && ok;
}

static void cycles(void)
{
    struct kit_count before = kit_count();
    bool ok = true;
    uint32_t i = 0;
    for (; ok && i < CYCLES; i++)
        ok = one_life(i) && kit_same(before, kit_count());
    kit_print("     %u domains made and destroyed\n", i);
    kit_check("10,000 domains", given_back(before, "domains") && ok);
}

/* Random calls with arguments that are often nearly right. */
static uint64_t near_value(void)
{
    static const uint64_t values[] = {0,          1,        OWN_PD, OWN_DONE,   OWN_MR,
                                      8,          9,        10,     4096,       0x400000,
                                      0x40000000, 0x200000, ~0ull,  1ull << 63, 0x7fffffffe000};
    uint64_t r = kit_random();
    if (r & 1)
        return values[(r >> 8) % (sizeof(values) / sizeof(values[0]))];
    if (r & 2)
        return r >> 8 & 15;
    return r & 4 ? r >> 8 & 0xff : kit_random();
}

static uint64_t near_slots(void)
{
    uint64_t r = kit_random();
    return (r & 15) | (r >> 4 & 15 ? 1ull : r >> 8 & 15) << 16 | (r >> 12 & 15) << 32 |
           (r >> 16 & 3) << 48;
}

static void random_calls(void)
{
    for (uint32_t i = 0; i < CALLS; i++) {
        uint64_t call = kit_random() % (CALL_COUNT + 1),
                 a1 = kit_random() & 1 ? near_slots() : near_value();
        if (call == CALL_PT_REPLY || (call == CALL_DESTROY && a1 == OWN_PD) ||
            (call == CALL_REVOKE && (a1 == OWN_PD || a1 >> 16 <= OWN_DONE)))
            continue;
        /* Any answer is right; the kernel's invariant is what is tested. */
        if (call == CALL_SM_DOWN)
            ignore(call5(call, a1, tsc() + 1000, 0, 0, 0).status);
        else
            ignore(call5(call, a1, near_value(), near_value(), near_value(), near_value()).status);
    }
    bell_ring(OWN_DONE);
    kit_park();
}

static void fuzz(void)
{
    struct kit_count before = kit_count();
    bool ok = kit_domain(L_PD, 200, 100) && sm_create(L_DONE, SLOT_ROOT_PD, 0) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, L_PD, L_PD, OWN_PD, RIGHT_ALL & ~RIGHT_DESTROY) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, L_DONE, L_PD, OWN_DONE, SM_UP) == OK &&
         delegate(SLOT_ROOT_PD, C_MR, L_PD, OWN_MR, MR_READ | MR_WRITE | MR_UNMAP) == OK;
    ok = ok && kit_thread(WORKER, L_PD, 0, random_calls, KIT_EMPTY, 10);
    ok = ok && sm_down(L_DONE, tsc() + PATIENCE) == OK;
    ok &= destroy(L_PD) == OK;
    ok &= destroy(L_DONE) == OK;
    kit_check("random calls", given_back(before, "random calls") && ok);
}

/* An object may end itself. */
static void end_self(void)
{
    bell_ring(OWN_DONE);
    kit_destroy(OWN_PD);
}

static void suicide(void)
{
    struct kit_count before = kit_count();
    bool ok = kit_domain(L_PD, 64, 32) && sm_create(L_DONE, SLOT_ROOT_PD, 0) == OK &&
              delegate(SLOT_ROOT_PD, L_PD, L_PD, OWN_PD, RIGHT_ALL) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, L_DONE, L_PD, OWN_DONE, SM_UP) == OK &&
         kit_thread(WORKER, L_PD, 0, end_self, KIT_EMPTY, 29);
    ok = ok && sm_down(L_DONE, tsc() + PATIENCE) == OK;
    bell_wait(L_DONE, tsc() + 10000000); /* let it come to its end */
    ok = ok && STATUS_CODE(destroy(L_PD)) == BAD_CAP && destroy(L_DONE) == OK;
    kit_check("a domain ends itself", given_back(before, "suicide") && ok);
}

void life_test(void)
{
    stale();
    rights();
    quota();
    suicide();
    fuzz();
    cycles();
}
