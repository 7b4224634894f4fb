/*
 * Memory regions: what reaches the page tables lies inside a region whose
 * capability was shown, with no more rights than that capability has; a split
 * neither loses nor doubles a frame; taking out a region takes out all of it.
 * Page tables are here what ptab.h promises of them; proof_ptab.c proves that.
 */
#include "small.h"
#define cap_find cap_find_proven
#include <cap.h>
#undef cap_find
#include <object.c>

enum { KERNEL = 1, A, B, REGION, MAPPING_A, MAPPING_B, SPARE }; /* objects: A calls */
enum { SLOT_REGION = 1, SLOT_A, SLOT_B, SLOT_NEW };             /* its slots */

static struct cap caps[CAP_SLOTS];

static uint32_t behind(uint64_t slot)
{
    if (slot == SLOT_REGION)
        return REGION;
    return slot == SLOT_A ? A : B;
}

static bool valid(uint64_t slot)
{
    return caps[slot].gen && caps[slot].gen == objects[behind(slot)].head.gen;
}

/* What proof_cap.c proves of it, for the slots used here. */
static uint64_t cap_find(const struct pd *pd, uint64_t slot, enum object_type type, unsigned rights,
                         unsigned arg, void **object)
{
    check(pd == &objects[A].pd && slot >= SLOT_REGION && slot <= SLOT_B &&
          type == (slot == SLOT_REGION ? OBJ_MR : OBJ_PD));
    *object = &objects[behind(slot)];
    if (!valid(slot))
        return bad(BAD_CAP, arg);
    return (caps[slot].rights & rights) != rights ? bad(BAD_RIGHT, arg) : (uint64_t)OK;
}

#include <cap.c>
#include <mr.c>

static struct {
    const struct pd *pd;
    uint64_t va, frame, frames;
    unsigned rights;
} mapped, unmapped[2];
static unsigned maps, unmaps, flushes;
static uint64_t flushed; /* cores */
struct pd *kernel_space;

uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, unsigned rights)
{
    static const enum status answers[] = {OK, BUSY, NO_MEMORY, BAD_ARG};
    uint64_t s = answers[any() & 3];
    mapped.pd = pd, mapped.va = va, mapped.frame = frame, mapped.frames = frames,
    mapped.rights = rights;
    maps += s == OK;
    return s;
}

void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames)
{
    check(unmaps < 2 && !flushes);
    unmapped[unmaps & 1].pd = pd, unmapped[unmaps & 1].va = va,
                      unmapped[unmaps & 1].frames = frames;
    unmaps++;
}

/* Asked only after the page is out of the table: who loads the table later sees that. */
uint64_t core_users(const struct pd *pd)
{
    check(unmaps && unmapped[(unmaps - 1) & 1].pd == pd);
    return pd->cores;
}

bool iommu_stale;

void core_sync(uint64_t purge, uint64_t flush)
{
    (void)purge;
    flushes += flush || iommu_stale;
    flushed = flush;
}

static struct head head_of(enum object_type type, uint32_t owner)
{
    return (struct head){.type = (uint8_t)type, .owner = (uint16_t)owner, .gen = any() >> 30};
}

/* The region is mapped once in A and once in B, or (empty) nowhere. */
static void any_region(bool empty, uint32_t quota)
{
    objects[KERNEL].head.type = OBJ_PD;
    for (uint32_t i = A; i <= B; i++)
        objects[i].pd = (struct pd){.head = head_of(OBJ_PD, KERNEL),
                                    .caps = caps,
                                    .slots = CAP_SLOTS,
                                    .objects_left = quota,
                                    .cores = any()};
    objects[MAPPING_A].mp = (struct mp){.head = head_of(empty ? OBJ_NONE : OBJ_MP, A),
                                        .mr = &objects[REGION].mr,
                                        .va = any(),
                                        .frames = any()};
    objects[MAPPING_B].mp = (struct mp){.head = head_of(empty ? OBJ_NONE : OBJ_MP, B),
                                        .mr = &objects[REGION].mr,
                                        .va = any(),
                                        .frames = any()};
    objects[MAPPING_A].mp.next = &objects[MAPPING_B].mp;
    objects[REGION].mr = (struct mr){.head = head_of(OBJ_MR, A),
                                     .first = any(),
                                     .frames = any(),
                                     .kind = any() & 1,
                                     .sealed = any() & 1,
                                     .dirty = any()};
    objects[REGION].mr.maps = empty ? 0 : &objects[MAPPING_A].mp;
    assume(objects[REGION].mr.first < 1ull << 40 && objects[REGION].mr.frames &&
           objects[REGION].mr.frames < 1ull << 40);
    for (uint32_t slot = SLOT_REGION; slot <= SLOT_B; slot++)
        caps[slot] = (struct cap){.gen = any(),
                                  .rights = any() & 0xff,
                                  .index = (uint16_t)(slot == SLOT_REGION ? REGION : slot)};
    caps[SLOT_NEW] = (struct cap){.gen = any(), .index = SPARE};
    free_slots = empty ? MAPPING_A : SPARE; /* one slot is free, and no other */
    objects_end = OBJECTS;
}

static struct pd *self(void) { return &objects[A].pd; }
static struct mr *region(void) { return &objects[REGION].mr; }

static void map_into(uint32_t slot, uint32_t target, bool empty, uint32_t quota)
{
    any_region(empty, quota);
    const struct mr old = *region();
    uint64_t perm = any(), va = any(), first = any(), frames = any();
    assume(perm < 1ull << 32);
    uint64_t s = mr_map(self(), SLOT_REGION | slot << 16 | perm << 32, va, first, frames);
    check(region()->first == old.first && region()->frames == old.frames && !unmaps);
    if (s) {
        check(!maps && region()->maps == old.maps && objects[target].pd.objects_left == quota);
        return;
    }
    check(!old.sealed && !old.dirty);
    check(maps == 1 && mapped.pd == &objects[target].pd && mapped.va == va &&
          mapped.frames == frames);
    check(valid(SLOT_REGION) && valid(slot) && caps[slot].rights & PD_MAP);
    check(mapped.frame >= old.first && frames && frames <= old.frames &&
          mapped.frame - old.first <= old.frames - frames);
    check(!(va & (PAGE_SIZE - 1)) && va < USER_END && frames <= (USER_END - va) >> PAGE_SHIFT);
    check(mapped.rights == (perm | (old.kind == RANGE_DEVICE ? PTAB_DEVICE : 0)) &&
          perm & MR_READ && perm <= (MR_READ | MR_WRITE | MR_EXEC));
    check((caps[SLOT_REGION].rights & perm) == perm);
    const struct mp *mp = &objects[empty ? MAPPING_A : SPARE].mp;
    check(region()->maps == mp && mp->next == old.maps && mp->mr == region() && mp->va == va &&
          mp->frames == frames);
    check(mp->head.owner == target && objects[target].pd.objects_left == quota - 1);
}

void map(void) { map_into(SLOT_A, A, false, 1); }
void map_elsewhere(void) { map_into(SLOT_B, B, true, 1); }

void split(void)
{
    any_region(true, 1);
    if (any() & 1)
        region()->maps = &objects[MAPPING_B].mp;
    const struct mr old = *region();
    uint64_t at = any();
    uint64_t s = mr_split(self(), SLOT_NEW | SLOT_B << 16 | (uint64_t)SLOT_REGION << 32, at);
    check(!maps && !unmaps && region()->first == old.first && region()->maps == old.maps);
    if (s) {
        check(region()->frames == old.frames && caps[SLOT_NEW].index == SPARE);
        return;
    }
    const struct mr *rest = &objects[MAPPING_A].mr; /* the first free slot */
    check(valid(SLOT_REGION) && caps[SLOT_REGION].rights & MR_SPLIT &&
          caps[SLOT_B].rights & PD_CREATE && !old.maps);
    check(!old.sealed && !old.dirty);
    check(caps[SLOT_NEW].index == MAPPING_A && rest->head.type == OBJ_MR &&
          caps[SLOT_NEW].rights == caps[SLOT_REGION].rights);
    check(region()->frames == at && at && rest->frames && rest->first == old.first + at &&
          rest->frames == old.frames - at);
    check(rest->kind == old.kind && !rest->maps);
}

static bool was_unmapped(uint32_t i)
{
    bool found = false;
    for (unsigned n = 0; n < 2; n++)
        found |= n < unmaps && unmapped[n].pd == &objects[i == MAPPING_A ? A : B].pd &&
                 unmapped[n].va == objects[i].mp.va && unmapped[n].frames == objects[i].mp.frames;
    return found;
}

static void unmap_from(uint32_t slot, bool from_a, bool from_b)
{
    any_region(false, 1);
    const struct mr old = *region();
    uint64_t s = mr_unmap(self(), SLOT_REGION | slot << 16);
    check(!maps && region()->first == old.first && region()->frames == old.frames);
    if (s) {
        check(!unmaps && region()->maps == old.maps && objects[MAPPING_A].head.type == OBJ_MP);
        return;
    }
    check(valid(SLOT_REGION) && caps[SLOT_REGION].rights & MR_UNMAP &&
          (!slot || caps[slot].rights & PD_MAP));
    check(was_unmapped(MAPPING_A) == from_a && was_unmapped(MAPPING_B) == from_b && flushes == 1);
    check(!((from_a ? objects[A].pd.cores : 0) & ~flushed) &&
          !((from_b ? objects[B].pd.cores : 0) & ~flushed));
    check((objects[MAPPING_A].head.type == OBJ_NONE) == from_a &&
          (objects[MAPPING_B].head.type == OBJ_NONE) == from_b);
    const struct mp *rest = &objects[MAPPING_A].mp;
    if (from_a)
        rest = from_b ? 0 : &objects[MAPPING_B].mp;
    check(region()->maps == rest);
}

void unmap(void) { unmap_from(SLOT_B, false, true); }
void unmap_everywhere(void) { unmap_from(0, true, true); }
