/*
 * No frame is reachable for a domain that holds no right to it. The argument,
 * its bounds and what it leaves out are in docs/decisions/0028; this is its
 * induction step: each of the calls at the end of this file keeps what
 * still_isolated() checks, with any sizes, addresses, rights, owners and
 * arguments.
 *
 * "Every page" and "every capability" are one page of one PD and one slot of
 * one table, chosen before the call and watched. A capability that a call uses
 * is as sound as the watched one was: it could have been that one. Look-ups do
 * what cap-find proves, page tables what ptab-map and ptab-unmap prove.
 */
#include "flat.h"
#define cap_find cap_find_proven
#include <cap.h>
#undef cap_find
#include <ptab.h>
#include <core.h>

/* Objects: PDs; the region that a call is about, and another; a mapping, or (where calls copy
 * capabilities) a third PD; a free slot. */
enum { KERNEL = 1, A, B, R, Q, X, NEW };

static struct mr region, another_region,
    new_region; /* not an array: the solver is to know each by name */
static struct mp mapping, new_mapping;
static struct cap table[OBJECTS][CAP_SLOTS];

static struct mr *mr_of(uint32_t i)
{
    if (i == R)
        return &region;
    return i == Q ? &another_region : &new_region;
}

static struct mp *mp_of(uint32_t i) { return i == X ? &mapping : &new_mapping; }

/* A mapping's head is in the mapping alone: nobody looks for one by its index. */
static bool is(uint32_t i, enum object_type type)
{
    return (i >= X && mp_of(i)->head.type == OBJ_MP ? (uint8_t)OBJ_MP : objects[i].head.type) ==
           type;
}

static uint16_t object_index(const void *o)
{
    for (uint16_t i = KERNEL; i <= NEW; i++)
        if (o == &objects[i] || o == &objects[i].pd)
            return i;
    check(o == &new_region);
    return NEW;
}

/* ---- What isolation says of all regions and their lists. */
static bool overlap(const struct mr *a, const struct mr *b)
{
    return a->first < b->first + b->frames && b->first < a->first + a->frames;
}
static bool holds(const struct mr *mr, uint64_t frame)
{
    return frame >= mr->first && frame - mr->first < mr->frames;
}
static bool is_sane(const struct mr *mr)
{
    return mr->frames && mr->first < 1ull << 40 && mr->frames <= (1ull << 40) - mr->first &&
           mr->dirty <= mr->frames;
}

static bool regions_lie_apart(void)
{
    bool made = is(NEW, OBJ_MR);
    return is_sane(&region) && is_sane(&another_region) && !overlap(&region, &another_region) &&
           (!made || (is_sane(&new_region) && !overlap(&region, &new_region) &&
                      !overlap(&another_region, &new_region)));
}

static bool is_mapping_of(uint32_t i, const struct mr *mr)
{
    return is(i, OBJ_MP) && mp_of(i)->mr == mr;
}
static bool lists(const struct mr *mr, const struct mp *mp)
{
    return mr->maps == mp || (mr->maps && mr->maps->next == mp);
}

/* `list` has `n` mappings; there are two at most. */
static bool has_length(const struct mp *list, unsigned n)
{
    if (n == 0)
        return !list;
    if (n == 1)
        return list && !list->next;
    return list && list->next && !list->next->next;
}

/* A region's list holds its living mappings and nothing else; what is sealed is mapped in its guest
 * alone, what is dirty nowhere. */
static bool is_listed(const struct mr *mr)
{
    unsigned n = 0;
    for (uint32_t i = X; i <= NEW; i++) {
        if (!is_mapping_of(i, mr))
            continue;
        n++;
        if (!lists(mr, mp_of(i)) || mr->dirty || (mr->sealed && mr->sealed != mp_of(i)->head.owner))
            return false;
    }
    return has_length(mr->maps, n);
}

/* ---- Of one page, any page of A or B. */
static struct {
    uint32_t pd;
    uint64_t at;         /* its address */
    bool present, stale; /* stale: gone, but a TLB may still hold it */
    uint64_t va, frames; /* what ptab_map() was told that made it */
    uint64_t frame;
    unsigned rights;
} leaf;

static bool in_range(uint64_t va, uint64_t frames)
{
    return leaf.at >= va && (leaf.at - va) >> PAGE_SHIFT < frames;
}

static bool covers(uint32_t i)
{
    return is(i, OBJ_MP) && mp_of(i)->head.owner == leaf.pd &&
           in_range(mp_of(i)->va, mp_of(i)->frames);
}

/* It is part of mapping `i`, as that was made, and shows a frame of its region. */
static bool explains(uint32_t i)
{
    const struct mp *mp = mp_of(i);
    const struct mr *mr = mp->mr == &region ? &region : &another_region;
    return leaf.va == mp->va && leaf.frames == mp->frames && mp->mr == mr && holds(mr, leaf.frame);
}

/* It shows something exactly if one mapping of its PD covers it, and then what that one says; and
 * no TLB knows better. */
static bool page_is_explained(void)
{
    return covers(X) + covers(NEW) == leaf.present && !leaf.stale && (!covers(X) || explains(X)) &&
           (!covers(NEW) || explains(NEW));
}

/* ---- Of one capability. */
static bool is_live(struct cap c)
{
    return c.gen && c.gen == objects[c.index].head.gen && !is(c.index, OBJ_NONE);
}

/* It is not from the future of its slot, and names no mapping and not the kernel's PD. */
static bool cap_is_sound(struct cap c)
{
    return c.index < OBJECTS && c.gen <= objects[c.index].head.gen &&
           !(is_live(c) && (c.index == KERNEL || is(c.index, OBJ_MP)));
}

/* ---- Confinement: some frame, one right to it, and any division of the PDs. Those outside have no
   such right, no way to take one from inside, and no such page. */
static struct {
    uint64_t frame;
    unsigned right;
    bool inside[OBJECTS];
} secret;

static bool leads_inside(struct cap c)
{
    if (!is_live(c))
        return false;
    if (is(c.index, OBJ_MR))
        return c.rights & secret.right && holds(mr_of(c.index), secret.frame);
    return is(c.index, OBJ_PD) && c.rights & PD_TAKE && secret.inside[c.index];
}

static bool cap_is_confined(uint32_t pd, struct cap c)
{
    return secret.inside[pd] || !leads_inside(c);
}

static bool page_is_confined(void)
{
    bool permits = secret.right == MR_READ || leaf.rights & secret.right;
    return secret.inside[leaf.pd] || !leaf.present || !permits || leaf.frame != secret.frame;
}

/* ---- What is proven elsewhere of what the calls use. The caller is any PD, its region argument is
   R, its PD arguments 1 and 2 are `first` and `second`: the names are ours to choose. */
static uint32_t caller, first = A, second = A;

static uint64_t cap_find(const struct pd *pd, uint64_t slot, enum object_type type, unsigned rights,
                         unsigned arg, void **object)
{
    check(pd == &objects[caller].pd);
    if (slot >= CAP_SLOTS || any() & 1)
        return bad(any() & 1 ? BAD_CAP : BAD_RIGHT, arg);
    struct cap c = table[caller][slot];
    if (type == OBJ_SYS)
        return OK;
    const uint32_t pd_argument = arg == 2 ? second : first;
    assume(c.index == (type == OBJ_MR ? R : pd_argument) && is_live(c) &&
           (c.rights & rights) == rights);
    assume(cap_is_confined(caller, c));
    *object = type == OBJ_MR ? (void *)&region : (void *)&objects[pd_argument].pd;
    return OK;
}

/* The free slot (quota-slots: it was nobody's; cap-reuse: capabilities to what was in it are
 * stale). */
void *object_new(enum object_type type, struct pd *payer)
{
    if (any() & 1)
        return 0;
    struct head h = {
        .type = (uint8_t)type, .owner = object_index(payer), .gen = objects[NEW].head.gen + 1};
    check(is(NEW, OBJ_NONE) && (type == OBJ_MR || type == OBJ_MP || type == OBJ_PD));
    objects[NEW].head.gen = h.gen;
    if (type == OBJ_PD) {
        objects[NEW].head = h;
        objects[NEW].pd = (struct pd){.head = h};
        payer->objects_left--;
        return &objects[NEW].pd;
    }
    if (type == OBJ_MR) {
        objects[NEW].head = h;
        new_region = (struct mr){.head = h};
        return &new_region;
    }
    new_mapping = (struct mp){.head = h};
    return &new_mapping;
}

void object_free(void *mp)
{
    if (mp == &objects[NEW].pd) {
        objects[objects[NEW].head.owner].pd.objects_left++;
        objects[NEW].head.type = OBJ_NONE;
        return;
    }
    check(mp == &mapping || mp == &new_mapping);
    ((struct mp *)mp)->head.type = OBJ_NONE;
}

/* ---- Some frame of a region, and the kernel's window: what is cleaned through it, and when a core
 * has forgotten what was there. */
static struct {
    uint64_t frame, first, frames;
    bool open, clean;
} window;

struct core *cpu_core(void)
{
    static struct core core;
    return &core;
}

void cpu_zero_page(void *page)
{
    uint64_t at = ((uint64_t)page - SCRUB_WINDOW) >> PAGE_SHIFT;
    check(window.open && at < window.frames);
    window.clean |= window.first + at == window.frame;
}

static uint64_t open_window(uint64_t va, uint64_t frame, uint64_t frames)
{
    check(va == SCRUB_WINDOW && frames <= SCRUB_FRAMES && !window.open);
    window.open = any() & 1;
    window.first = frame, window.frames = frames;
    return window.open ? OK : NO_MEMORY;
}

static bool watched(const struct pd *pd, uint64_t va, uint64_t frames)
{
    return pd == &objects[leaf.pd].pd && in_range(va, frames);
}

extern struct pd *kernel_space;

uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, unsigned rights)
{
    if (pd == kernel_space)
        return open_window(va, frame, frames);
    check(!(va & (PAGE_SIZE - 1)) && va < USER_END && frames &&
          frames <= (USER_END - va) >> PAGE_SHIFT);
    if (any() & 1)
        return one_of(BUSY, NO_MEMORY, BAD_ARG);
    if (!watched(pd, va, frames))
        return OK;
    assume(!leaf.present); /* else BUSY */
    leaf.present = true;
    leaf.va = va, leaf.frames = frames, leaf.rights = rights;
    leaf.frame = frame + ((leaf.at - va) >> PAGE_SHIFT);
    return OK;
}

static bool asked;
void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames)
{
    if (pd == kernel_space) {
        check(window.open && va == SCRUB_WINDOW && frames == window.frames);
        window.open = false;
    }
    if (!watched(pd, va, frames))
        return;
    check(leaf.present && leaf.va == va && leaf.frames == frames); /* as it was mapped */
    leaf.present = asked = false;
    leaf.stale = true;
}

/* All TLBs that may hold the page; `cores` stands for a host space's users, too. Asked before the
   page is out of the table, it says nothing of who loads the table between the two. */
bool iommu_stale;

uint64_t core_users(const struct pd *pd)
{
    asked |= pd == &objects[leaf.pd].pd;
    return pd->cores;
}

void core_sync(uint64_t purge, uint64_t flush)
{
    (void)purge;
    if (asked && iommu_stale && !(objects[leaf.pd].pd.cores & ~flush))
        leaf.stale = false;
}

/* Cleaned frames of the pool, nobody's before (quota-frames-taken). */
static uint64_t fresh[2][PAGE_SIZE / 8];
static unsigned fresh_used;

void *frame_new(struct pd *payer)
{
    payer->frames_left--;
    return fresh[fresh_used++ & 1];
}
void *frame_run(struct pd *payer, uint32_t frames)
{
    payer->frames_left -= frames;
    if (any() & 1)
        return 0;
    return fresh[fresh_used++ & 1];
}
uint64_t cpu_pa(const void *p) { return p == fresh[1] ? 0x2000 : 0x1000; }

struct kernel_stat counters;
#include <cap.c>
#include <mr.c>
#include <pd.c>

/* ---- Any state that is isolated and confined. */
static struct {
    uint32_t pd;
    uint64_t slot;
} eye; /* the capability that is watched */

static struct cap seen(void) { return table[eye.pd][eye.slot]; }

static struct head some_head(enum object_type type)
{
    struct head h = {.type = (uint8_t)type, .owner = any() & 1 ? A : B, .gen = any() >> 25};
    assume(h.gen && h.gen < (1ull << 40) - 2);
    return h;
}

static void some_pd(uint32_t i)
{
    objects[i].head = some_head(OBJ_PD);
    objects[i].pd = (struct pd){.head = objects[i].head,
                                .kind = any() & 1,
                                .caps = table[i],
                                .slots = CAP_SLOTS,
                                .cores = any()};
    secret.inside[i] = any() & 1;
}

static void some_region(uint32_t i)
{
    objects[i].head = some_head(OBJ_MR);
    *mr_of(i) = (struct mr){.head = objects[i].head,
                            .first = any(),
                            .frames = any(),
                            .dirty = any(),
                            .kind = any() & 1};
    mr_of(i)->sealed = (uint16_t)one_of(0, A, B);
}

static void hang(struct mp *mp, struct mr *mr)
{
    mp->mr = mr;
    mp->next = mr->maps;
    mr->maps = mp;
}

static void some_mapping(uint32_t i)
{
    objects[i].head = some_head(OBJ_NONE);
    *mp_of(i) = (struct mp){.head = objects[i].head, .va = any(), .frames = any()};
    mp_of(i)->head.type = OBJ_MP;
    if (any() & 1)
        hang(mp_of(i), &region);
    else
        hang(mp_of(i), &another_region);
}

static void some_capabilities(void)
{
    __CPROVER_havoc_object(table);
    eye.pd = one_of(A, B, X);
    eye.slot = any() & (CAP_SLOTS - 1);
    assume(is(eye.pd, OBJ_PD));
    for (uint32_t i = 0; i < OBJECTS; i++)
        for (uint32_t slot = 0; slot < CAP_SLOTS; slot++)
            assume(table[i][slot].index < OBJECTS); /* any of them could be the watched one */
    assume(cap_is_sound(seen()) && cap_is_confined(eye.pd, seen()));
}

static void some_page(void)
{
    leaf.pd = any() & 1 ? A : B;
    leaf.at = any() & ~(uint64_t)(PAGE_SIZE - 1);
    leaf.present = any() & 1;
    leaf.va = any(), leaf.frames = any(), leaf.frame = any();
    leaf.rights = (unsigned)any();
    assume(page_is_explained() && page_is_confined());
}

/* `x`: what object X is, `last`: what NEW is, a second mapping or a free slot. */
static void any_state(enum object_type x, enum object_type last)
{
    objects[KERNEL].head = (struct head){.type = OBJ_PD, .gen = 1};
    some_pd(A);
    some_pd(B);
    some_region(R);
    some_region(Q);
    if (x == OBJ_PD)
        some_pd(X);
    else
        some_mapping(X);
    if (last == OBJ_MP)
        some_mapping(NEW);
    else
        objects[NEW].head = some_head(OBJ_NONE);
    secret.frame = any();
    secret.right = one_of(MR_READ, MR_WRITE, MR_EXEC);
    assume(regions_lie_apart() && is_listed(&region) && is_listed(&another_region));
    some_capabilities();
    some_page();
}

static struct pd *by(uint32_t pd)
{
    caller = pd;
    return &objects[pd].pd;
}

/* `giving`: a call by which somebody inside may let others in. */
static void still_isolated(bool giving)
{
    check(regions_lie_apart());
    check(is_listed(&region));
    check(is_listed(&another_region));
    check(!new_region.maps);
    check(page_is_explained());
    check(cap_is_sound(seen()));
    if (giving && secret.inside[caller])
        return;
    check(page_is_confined());
    check(cap_is_confined(eye.pd, seen()));
}

void map(void)
{
    any_state(OBJ_MP, OBJ_NONE);
    (void)!mr_map(by(any() & 1 ? A : B), any(), any(), any(), any());
    still_isolated(true);
}

void unmap(void)
{
    any_state(OBJ_MP, OBJ_MP);
    (void)!mr_unmap(by(any() & 1 ? A : B), any());
    still_isolated(false);
}

void seal(void)
{
    any_state(OBJ_MP, OBJ_MP);
    (void)!mr_seal(by(any() & 1 ? A : B), any());
    still_isolated(false);
}

/* A frame of the dead is cleaned before it counts as clean, and nothing else is ever cleaned; the
 * window is shut again. */
void scrub(void)
{
    any_state(OBJ_MP, OBJ_MP);
    kernel_space = &objects[KERNEL].pd;
    window.frame = any();
    const uint64_t dirty = region.dirty, at = window.frame - region.first;
    uint64_t s = mr_scrub(by(any() & 1 ? A : B), any());
    still_isolated(false);
    check(region.dirty <= dirty && !window.open);
    check(at >= dirty || at < region.dirty || window.clean);
    check(!window.clean || (at < dirty && !region.sealed));
    check(s != OK || !region.dirty);
}

void split(void)
{
    any_state(OBJ_MP, OBJ_NONE);
    first = any() & 1 ? A : B; /* pays */
    (void)!mr_split(by(A), any(), any());
    still_isolated(false);
}

/* What is copied could have been the watched capability, too. */
static void delegate_to(uint32_t to)
{
    uint64_t source = any();
    second = to;
    assume(source >> 16 >= CAP_SLOTS ||
           (cap_is_sound(table[A][source >> 16 & (CAP_SLOTS - 1)]) &&
            cap_is_confined(A, table[A][source >> 16 & (CAP_SLOTS - 1)])));
    (void)!cap_delegate(by(one_of(A, B, X)), source, any(), any());
    still_isolated(true);
}

void delegate(void)
{
    any_state(OBJ_PD, OBJ_NONE);
    if (any() & 1)
        delegate_to(A);
    else
        delegate_to(B);
}

void revoke(void)
{
    any_state(OBJ_PD, OBJ_NONE);
    (void)!cap_revoke(by(one_of(A, B, X)), any());
    still_isolated(false);
}

/* A new domain, on its creator's side: it has no capability and no page but the kernel's, and its
 * quota was its owner's. */
static void create_in(uint32_t owner)
{
    static uint64_t kernel_table[TABLE_ENTRIES];
    struct pd *payer = &objects[owner].pd, *pd = &objects[NEW].pd;
    uint64_t frames = any(), quota = any();
    first = owner;
    kernel_space = &objects[KERNEL].pd;
    kernel_space->table = kernel_table;
    kernel_table[TABLE_ENTRIES - 1] = any();
    payer->frames_left = (uint32_t)any(), payer->objects_left = (uint32_t)any();
    const struct pd before = *payer;
    uint64_t s = pd_create(by(A), any(), any(), frames, quota, any());
    still_isolated(false);
    check(payer->frames_left + (s ? 0 : frames) == before.frames_left);
    check(payer->objects_left + (s ? 0 : quota + 1) == before.objects_left);
    if (s)
        return;
    check(pd->caps == (void *)fresh[0] && pd->table == fresh[1] &&
          pd->table_pa == cpu_pa(fresh[1]));
    check(pd->frames_left == frames - pd->slots / CAP_SLOTS - 1 && pd->frames_given == frames &&
          pd->objects_left == quota && pd->objects_given == quota);
    for (uint32_t i = 0; i < CAP_SLOTS; i++)
        check(!pd->caps[i].gen);
    for (uint32_t i = 0; i < TABLE_ENTRIES; i++)
        check(pd->table[i] ==
              (i == TABLE_ENTRIES - 1 && pd->kind == PD_HOST ? kernel_table[i] : 0));
}

void create(void)
{
    any_state(OBJ_MP, OBJ_NONE);
    secret.inside[NEW] = secret.inside[A];
    if (any() & 1)
        create_in(A);
    else
        create_in(B);
}
