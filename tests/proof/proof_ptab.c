/*
 * Page tables: whatever a table holds and whatever is asked, a mapping shows
 * exactly the frames that were named, with the rights that were named, where
 * nothing was; it changes no other page, and nothing at all when it fails. So
 * does its undoing. Each table of the tree has its own frame, every entry is
 * arbitrary: empty, a leaf, or the table below.
 */
#include "small.h"
#include <ptab.c>
#include "../invariant/look.c"

enum { TREE = 8, FRAMES = 13 }; /* frames 0..7: a full tree, 1 its root; from 8 on: new ones */

struct object objects[OBJECTS];
struct kernel_stat counters;
struct pd *kernel_space;
static struct pd pd;
static uint64_t tables[FRAMES][TABLE_ENTRIES];
static uint32_t next_new = TREE;

uint64_t cpu_pa(const void *p)
{
    return (uint64_t)((const uint64_t(*)[TABLE_ENTRIES])p - tables) << PAGE_SHIFT;
}

uint64_t *frame_table(uint64_t entry)
{
    uint64_t i = (entry & 0x000ffffffffff000ull) >> PAGE_SHIFT;
    check(i > 1 && i < FRAMES); /* never a leaf's frame, never the root */
    return tables[i < FRAMES ? i : 0];
}

void *frame_new(struct pd *payer)
{
    check(payer->frames_left && counters.frames_free); /* the plan said so */
    payer->frames_left--;
    counters.frames_free--;
    assume(next_new < FRAMES);
    return tables[next_new++];
}

static uint64_t some_entry(unsigned below)
{
    uint64_t e = any();
    if (below && any() & 1)
        return (uint64_t)below << PAGE_SHIFT | PTE_PRESENT | PTE_WRITE | PTE_USER;
    assume(!(e & PTE_PRESENT) ? e == 0 : ((e & PTE_LARGE) != 0) == (below != 0));
    return e;
}

/* Level 3 is frame 1, its lower half leads to 2 (level 2), that to 3 and 4 (level 1); level 0 below
 * 3 only, to stay small. */
static void any_tables(void)
{
    tables[1][0] = any() & 1 ? 2u << PAGE_SHIFT | PTE_PRESENT | PTE_WRITE | PTE_USER : 0;
    tables[2][0] = some_entry(3);
    tables[2][1] = some_entry(4);
    for (uint32_t i = 0; i < TABLE_ENTRIES; i++) {
        tables[3][i] = some_entry(5 + i);
        tables[4][i] = some_entry(0) | PTE_LARGE;
        tables[5][i] = some_entry(0);
        tables[6][i] = some_entry(0);
    }
    tables[4][0] = tables[4][1] = 0;
    ptab_iommu = (enum iommu_kind)one_of(IOMMU_NONE, IOMMU_VTD, IOMMU_AMDVI);
    virt_vmx = any() & 1;
    pd.kind = any() & 1 ? PD_HOST : PD_GUEST;
    kernel_space = any() & 1 ? &pd : 0;
    pd.table = tables[1];
    pd.frames_left = (uint32_t)any();
    counters.frames_free = (uint32_t)any();
}

static uint64_t where, frame_seen, bits_seen;
static bool seen;

static void look(void)
{
    where = any() & ~(uint64_t)(PAGE_SIZE - 1);
    assume(where < USER_END);
    seen = ptab_lookup(&pd, where, &frame_seen, &bits_seen);
}

static bool as_before(void)
{
    uint64_t frame, bits;
    bool now = ptab_lookup(&pd, where, &frame, &bits);
    return now == seen && (!now || (frame == frame_seen && bits == bits_seen));
}

static bool within(uint64_t va, uint64_t frames)
{
    return where >= va && (where - va) >> PAGE_SHIFT < frames;
}

/* Intel's nested tables (SDM3 28.3.2): rights to read, write and execute; of a device the type
   uncached, of all else write-back, whatever the guest's own type. */
static uint64_t ept_bits_of(unsigned rights)
{
    return 1 | (rights & MR_WRITE ? 2 : 0) | (rights & MR_EXEC ? 4 : 0) |
           (rights & PTAB_DEVICE ? 0 : 0x70);
}

static uint64_t bits_of(unsigned rights)
{
    if (virt_vmx && pd.kind == PD_GUEST)
        return ept_bits_of(rights);
    return PTE_PRESENT | (kernel_space ? 0 : PTE_USER) | (rights & MR_WRITE ? PTE_WRITE : 0) |
           (rights & MR_EXEC ? 0 : PTE_NX) | (rights & PTAB_DEVICE ? PTE_UNCACHED : 0);
}

void map(void)
{
    any_tables();
    look();
    uint64_t va = any(), first = any(), frames = any(), frame, got;
    unsigned rights = (unsigned)any();
    assume(!(va & (PAGE_SIZE - 1)) && va < USER_END && frames && frames <= 4 &&
           frames << PAGE_SHIFT <= USER_END - va);
    assume(first < 1ull << 39 && rights & MR_READ &&
           !(rights & ~(unsigned)(MR_READ | MR_WRITE | MR_EXEC | PTAB_DEVICE)));
    uint32_t had = pd.frames_left;
    uint64_t s = ptab_map(&pd, va, first, frames, rights);
    check(s == OK || s == BUSY || s == NO_MEMORY || s == BAD_ARG);
    if (s) {
        check(as_before() && pd.frames_left == had && next_new == TREE);
        return;
    }
    check(pd.frames_left == had - (next_new - TREE) && pd.tables == next_new - TREE);
    if (!within(va, frames)) {
        check(as_before());
        return;
    }
    check(!seen && ptab_lookup(&pd, where, &frame, &got));
    check(frame == first + ((where - va) >> PAGE_SHIFT) && (got & ~PTE_LARGE) == bits_of(rights));
}

/* Undo what was mapped: the range is empty, all else is as before. */
void unmap(void)
{
    any_tables();
    uint64_t va = any(), first = any(), frames = any();
    assume(!(va & (PAGE_SIZE - 1)) && va < USER_END && frames && frames <= 2 &&
           frames << PAGE_SHIFT <= USER_END - va && first < 1ull << 39);
    look();
    assume(ptab_map(&pd, va, first, frames, MR_READ) == OK);
    ptab_unmap(&pd, va, frames);
    check(as_before());
}
