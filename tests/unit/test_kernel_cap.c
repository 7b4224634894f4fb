/* Capabilities: rights, copies, slots, and names that have gone stale. */
#include "rig.h"

static void a_copy_has_the_sources_rights_and_the_mask(void **state)
{
    (void)state;
    uint64_t sm = make_sm(0), a = slot_new(), b = slot_new();
    for (unsigned mask = 0; mask < 256; mask++) {
        give(sm, SLOT_ROOT_PD, a, mask);
        give(a, SLOT_ROOT_PD, b, ~mask | 1);
        assert_int_equal(root->caps[a].rights, mask);
        assert_int_equal(root->caps[b].rights, mask & (~mask | 1) & 0xff);
        assert_int_equal(graph(CALL_REVOKE, SLOT_ROOT_PD | a << 16, 0, 0, 0, 0), OK);
        assert_int_equal(graph(CALL_REVOKE, SLOT_ROOT_PD | b << 16, 0, 0, 0, 0), OK);
    }
}

/* Each call with a capability that has every right but the one it needs. */
static void each_call_needs_its_right(void **state)
{
    (void)state;
    const uint64_t pd = make_pd(PD_HOST, 16, 16), ec = make_ec(pd, 0, EC_THREAD), sm = make_sm(0),
                   handler = make_ec(pd, 0, EC_HANDLER);
    const uint64_t weak = slot_new(), to = slot_new(), sys = SLOT_ROOT_SYS, mr = RAM;
    const struct {
        uint64_t object, lacks, call, a1, a2, a3, arg;
    } row[] = {
        {pd, PD_CREATE, CALL_PD_CREATE, to | weak << 16, PD_HOST, 2, 1},
        {pd, PD_CREATE, CALL_EC_CREATE, to | weak << 16, 0x5000, 0, 1},
        {pd, PD_CREATE, CALL_PT_CREATE, to | weak << 16 | handler << 32, 0, 0, 1},
        {handler, EC_BIND, CALL_PT_CREATE, to | (uint64_t)LAB << 16 | weak << 32, 0, 0, 1},
        {pd, PD_CREATE, CALL_SM_CREATE, to | weak << 16, 0, 0, 1},
        {sys, SYS_TIME, CALL_SC_CREATE, to | weak << 16 | ec << 32, 1, 1, 1},
        {ec, EC_BIND, CALL_SC_CREATE, to | sys << 16 | weak << 32, 1, 1, 1},
        {sys, SYS_PORTS, CALL_PD_CREATE, to | (uint64_t)LAB << 16 | weak << 32,
         PD_HOST | PD_PORTS << 8, 2, 1},
        {sys, SYS_CORE, CALL_CORE_START, weak, 2, 0, 1},
        {mr, MR_READ, CALL_MR_MAP, weak | pd << 16 | (uint64_t)MR_READ << 32, 0, 0, 1},
        {mr, MR_WRITE, CALL_MR_MAP, weak | pd << 16 | (uint64_t)(MR_READ | MR_WRITE) << 32, 0, 0,
         1},
        {mr, MR_EXEC, CALL_MR_MAP, weak | pd << 16 | (uint64_t)(MR_READ | MR_EXEC) << 32, 0, 0, 1},
        {pd, PD_MAP, CALL_MR_MAP, mr | weak << 16 | (uint64_t)MR_READ << 32, 0, 0, 1},
        {mr, MR_UNMAP, CALL_MR_UNMAP, weak, 0, 0, 1},
        {pd, PD_MAP, CALL_MR_UNMAP, mr | weak << 16, 0, 0, 1},
        {mr, MR_SPLIT, CALL_MR_SPLIT, to | (uint64_t)LAB << 16 | weak << 32, 1, 0, 1},
        {pd, PD_CREATE, CALL_MR_SPLIT, to | weak << 16 | mr << 32, 1, 0, 1},
        {pd, PD_TAKE, CALL_DELEGATE, weak | 1 << 16, SLOT_ROOT_PD | to << 16, 255, 1},
        {pd, PD_GRANT, CALL_DELEGATE, SLOT_ROOT_PD | sm << 16, weak | to << 16, 255, 2},
        {pd, PD_GRANT, CALL_REVOKE, weak | 1 << 16, 0, 0, 1},
        {sm, RIGHT_DESTROY, CALL_DESTROY, weak, 0, 0, 1},
    };
    for (unsigned i = 0; i < COUNT(row); i++) {
        struct kernel_stat was = counters;
        give(row[i].object, SLOT_ROOT_PD, weak, RIGHT_ALL & ~row[i].lacks);
        assert_int_equal(graph(row[i].call, row[i].a1, row[i].a2, row[i].a3, 1, 1),
                         bad(BAD_RIGHT, (unsigned)row[i].arg));
        assert_int_equal(was.objects_free, counters.objects_free);
        assert_int_equal(was.frames_free, counters.frames_free);
        assert_int_equal(cap_vacant(root, to, 1), OK);
        assert_int_equal(graph(CALL_REVOKE, SLOT_ROOT_PD | weak << 16, 0, 0, 0, 0), OK);
    }
}

/* A table has as many slots as its domain's maker says, and its domain pays for them. */
static void a_table_is_as_large_as_wanted(void **state)
{
    (void)state;
    uint64_t sm = make_sm(0), lab = (uint64_t)LAB << 16;
    for (uint64_t order = 0; order <= PD_TABLE_MAX; order++) {
        uint64_t pd = slot_new(), frames = 1ull << order, slots = CAP_SLOTS << order;
        uint64_t kind = PD_HOST | PD_TABLE(order) << 8;
        assert_int_equal(graph(CALL_PD_CREATE, pd | lab, kind, frames, 4, 0), bad(BAD_ARG, 3));
        assert_int_equal(graph(CALL_PD_CREATE, pd | lab, kind, frames + 3, 4, 0), OK);
        assert_int_equal(((struct pd *)object_at(pd))->frames_left, 2);
        give(sm, pd, slots - 1, SM_UP);
        assert_int_equal(graph(CALL_DELEGATE, pd | (slots - 1) << 16, pd | 1 << 16, 255, 0, 0), OK);
        assert_int_equal(graph(CALL_DELEGATE, SLOT_ROOT_PD | sm << 16, pd | slots << 16, 255, 0, 0),
                         bad(BAD_CAP, 2));
        assert_int_equal(graph(CALL_DELEGATE, pd | slots << 16, pd | 2 << 16, 255, 0, 0),
                         bad(BAD_CAP, 1));
        assert_int_equal(end(pd), OK);
    }
    assert_int_equal(graph(CALL_PD_CREATE, slot_new() | lab,
                           PD_HOST | PD_TABLE(PD_TABLE_MAX + 1) << 8, 40, 4, 0),
                     bad(BAD_ARG, 2));
}

static void a_slot_is_a_slot(void **state)
{
    (void)state;
    static const uint64_t no_slots[] = {ROOT_SLOTS, ROOT_SLOTS + 1, 0xffff};
    uint64_t pd = make_pd(PD_HOST, 16, 16), lab = (uint64_t)LAB << 16;
    for (unsigned i = 0; i < COUNT(no_slots); i++) {
        uint64_t n = no_slots[i];
        assert_int_equal(graph(CALL_SM_CREATE, n | lab, 0, 0, 0, 0), bad(BAD_CAP, 1));
        assert_int_equal(graph(CALL_SM_CREATE, slot_new() | n << 16, 0, 0, 0, 0), bad(BAD_CAP, 1));
        assert_int_equal(graph(CALL_DELEGATE, SLOT_ROOT_PD | n << 16, pd | 1 << 16, 255, 0, 0),
                         bad(BAD_CAP, 1));
        assert_int_equal(graph(CALL_DELEGATE, SLOT_ROOT_PD | LAB << 16, pd | n << 16, 255, 0, 0),
                         bad(BAD_CAP, 2));
        assert_int_equal(graph(CALL_DELEGATE, SLOT_ROOT_PD | 1ull << 48, pd | 1 << 16, 255, 0, 0),
                         bad(BAD_CAP, 1));
        assert_int_equal(graph(CALL_REVOKE, pd | n << 16, 0, 0, 0, 0), bad(BAD_CAP, 1));
        assert_int_equal(graph(CALL_DESTROY, n, 0, 0, 0, 0), bad(BAD_CAP, 1));
    }
    assert_int_equal(graph(CALL_SM_CREATE, 0 | lab, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_REVOKE, pd, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_DESTROY, 0, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_SM_CREATE, pd | lab, 0, 0, 0, 0), bad(BUSY, 1));
    assert_int_equal(graph(CALL_COUNT, 0, 0, 0, 0, 0), BAD_CALL);
    assert_int_equal(graph(~0ull, 0, 0, 0, 0, 0), BAD_CALL);
}

static void a_capability_of_another_type(void **state)
{
    (void)state;
    uint64_t sm = make_sm(0), pd = make_pd(PD_HOST, 16, 16), to = slot_new();
    assert_int_equal(sm_up(root, pd), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_SM_CREATE, to | sm << 16, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_MR_MAP, sm | pd << 16 | (uint64_t)MR_READ << 32, 0, 0, 1, 0),
                     bad(BAD_CAP, 1));
    assert_int_equal(graph(CALL_DESTROY, SLOT_ROOT_SYS, 0, 0, 0, 0), bad(BAD_RIGHT, 1));
}

/* A destroyed object's slot gets a new object of the same type: old capabilities must not name it.
 */
static void a_stale_capability_names_nothing(void **state)
{
    (void)state;
    uint64_t old = make_sm(0), copy = slot_new();
    give(old, SLOT_ROOT_PD, copy, 255);
    void *was = object_at(old);
    assert_int_equal(end(old), OK);
    assert_int_equal(sm_up(root, copy), bad(BAD_CAP, 1));
    assert_int_equal(end(copy), bad(BAD_CAP, 1));
    uint64_t again = make_sm(0);
    assert_ptr_equal(object_at(again), was);
    assert_int_equal(sm_up(root, copy), bad(BAD_CAP, 1));
    assert_int_equal(end(copy), bad(BAD_CAP, 1));
    assert_int_equal(
        graph(CALL_DELEGATE, SLOT_ROOT_PD | copy << 16, SLOT_ROOT_PD | slot_new() << 16, 255, 0, 0),
        bad(BAD_CAP, 1));
    assert_int_equal(cap_vacant(root, copy, 1), OK); /* and its slot is free */
    assert_int_equal(sm_up(root, again), OK);
}

static void a_revoked_slot_is_empty(void **state)
{
    (void)state;
    uint64_t sm = make_sm(0), copy = slot_new();
    give(sm, SLOT_ROOT_PD, copy, SM_UP);
    assert_int_equal(graph(CALL_REVOKE, SLOT_ROOT_PD | copy << 16, 0, 0, 0, 0), OK);
    assert_int_equal(sm_up(root, copy), bad(BAD_CAP, 1));
    assert_int_equal(sm_up(root, sm), OK); /* revoking a copy is about that copy */
}

static void objects_run_out_for_the_payer_alone(void **state)
{
    (void)state;
    uint64_t poor = make_pd(PD_HOST, 8, 3),
             to[4] = {slot_new(), slot_new(), slot_new(), slot_new()};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(graph(CALL_SM_CREATE, to[i] | poor << 16, 0, 0, 0, 0), OK);
    assert_int_equal(graph(CALL_SM_CREATE, to[3] | poor << 16, 0, 0, 0, 0), NO_MEMORY);
    assert_int_equal(
        graph(CALL_PT_CREATE, to[3] | poor << 16 | make_ec(LAB, 0, EC_HANDLER) << 32, 0, 0, 0, 0),
        NO_MEMORY);
    assert_int_equal(graph(CALL_PD_CREATE, to[3] | poor << 16, PD_HOST, 2, 0, 0), NO_MEMORY);
    assert_int_equal(graph(CALL_EC_CREATE, to[3] | poor << 16, 0x5000, 0, 0, 0), NO_MEMORY);
    assert_int_equal(graph(CALL_MR_MAP, RAM | poor << 16 | (uint64_t)MR_READ << 32, 0, 0, 1, 0),
                     NO_MEMORY);
    make_sm(0);
    assert_int_equal(end(to[0]), OK);
    assert_int_equal(graph(CALL_SM_CREATE, to[3] | poor << 16, 0, 0, 0, 0), OK);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(a_copy_has_the_sources_rights_and_the_mask),
        RIG_TEST(each_call_needs_its_right),
        RIG_TEST(a_table_is_as_large_as_wanted),
        RIG_TEST(a_slot_is_a_slot),
        RIG_TEST(a_capability_of_another_type),
        RIG_TEST(a_stale_capability_names_nothing),
        RIG_TEST(a_revoked_slot_is_empty),
        RIG_TEST(objects_run_out_for_the_payer_alone),
    };
    return RIG_RUN(all);
}
