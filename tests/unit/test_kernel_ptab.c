/* Entries of page tables, bit by bit: each format, with all rights, of RAM and of devices, in all
   sizes. The numbers are the manuals' (APM2 5.4.1, 48882 2.2.3), not the kernel's names. */
#include "rig.h"
#include <abi/image.h>

enum { AT = 0x40000000, LEVELS = 4 };
#define FRAME    0x000ffffffffff000ull
#define LARGE    0x80ull
#define UNCACHED 0x18ull

static const struct {
    uint64_t rights, user, kernel,
        amdvi; /* user mode's too, the kernel's alone; AMD-Vi's beside it */
} row[] = {
    {MR_READ, 0x8000000000000005, 0x8000000000000001, 0x2000000000000000},
    {MR_READ | MR_WRITE, 0x8000000000000007, 0x8000000000000003, 0x6000000000000000},
    {MR_READ | MR_EXEC, 0x0000000000000005, 0x0000000000000001, 0x2000000000000000},
    {MR_READ | MR_WRITE | MR_EXEC, 0x0000000000000007, 0x0000000000000003, 0x6000000000000000},
};

static uint64_t amdvi_bits(unsigned i) { return ptab_iommu == IOMMU_AMDVI ? row[i].amdvi : 0; }

/* The entries on the way to `va`, from the top table's on: how many. */
static unsigned entries_of(const struct pd *pd, uint64_t va, uint64_t *entry)
{
    const uint64_t *table = pd->table;
    for (unsigned n = 0;; n++) {
        entry[n] = table[va >> (39 - 9 * n) & 511];
        if (n == LEVELS - 1 || !(entry[n] & 1) || entry[n] & LARGE)
            return n + 1;
        table = frame_table(entry[n]);
    }
}

/* `levels` entries lead to `va`: those of tables give all rights, the last one has `bits`. */
static void assert_entries(const struct pd *pd, uint64_t va, unsigned levels, uint64_t bits)
{
    uint64_t entry[LEVELS];
    assert_int_equal(entries_of(pd, va, entry), levels);
    for (unsigned n = 0; n + 1 < levels; n++) {
        uint64_t amdvi =
            ptab_iommu == IOMMU_AMDVI ? 0x6000000000000000 | (uint64_t)(LEVELS - 1 - n) << 9 : 0;
        assert_int_equal(entry[n] & ~FRAME, 7 | amdvi);
    }
    assert_int_equal(entry[levels - 1] & ~FRAME, bits);
}

/* In a new space, a leaf of the size of `level` with the rights of row `i`. */
static void map_leaf(enum pd_kind kind, uint64_t region, unsigned level, unsigned i)
{
    uint64_t slot = make_pd(kind, 10, 10), bits = row[i].user | amdvi_bits(i);
    bits |= (region == DEVICE ? UNCACHED : 0) | (level ? LARGE : 0);
    assert_int_equal(
        graph(CALL_MR_MAP, region | slot << 16 | row[i].rights << 32, AT, 0, 1ull << 9 * level, 0),
        OK);
    assert_entries(object_at(slot), AT, LEVELS - level, bits);
    assert_int_equal(end(slot), OK);
}

static void map_leaves(enum pd_kind kind, unsigned i)
{
    for (unsigned level = 0; level < 3; level++)
        map_leaf(kind, RAM, level, i);
    map_leaf(kind, DEVICE, 0, i);
}

/* In the kernel's space, whose tables are there from the start, before any IOMMU. */
static void map_in_kernel(unsigned i)
{
    uint64_t entry[LEVELS], bits = row[i].kernel | amdvi_bits(i);
    for (unsigned device = 0; device < 2; device++) {
        assert_int_equal(ptab_map(kernel_space, IOMMU_WINDOW, DEVICE_FRAME, 1,
                                  (unsigned)row[i].rights | (device ? PTAB_DEVICE : 0)),
                         OK);
        assert_int_equal(entries_of(kernel_space, IOMMU_WINDOW, entry), LEVELS);
        assert_int_equal(entry[0] & ~FRAME, 7);
        assert_int_equal(entry[LEVELS - 1] & ~FRAME, bits | (device ? UNCACHED : 0));
        ptab_unmap(kernel_space, IOMMU_WINDOW, 1);
    }
}

static void each_format_has_its_bits(void **state)
{
    (void)state;
    for (unsigned kind = IOMMU_NONE; kind <= IOMMU_AMDVI; kind++) {
        ptab_iommu = (enum iommu_kind)kind;
        for (unsigned i = 0; i < COUNT(row); i++) {
            map_leaves(PD_HOST, i);
            map_leaves(PD_GUEST, i);
            map_in_kernel(i);
        }
    }
    ptab_iommu = IOMMU_NONE;
}

/* What root does where leaves of what can be executed must be small (PLAN_SMALL_PAGES): a page that
   was mapped in each 2 MiB, and is gone, leaves a table, and where one is no larger leaf goes. */
static void tables_stay_and_keep_leaves_small(void **state)
{
    (void)state;
    enum { TABLES = MAX_LEAVES_PER_MAP / 512 };
    const uint64_t slot = make_pd(PD_GUEST, 20, 20), all = MAX_LEAVES_PER_MAP,
                   rw = (uint64_t)(MR_READ | MR_WRITE | MR_EXEC) << 32, r = (uint64_t)MR_READ << 32;
    for (uint64_t i = 0; i < TABLES; i++)
        assert_int_equal(graph(CALL_MR_MAP, DEVICE | slot << 16 | r, AT + (i << 21), 0, 1, 0), OK);
    assert_int_equal(graph(CALL_MR_UNMAP, DEVICE | slot << 16, 0, 0, 0, 0), OK);
    assert_int_equal(graph(CALL_MR_MAP, RAM | slot << 16 | rw, AT, 0, all, 0), OK);
    for (uint64_t at = AT; at < AT + all * PAGE_SIZE; at += PAGE_SIZE)
        assert_entries(object_at(slot), at, LEVELS, row[3].user | amdvi_bits(3));
    assert_int_equal(end(slot), OK);
}

/* What leads nowhere any more: to tables of all levels, and to a page that may be written. */
static void a_closed_table_has_its_bits(void **state)
{
    (void)state;
    for (unsigned kind = IOMMU_NONE; kind <= IOMMU_AMDVI; kind++) {
        struct pd *pd = object_at(make_pd(PD_GUEST, 10, 10));
        ptab_iommu = (enum iommu_kind)kind;
        uint64_t bits = row[1].user | amdvi_bits(1);
        core_lock_graph();
        assert_int_equal(ptab_close(pd), OK);
        core_unlock_graph();
        assert_entries(pd, AT, LEVELS, bits);
        assert_entries(pd, USER_END - PAGE_SIZE, LEVELS, bits);
    }
    ptab_iommu = IOMMU_NONE;
}

/* What the kernel maps for others by itself: a thread's UTCB, and root's image. */
static void what_the_kernel_gives_has_its_bits(void **state)
{
    (void)state;
    const struct ec *ec = object_at(make_ec(make_pd(PD_HOST, 16, 16), 0, EC_THREAD));
    assert_entries(ec->pd, ec->utcb_va, LEVELS, row[1].user);
    assert_entries(root, IMAGE_BASE, LEVELS, row[2].user);                 /* text */
    assert_entries(root, IMAGE_BASE + 2 * PAGE_SIZE, LEVELS, row[0].user); /* constants */
    assert_entries(root, IMAGE_BASE + 3 * PAGE_SIZE, LEVELS, row[1].user); /* data */
    assert_entries(root, ROOT_INFO, LEVELS, row[0].user);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(each_format_has_its_bits),
        RIG_TEST(tables_stay_and_keep_leaves_small),
        RIG_TEST(a_closed_table_has_its_bits),
        RIG_TEST(what_the_kernel_gives_has_its_bits),
    };
    return RIG_RUN(all);
}
