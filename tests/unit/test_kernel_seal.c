/* Sealed regions: one guest has them until it dies, and nobody before they are clean. */
#include "rig.h"

enum { SEALED = 150, AT = 0x40000000 };

static uint64_t guest, host, region, rest;
static uint64_t cleaned[SEALED]; /* how often */

static void note_page(void *page)
{
    uint64_t frame, bits;
    assert_true(ptab_lookup(kernel_space, (uint64_t)page, &frame, &bits));
    assert_true(bits & PTE_NX);
    assert_false(bits & PTE_USER);
    uint64_t i = frame - ((struct mr *)object_at(region))->first;
    assert_true(i < SEALED);
    cleaned[i]++;
}

static uint64_t map(uint64_t pd)
{
    return graph(CALL_MR_MAP, region | pd << 16 | (uint64_t)MR_READ << 32, AT, 0, SEALED, 0);
}
static uint64_t seal(uint64_t mr, uint64_t pd)
{
    return graph(CALL_MR_SEAL, mr | pd << 16, 0, 0, 0, 0);
}
static uint64_t scrub(void) { return graph(CALL_MR_SCRUB, region, 0, 0, 0, 0); }

static bool is_mapped(uint64_t pd)
{
    uint64_t frame, bits;
    return ptab_lookup(object_at(pd), AT, &frame, &bits);
}

static void begin(void)
{
    guest = make_pd(PD_GUEST, 20, 20), host = make_pd(PD_HOST, 20, 20);
    region = slot_new(), rest = slot_new();
    assert_int_equal(graph(CALL_MR_SPLIT, region | (uint64_t)LAB << 16 | (uint64_t)RAM << 32,
                           RAM_FRAMES - SEALED - 8, 0, 0, 0),
                     OK);
    assert_int_equal(
        graph(CALL_MR_SPLIT, rest | (uint64_t)LAB << 16 | region << 32, SEALED, 0, 0, 0), OK);
    machine.zeroed = note_page;
    memset(cleaned, 0, sizeof cleaned);
}

/* What was split off is LAB's and goes with it. */
static void finish(void) { ((struct mr *)object_at(RAM))->frames = RAM_FRAMES; }

static void refused(void)
{
    assert_int_equal(map(guest), bad(BUSY, 1));
    assert_int_equal(map(host), bad(BUSY, 1));
    assert_int_equal(
        graph(CALL_MR_SPLIT, slot_new() | (uint64_t)LAB << 16 | region << 32, 1, 0, 0, 0),
        bad(BUSY, 1));
    assert_int_equal(end(region), bad(BUSY, 1));
    assert_int_equal(seal(region, guest), bad(BUSY, 1));
}

static void who_may_seal_what(void **state)
{
    (void)state;
    begin();
    uint64_t copy = slot_new();
    give(region, SLOT_ROOT_PD, copy, RIGHT_ALL & ~(unsigned)MR_SEAL);
    assert_int_equal(seal(copy, guest), bad(BAD_RIGHT, 1));
    assert_int_equal(graph(CALL_MR_SCRUB, copy, 0, 0, 0, 0), bad(BAD_RIGHT, 1));
    copy = slot_new();
    give(guest, SLOT_ROOT_PD, copy, RIGHT_ALL & ~(unsigned)PD_MAP);
    assert_int_equal(seal(region, copy), bad(BAD_RIGHT, 1));
    assert_int_equal(seal(guest, guest), bad(BAD_CAP, 1));
    assert_int_equal(seal(region, region), bad(BAD_CAP, 1));
    assert_int_equal(seal(region, host), bad(BAD_ARG, 1));
    assert_int_equal(seal(DEVICE, guest), bad(BAD_ARG, 1));
    assert_int_equal(scrub(), OK); /* it is clean as it is */
    finish();
}

static void one_guest_keeps_it(void **state)
{
    (void)state;
    begin();
    assert_int_equal(map(guest), OK);
    assert_int_equal(map(host), OK);
    uint64_t other = make_pd(PD_GUEST, 20, 20);
    assert_int_equal(map(other), OK);
    assert_int_equal(seal(region, guest), OK);
    assert_true(is_mapped(guest));
    assert_false(is_mapped(host));
    assert_false(is_mapped(other));
    refused();
    assert_int_equal(scrub(), bad(BUSY, 1));
    assert_int_equal(graph(CALL_MR_UNMAP, region | guest << 16, 0, 0, 0, 0), bad(BUSY, 1));
    assert_int_equal(graph(CALL_MR_UNMAP, region, 0, 0, 0, 0), bad(BUSY, 1));
    assert_int_equal(end(other), OK); /* not its guest */
    refused();
    assert_int_equal(scrub(), bad(BUSY, 1));
    finish();
}

static void it_is_clean_before_the_next(void **state)
{
    (void)state;
    begin();
    assert_int_equal(map(guest), OK);
    assert_int_equal(seal(region, guest), OK);
    assert_int_equal(end(guest), OK);
    guest = make_pd(PD_GUEST, 20,
                    20); /* in the same slot of the table: the new one has no part in it */
    for (unsigned step = 0;; step++) {
        refused();
        uint64_t s = scrub();
        assert_true(step < SEALED / SCRUB_FRAMES ? s == AGAIN : s == OK);
        if (s == OK)
            break;
    }
    for (unsigned i = 0; i < SEALED; i++)
        assert_int_equal(cleaned[i], 1);
    uint64_t frame, bits;
    for (unsigned i = 0; i < SCRUB_FRAMES; i++)
        assert_false(ptab_lookup(kernel_space, SCRUB_WINDOW + i * PAGE_SIZE, &frame, &bits));
    assert_int_equal(map(host), OK);
    assert_int_equal(graph(CALL_MR_UNMAP, region, 0, 0, 0, 0), OK);
    assert_int_equal(end(region), OK);
    finish();
}

/* Its owner dies first: then nobody has it, and its guest's space is empty. */
static void it_ends_with_its_owner(void **state)
{
    (void)state;
    begin();
    uint64_t owner = make_pd(PD_HOST, 4, 4), part = slot_new();
    assert_int_equal(graph(CALL_MR_SPLIT, part | owner << 16 | region << 32, 100, 0, 0, 0), OK);
    assert_int_equal(graph(CALL_MR_MAP, part | guest << 16 | (uint64_t)MR_READ << 32, AT, 0, 1, 0),
                     OK);
    assert_int_equal(seal(part, guest), OK);
    assert_int_equal(end(owner), OK);
    assert_false(is_mapped(guest));
    assert_int_equal(graph(CALL_MR_SCRUB, part, 0, 0, 0, 0), bad(BAD_CAP, 1));
    assert_int_equal(end(guest), OK);
    finish();
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(who_may_seal_what),
        RIG_TEST(one_guest_keeps_it),
        RIG_TEST(it_is_clean_before_the_next),
        RIG_TEST(it_ends_with_its_owner),
    };
    return RIG_RUN(all);
}
