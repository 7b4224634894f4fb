/* Regions and page tables: sizes, bounds, conflicts, exact undo, and who pays. */
#include <virt.h>
#include "rig.h"

enum { PERM_R = MR_READ, PERM_RW = MR_READ | MR_WRITE, PERM_RX = MR_READ | MR_EXEC };
#define PAGES_2M 512ull
#define PAGES_1G (512ull * 512)

static uint64_t pd_slot;
static struct pd *pd;

static void make_space(void)
{
    pd_slot = make_pd(PD_GUEST, 60, 60);
    pd = object_at(pd_slot);
}

static uint64_t map(uint64_t mr, uint64_t perm, uint64_t va, uint64_t first, uint64_t frames)
{
    return graph(CALL_MR_MAP, mr | pd_slot << 16 | perm << 32, va, first, frames, 0);
}
static uint64_t unmap(uint64_t mr) { return graph(CALL_MR_UNMAP, mr | pd_slot << 16, 0, 0, 0, 0); }

static void assert_at(uint64_t va, uint64_t frame, uint64_t bits)
{
    uint64_t f, b;
    assert_true(ptab_lookup(pd, va, &f, &b));
    assert_int_equal(f, frame);
    assert_int_equal(b, bits | PTE_PRESENT | PTE_USER);
}
static void assert_nothing_at(uint64_t va)
{
    uint64_t f, b;
    assert_false(ptab_lookup(pd, va, &f, &b));
}

static void the_largest_pages_that_fit(void **state)
{
    (void)state;
    static const struct {
        uint64_t va, first, frames, tables, large; /* large: is the first leaf */
    } row[] = {
        {0, 0, 1, 3, 0},
        {0, 0, PAGES_2M, 2, 1},
        {0, 0, PAGES_1G, 1, 1},
        {0, 0, PAGES_1G + PAGES_2M + 1, 3, 1},
        {0, 1, PAGES_2M, 3, 0},                     /* frames not aligned like addresses */
        {PAGE_SIZE, 1, PAGES_2M - 1, 3, 0},         /* aligned alike, but too short */
        {PAGE_SIZE, 1, 2 * PAGES_2M - 1, 3, 0},     /* small up to the boundary, then large */
        {PAGES_2M << 12, PAGES_2M, PAGES_1G, 3, 1}, /* crosses a GiB */
        {511ull << 39 >> 1 & ~0x7fffffffffull, 0, PAGES_2M, 2, 1},
    };
    for (unsigned i = 0; i < COUNT(row); i++) {
        make_space();
        uint32_t left = pd->frames_left;
        assert_int_equal(map(RAM, PERM_RW, row[i].va, row[i].first, row[i].frames), OK);
        assert_int_equal(left - pd->frames_left, row[i].tables);
        assert_int_equal(pd->tables, row[i].tables);
        uint64_t nx_w = PTE_NX | PTE_WRITE, last = row[i].frames - 1, f, b;
        assert_at(row[i].va, RAM_FRAME + row[i].first, nx_w | (row[i].large ? PTE_LARGE : 0));
        assert_true(ptab_lookup(pd, row[i].va + (last << 12), &f, &b));
        assert_int_equal(f, RAM_FRAME + row[i].first + last);
        assert_nothing_at(row[i].va + (row[i].frames << 12));
        assert_int_equal(unmap(RAM), OK);
        for (uint64_t page = 0; page < row[i].frames; page += page < 1024 ? 1 : 509)
            assert_nothing_at(row[i].va + (page << 12));
        assert_int_equal(end(pd_slot), OK);
    }
}

static void bounds_of_a_mapping(void **state)
{
    (void)state;
    static const uint64_t top = USER_END;
    static const struct {
        uint64_t perm, va, first, frames, status;
    } row[] = {
        {0, 0, 0, 1, BAD_ARG | 1 << 8},
        {MR_WRITE, 0, 0, 1, BAD_ARG | 1 << 8},
        {MR_READ | 8, 0, 0, 1, BAD_ARG | 1 << 8},
        {PERM_R, 1, 0, 1, BAD_ARG | 2 << 8},
        {PERM_R, USER_END, 0, 1, BAD_ARG | 2 << 8},
        {PERM_R, USER_END - PAGE_SIZE, 0, 2, BAD_ARG | 2 << 8},
        {PERM_R, 1ull << 63, 0, 1, BAD_ARG | 2 << 8},
        {PERM_R, ~0xfffull, 0, 1, BAD_ARG | 2 << 8},
        {PERM_R, 0, RAM_FRAMES, 1, BAD_ARG | 3 << 8},
        {PERM_R, 0, ~0ull, 2, BAD_ARG | 3 << 8},
        {PERM_R, 0, 0, 0, BAD_ARG | 4 << 8},
        {PERM_R, 0, 0, RAM_FRAMES + 1, BAD_ARG | 4 << 8},
        {PERM_R, 0, RAM_FRAMES - 1, 2, BAD_ARG | 4 << 8},
        {PERM_R, 0, 1, ~0ull, BAD_ARG | 4 << 8},
        {PERM_R, 0, 1, RAM_FRAMES - 1, BAD_ARG | 4 << 8}, /* more than MAX_LEAVES_PER_MAP leaves */
    };
    make_space();
    for (unsigned i = 0; i < COUNT(row); i++) {
        uint32_t left = pd->frames_left, objects_left = pd->objects_left;
        assert_int_equal(map(RAM, row[i].perm, row[i].va, row[i].first, row[i].frames),
                         row[i].status);
        assert_int_equal(pd->frames_left, left);
        assert_int_equal(pd->objects_left, objects_left);
    }
    assert_int_equal(map(RAM, PERM_R, top - PAGE_SIZE, RAM_FRAMES - 1, 1), OK);
    assert_at(top - PAGE_SIZE, RAM_FRAME + RAM_FRAMES - 1, PTE_NX);
}

static void permissions_and_kinds(void **state)
{
    (void)state;
    make_space();
    assert_int_equal(map(RAM, PERM_R, 0, 0, 1), OK);
    assert_int_equal(map(RAM, PERM_RX, 0x1000, 0, 1), OK);
    assert_int_equal(map(RAM, PERM_RW | MR_EXEC, 0x2000, 0, 1), OK);
    assert_int_equal(map(DEVICE, PERM_RW, 0x3000, 0, 1), OK);
    assert_at(0, RAM_FRAME, PTE_NX);
    assert_at(0x1000, RAM_FRAME, 0);
    assert_at(0x2000, RAM_FRAME, PTE_WRITE);
    assert_at(0x3000, DEVICE_FRAME, PTE_WRITE | PTE_NX | PTE_UNCACHED);
}

static void a_conflict_changes_nothing(void **state)
{
    (void)state;
    make_space();
    assert_int_equal(map(DEVICE, PERM_R, 0x600000, 1, 1),
                     OK); /* one small page in the fourth 2 MiB */
    uint32_t left = pd->frames_left, objects_left = pd->objects_left;
    static const uint64_t bad_va[][2] = {
        {0, 4 * 512}, {0x600000, 1}, {0x5ff000, 2}, {0x400000, 1024}, {0, PAGES_1G}};
    for (unsigned i = 0; i < COUNT(bad_va); i++) {
        assert_int_equal(map(RAM, PERM_R, bad_va[i][0], bad_va[i][0] >> 12, bad_va[i][1]),
                         bad(BUSY, 2));
        assert_int_equal(pd->frames_left, left);
        assert_int_equal(pd->objects_left, objects_left);
        if (bad_va[i][0] != 0x600000)
            assert_nothing_at(bad_va[i][0]);
    }
    assert_at(0x600000, DEVICE_FRAME + 1, PTE_NX | PTE_UNCACHED);
    assert_int_equal(map(RAM, PERM_R, 0, 0, 3 * 512), OK);            /* up to it */
    assert_int_equal(map(RAM, PERM_R, 0x200000, 0, 1), bad(BUSY, 2)); /* inside a large page */
    assert_int_equal(unmap(RAM), OK);
    assert_at(0x600000, DEVICE_FRAME + 1, PTE_NX | PTE_UNCACHED);
}

static void tables_run_out_before_anything_changes(void **state)
{
    (void)state;
    pd_slot = make_pd(PD_GUEST, 2 + 3, 20); /* its two own frames, and three tables */
    pd = object_at(pd_slot);
    assert_int_equal(map(RAM, PERM_R, 0x1ff000, 0x1ff, 2),
                     NO_MEMORY); /* two last-level tables: four in all */
    assert_int_equal(pd->frames_left, 3);
    assert_int_equal(pd->objects_left, 20);
    assert_nothing_at(0x1ff000);
    assert_int_equal(map(RAM, PERM_R, 0x1fe000, 0, 2), OK);
    assert_int_equal(pd->frames_left, 0);
    assert_int_equal(unmap(RAM), OK);
    assert_int_equal(map(RAM, PERM_R, 0x1fe000, 0, 2), OK); /* tables stay */
}

static void unmap_is_about_one_domain_or_all(void **state)
{
    (void)state;
    make_space();
    uint64_t first = pd_slot;
    struct pd *first_pd = pd;
    assert_int_equal(map(RAM, PERM_R, 0x1000, 0, 1), OK);
    assert_int_equal(map(RAM, PERM_R, 0x5000, 0, 1), OK);
    make_space();
    assert_int_equal(map(RAM, PERM_R, 0x1000, 0, 1), OK);
    assert_int_equal(map(DEVICE, PERM_R, 0x2000, 0, 1), OK);
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | first << 16, 0, 0, 0, 0), OK);
    assert_at(0x1000, RAM_FRAME, PTE_NX);
    uint64_t f, b;
    assert_false(ptab_lookup(first_pd, 0x1000, &f, &b));
    assert_false(ptab_lookup(first_pd, 0x5000, &f, &b));
    assert_int_equal(graph(CALL_MR_UNMAP, RAM, 0, 0, 0, 0), OK);
    assert_nothing_at(0x1000);
    assert_at(0x2000, DEVICE_FRAME, PTE_NX | PTE_UNCACHED);
    assert_int_equal(first_pd->objects_left, 60);
}

/* The region's end belongs to LAB and goes with it; the test gives the length back. */
static void a_split_region_is_two(void **state)
{
    (void)state;
    uint64_t rest = slot_new(), weak = slot_new(), last = slot_new(), lab = (uint64_t)LAB << 16;
    make_space();
    assert_int_equal(graph(CALL_MR_SPLIT, rest | lab | (uint64_t)DEVICE << 32, 0, 0, 0, 0),
                     bad(BAD_ARG, 2));
    assert_int_equal(
        graph(CALL_MR_SPLIT, rest | lab | (uint64_t)DEVICE << 32, DEVICE_FRAMES, 0, 0, 0),
        bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_MR_SPLIT, rest | lab | (uint64_t)DEVICE << 32, ~0ull, 0, 0, 0),
                     bad(BAD_ARG, 2));
    assert_int_equal(map(DEVICE, PERM_R, 0, 0, 1), OK);
    assert_int_equal(graph(CALL_MR_SPLIT, rest | lab | (uint64_t)DEVICE << 32, 10, 0, 0, 0),
                     bad(BUSY, 1)); /* mapped */
    assert_int_equal(unmap(DEVICE), OK);
    assert_int_equal(graph(CALL_MR_SPLIT, rest | lab | (uint64_t)DEVICE << 32, 10, 0, 0, 0), OK);
    assert_int_equal(map(DEVICE, PERM_R, 0, 10, 1), bad(BAD_ARG, 3));
    assert_int_equal(map(DEVICE, PERM_R, 0, 9, 2), bad(BAD_ARG, 4));
    assert_int_equal(map(rest, PERM_RW, 0, 0, 6), OK);
    assert_at(0x5000, DEVICE_FRAME + 15, PTE_NX | PTE_WRITE | PTE_UNCACHED);
    assert_int_equal(unmap(rest), OK);
    give(rest, SLOT_ROOT_PD, weak, MR_READ | MR_SPLIT);
    assert_int_equal(graph(CALL_MR_SPLIT, last | lab | weak << 32, 3, 0, 0, 0), OK);
    assert_int_equal(root->caps[last].rights,
                     MR_READ | MR_SPLIT); /* no more rights than the one it came from */
    ((struct mr *)object_at(DEVICE))->frames = DEVICE_FRAMES; /* as it was, for the next test */
}

static void a_mapped_region_is_not_destroyed_alone(void **state)
{
    (void)state;
    uint64_t rest = slot_new();
    make_space();
    assert_int_equal(
        graph(CALL_MR_SPLIT, rest | (uint64_t)LAB << 16 | (uint64_t)RAM << 32, 1024, 0, 0, 0), OK);
    assert_int_equal(map(rest, PERM_R, 0, 0, 1), OK);
    assert_int_equal(end(rest), bad(BUSY, 1));
    assert_int_equal(unmap(rest), OK);
    assert_int_equal(end(rest), OK);
    ((struct mr *)object_at(RAM))->frames = RAM_FRAMES;
}

/* A region that dies with its owner leaves no mapping in anybody else's space. */
static void a_region_that_falls_is_mapped_nowhere(void **state)
{
    (void)state;
    uint64_t owner = make_pd(PD_HOST, 8, 8), rest = slot_new();
    make_space();
    assert_int_equal(graph(CALL_MR_SPLIT, rest | owner << 16 | (uint64_t)RAM << 32, 1024, 0, 0, 0),
                     OK);
    assert_int_equal(map(rest, PERM_R, 0x3000, 5, 7), OK);
    assert_int_equal(end(owner), OK);
    assert_nothing_at(0x3000);
    assert_int_equal(pd->objects_left, 60);
    ((struct mr *)object_at(RAM))->frames = RAM_FRAMES;
}

static void a_utcb_takes_its_page(void **state)
{
    (void)state;
    uint64_t host = make_pd(PD_HOST, 16, 16), slot = slot_new(), create = slot | host << 16;
    assert_int_equal(graph(CALL_MR_MAP, RAM | host << 16 | (uint64_t)PERM_R << 32, 0x5000, 0, 1, 0),
                     OK);
    assert_int_equal(STATUS_CODE(graph(CALL_EC_CREATE, create, 0x5000, 0, 0, 0)), BUSY);
    assert_int_equal(graph(CALL_EC_CREATE, create, 0x5001, 0, 0, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_EC_CREATE, create, USER_END, 0, 0, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_EC_CREATE, create, 0x6000, CAP_SLOTS - EVENT_COUNT + 1, 0, 0),
                     bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_EC_CREATE, create, 0x6000, 0, USER_END, 0), bad(BAD_ARG, 4));
    assert_int_equal(graph(CALL_EC_CREATE, create, 0x6000, 0, 0, USER_END), bad(BAD_ARG, 5));
    assert_int_equal(graph(CALL_EC_CREATE, create | (uint64_t)core_count << 32, 0x6000, 0, 0, 0),
                     bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_EC_CREATE, create | (uint64_t)EC_VCPU << 48, 0, 0, 0, 0),
                     bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_EC_CREATE, create | 3ull << 48, 0x6000, 0, 0, 0), bad(BAD_ARG, 1));
    assert_int_equal(graph(CALL_EC_CREATE, create, 0x6000, 0, 0, 0), OK);
    assert_int_equal(graph(CALL_MR_MAP, RAM | host << 16 | (uint64_t)PERM_R << 32, 0x6000, 0, 1, 0),
                     bad(BUSY, 2));
    assert_int_equal(end(slot), OK);
    assert_int_equal(graph(CALL_MR_MAP, RAM | host << 16 | (uint64_t)PERM_R << 32, 0x6000, 0, 1, 0),
                     OK);
}

static void a_domain_takes_only_what_it_says(void **state)
{
    (void)state;
    uint64_t who = slot_new() | (uint64_t)LAB << 16 | (uint64_t)SLOT_ROOT_SYS << 32;
    assert_int_equal(graph(CALL_PD_CREATE, who, 2, 4, 4, 0), bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST | 2 << 8, 4, 4, 0), bad(BAD_ARG, 2));
    virt_vmx = true;
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_GUEST | PD_PORTS << 8, 4, 4, 0),
                     bad(BAD_ARG, 2));
    virt_vmx = false;
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST | PD_TABLE(1) << 8 | 2 << 8, 4, 4, 0),
                     bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, 1, 4, 0), bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, 1ull << 32 | 4, 4, 0), bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, 4, 1ull << 32 | 4, 0), bad(BAD_ARG, 4));
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, LAB_FRAMES + 1, 4, 0), NO_MEMORY);
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, 4, LAB_OBJECTS, 0), NO_MEMORY);
    assert_int_equal(graph(CALL_PD_CREATE, who, PD_HOST, LAB_FRAMES - 2, LAB_OBJECTS - 1, 0), OK);
    assert_int_equal(((struct pd *)object_at(LAB))->frames_left, 0);
    assert_int_equal(((struct pd *)object_at(LAB))->objects_left, 0);
}

/* The kernel's own space: nothing of it is user's, and nothing both writable and executable. */
static void the_kernel_maps_itself_with_care(void **state)
{
    (void)state;
    extern uint8_t kernel_text[], kernel_rodata[], kernel_data[];
    uint64_t frame, bits;
    assert_true(ptab_lookup(kernel_space, (uint64_t)kernel_text, &frame, &bits));
    assert_int_equal(bits & (PTE_NX | PTE_WRITE | PTE_USER), 0);
    assert_true(ptab_lookup(kernel_space, (uint64_t)kernel_rodata, &frame, &bits));
    assert_int_equal(bits & (PTE_NX | PTE_WRITE | PTE_USER), PTE_NX);
    assert_true(ptab_lookup(kernel_space, (uint64_t)kernel_data, &frame, &bits));
    assert_int_equal(bits & (PTE_NX | PTE_WRITE | PTE_USER), PTE_NX | PTE_WRITE);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(the_largest_pages_that_fit),
        RIG_TEST(bounds_of_a_mapping),
        RIG_TEST(permissions_and_kinds),
        RIG_TEST(a_conflict_changes_nothing),
        RIG_TEST(tables_run_out_before_anything_changes),
        RIG_TEST(unmap_is_about_one_domain_or_all),
        RIG_TEST(a_split_region_is_two),
        RIG_TEST(a_mapped_region_is_not_destroyed_alone),
        RIG_TEST(a_region_that_falls_is_mapped_nowhere),
        RIG_TEST(a_utcb_takes_its_page),
        RIG_TEST(a_domain_takes_only_what_it_says),
        RIG_TEST(the_kernel_maps_itself_with_care),
    };
    return RIG_RUN(all);
}
