/*
 * Isolation as predicates over the object graph, one a paragraph. Together: a
 * frame is reachable from a domain only through a mapping that somebody made
 * with a capability for its region, or as the UTCB of one of its threads.
 */
#include <virt.h>
#include <core.h>
#include <invariant.h>
#include "look.h"
#include <pd.h>
#include <frame.h>
#include <ptab.h>
#include <abi/boot.h>
#include <abi/image.h>

enum {
    NOBODY,
    KERNEL,
    ROOT,
    FIRST = ROOT
}; /* objects 0 and 1 are never created nor destroyed, root is the first that is */

extern uint8_t image_start[], kernel_end[];

#define LAST_FRAME (1ull << 40) /* what a page-table entry can name (APM2 5.3.3) */
#define PTE_STATE  0xe0ull      /* accessed, dirty, large: not rights */

static bool is(uint32_t index, enum object_type type)
{
    return index < OBJECTS && objects[index].head.type == type;
}

/* Is `object` the start of a slot, and of this type? */
static bool points_to(const void *object, enum object_type type)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (object == &objects[i])
            return is(i, type);
    return false;
}

/* ---- Every object is alive and paid for by a living PD; nobody owns the kernel's own. */
static bool descends_from_kernel(uint32_t i)
{
    for (uint32_t steps = 1; i != KERNEL; steps++) {
        if (!is(i, OBJ_PD) || steps == OBJECTS)
            return false;
        i = objects[i].head.owner;
    }
    return true;
}

static bool objects_have_owners(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct head *h = &objects[i].head;
        if (h->type != OBJ_NONE &&
            (h->type >= OBJ_COUNT || h->dead || !h->gen || !descends_from_kernel(h->owner)))
            return false;
    }
    return objects[NOBODY].head.type == OBJ_NONE && is(KERNEL, OBJ_PD);
}

/* ---- Each PD's list holds the objects that it paid for, each once, and no others. */
static bool is_list(uint32_t owner, uint32_t *listed)
{
    uint32_t before = NOBODY;
    for (uint32_t i = objects[owner].pd.owned; i != NOBODY; before = i, i = objects[i].head.next) {
        const struct head *h = &objects[i].head;
        if (i >= OBJECTS || h->type == OBJ_NONE || h->owner != owner || h->prev != before ||
            *listed == OBJECTS)
            return false;
        ++*listed;
    }
    return true;
}

static bool owners_list_all(void)
{
    uint32_t live = 0, listed = 0;
    for (uint32_t i = KERNEL; i < OBJECTS; i++) {
        live += i >= FIRST && objects[i].head.type != OBJ_NONE;
        if (is(i, OBJ_PD) && !is_list(i, &listed))
            return false;
    }
    return live == listed;
}

/* ---- What a PD was given is what it has left plus what it paid for and gave on: nothing is lost
 * or made. */
static bool quota_is_conserved(uint32_t owner, uint32_t frames_given, uint32_t objects_given)
{
    const struct pd *pd = &objects[owner].pd;
    uint32_t frames = pd->frames_left + frame_count_of(pd), used = pd->objects_left;
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct object *o = &objects[i];
        if (o->head.type == OBJ_NONE || o->head.owner != owner)
            continue;
        used++;
        if (o->head.type == OBJ_PD) {
            frames += o->pd.frames_given;
            used += o->pd.objects_given;
        }
    }
    return frames == frames_given && used == objects_given;
}

static bool quotas_are_conserved(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(i, OBJ_PD) &&
            !quota_is_conserved(i, objects[i].pd.frames_given, objects[i].pd.objects_given))
            return false;
    return quota_is_conserved(KERNEL, counters.frames, OBJECTS - 2);
}

static bool counters_are_true(void)
{
    uint32_t free = 0, tables = 0, frames = counters.frames_free;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        free += objects[i].head.type == OBJ_NONE;
    for (uint32_t i = KERNEL; i < OBJECTS; i++)
        if (is(i, OBJ_PD)) {
            frames += frame_count_of(&objects[i].pd);
            tables += objects[i].pd.tables;
        }
    return counters.objects_free == free && counters.table_frames == tables &&
           frames == counters.frames;
}

/* ---- Regions lie apart from each other and from the kernel, whose one region (the counters)
 * nobody may write. */
static bool overlap(uint64_t a, uint64_t a_frames, uint64_t b, uint64_t b_frames)
{
    return a < b + b_frames && b < a + a_frames;
}

static bool in_kernel(const struct mr *mr)
{
    uint64_t first = cpu_pa(image_start) >> PAGE_SHIFT, end = cpu_pa(kernel_end) >> PAGE_SHIFT;
    return overlap(mr->first, mr->frames, first, end - first);
}

static bool is_counters(const struct mr *mr)
{
    uint64_t first = cpu_pa(&counters) >> PAGE_SHIFT, frames = sizeof counters >> PAGE_SHIFT;
    return mr->first >= first && mr->first + mr->frames <= first + frames;
}

static bool region_lies_apart(const struct mr *mr)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct mr *other = &objects[i].mr;
        if (is(i, OBJ_MR) && other != mr &&
            overlap(mr->first, mr->frames, other->first, other->frames))
            return false;
    }
    return mr->frames && mr->first < LAST_FRAME && mr->frames <= LAST_FRAME - mr->first &&
           (!in_kernel(mr) || is_counters(mr));
}

static bool regions_lie_apart(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(i, OBJ_MR) && !region_lies_apart(&objects[i].mr))
            return false;
    return true;
}

/* ---- A region's list holds exactly the mappings that name it. */
static bool is_mapping_of(uint32_t i, const struct mr *mr)
{
    return is(i, OBJ_MP) && objects[i].mp.mr == mr;
}

/* Which slot `mp` is, if it is a mapping of `mr`; NOBODY: it is not. */
static uint32_t mapping_slot(const struct mp *mp, const struct mr *mr)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (mp == &objects[i].mp && is_mapping_of(i, mr))
            return i;
    return NOBODY;
}

static bool list_is_whole(const struct mr *mr)
{
    uint32_t mappings = 0;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        mappings += is_mapping_of(i, mr);
    const struct mp *mp = mr->maps;
    for (; mp && mappings; mappings--) {
        uint32_t slot = mapping_slot(mp, mr);
        if (slot == NOBODY)
            return false;
        mp = objects[slot].mp.next;
    }
    return !mp && !mappings;
}

static bool lists_are_whole(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if ((is(i, OBJ_MR) && !list_is_whole(&objects[i].mr)) ||
            (is(i, OBJ_MP) && !points_to(objects[i].mp.mr, OBJ_MR)))
            return false;
    return true;
}

/* ---- A mapping shows its region's frames and no others, to user mode; the kernel's region never
 * for writing. */
static bool mapping_is_inside(const struct mp *mp, const struct mr *mr)
{
    uint64_t first, bits;
    if (!mp->frames || mp->frames > mr->frames ||
        !ptab_lookup(&objects[mp->head.owner].pd, mp->va, &first, &bits))
        return false;
    bool ept = virt_vmx && objects[mp->head.owner].pd.kind == PD_GUEST; /* it has no PTE_USER */
    return first >= mr->first && first - mr->first <= mr->frames - mp->frames &&
           (ept || bits & PTE_USER) && !(bits & PTE_WRITE && in_kernel(mr));
}

static bool mappings_are_inside(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        for (uint32_t m = FIRST; is(i, OBJ_MP) && m < OBJECTS; m++)
            if (objects[i].mp.mr == &objects[m].mr &&
                !mapping_is_inside(&objects[i].mp, &objects[m].mr))
                return false;
    return true;
}

/* ---- Every leaf of every PD's table is explained by a mapping or a UTCB of that PD; root's also
 * by how it started. */
struct walk {
    const struct pd *pd;
    uint16_t owner;  /* its index */
    uint64_t mapped; /* frames found that mappings explain */
    uint32_t tables;
};

static bool from_the_start(const struct walk *w, uint64_t va)
{
    return w->owner == ROOT && va >= IMAGE_BASE && va < ROOT_INFO + sizeof(struct boot_info);
}

/* The leaf is part of `mp`: as many frames from its first as bytes from its address, with the same
 * rights. */
static bool is_part_of(struct walk *w, const struct mp *mp, uint64_t va, uint64_t frames)
{
    uint64_t frame, bits, first, granted, offset = (va - mp->va) >> PAGE_SHIFT;
    w->mapped += frames;
    return ptab_lookup(w->pd, va, &frame, &bits) && ptab_lookup(w->pd, mp->va, &first, &granted) &&
           frame == first + offset && frames <= mp->frames - offset &&
           !((bits ^ granted) & ~PTE_STATE);
}

static bool is_utcb_of(const struct walk *w, const struct ec *ec, uint64_t va, uint64_t frames)
{
    uint64_t frame, bits;
    return ptab_lookup(w->pd, va, &frame, &bits) && frames == 1 &&
           frame == cpu_pa(ec->utcb) >> PAGE_SHIFT;
}

static bool leaf_is_explained(struct walk *w, uint64_t va, uint64_t frames)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct object *o = &objects[i];
        if (o->head.owner != w->owner)
            continue;
        if (o->head.type == OBJ_MP && va >= o->mp.va && va - o->mp.va < o->mp.frames << PAGE_SHIFT)
            return is_part_of(w, &o->mp, va, frames);
        if (o->head.type == OBJ_EC && o->ec.utcb && o->ec.utcb_va == va)
            return is_utcb_of(w, &o->ec, va, frames);
    }
    return from_the_start(w, va);
}

static bool table_is_explained(struct walk *w, const uint64_t *table, uint32_t entries,
                               unsigned level, uint64_t va)
{
    uint64_t frames = 1ull << (TABLE_BITS * level);
    for (uint32_t i = 0; i < entries; i++, va += frames << PAGE_SHIFT) {
        if (!(table[i] & PTE_PRESENT) || (table[i] & ~PTE_STATE) == w->pd->hole[level])
            continue;
        if (level == 0 || table[i] & PTE_LARGE) {
            if (!leaf_is_explained(w, va, frames))
                return false;
            continue;
        }
        const uint64_t *next = frame_table(table[i]);
        w->tables++;
        if (frame_payer(next) != w->owner ||
            !table_is_explained(w, next, TABLE_ENTRIES, level - 1, va))
            return false;
    }
    return true;
}

static uint64_t frames_of_mappings(uint32_t owner)
{
    uint64_t frames = 0;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(i, OBJ_MP) && objects[i].head.owner == owner)
            frames += objects[i].mp.frames;
    return frames;
}

/* The upper half is the kernel's, the same for every host PD; a guest's is empty. */
static bool kernel_half_is_kept(const struct pd *pd)
{
    for (uint32_t i = TABLE_ENTRIES / 2; i < TABLE_ENTRIES; i++) {
        bool kernel = i == TABLE_ENTRIES - 1 && pd->kind == PD_HOST;
        if ((pd->table[i] & ~PTE_STATE) !=
            (kernel ? kernel_space->table[i] & ~PTE_STATE : pd->hole[3]))
            return false;
    }
    return true;
}

static bool space_is_explained(uint32_t i)
{
    const struct pd *pd = &objects[i].pd;
    struct walk w = {.pd = pd, .owner = (uint16_t)i};
    if (frame_payer(pd->table) != i || pd->table_pa != cpu_pa(pd->table) ||
        !kernel_half_is_kept(pd))
        return false;
    return table_is_explained(&w, pd->table, TABLE_ENTRIES / 2, 3, 0) &&
           w.mapped == frames_of_mappings(i) && w.tables == pd->tables;
}

static bool spaces_are_explained(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(i, OBJ_PD) && !space_is_explained(i))
            return false;
    return true;
}

/* ---- No capability is from the future of its slot (a free slot is stale for good), none names the
   kernel or a mapping, and none lets the kernel's region be written. */
static bool cap_is_sound(struct cap c)
{
    const struct object *o = &objects[c.index & (OBJECTS - 1)];
    if (!c.gen)
        return true;
    if (c.index >= OBJECTS || c.gen > o->head.gen)
        return false;
    if (c.gen < o->head.gen || o->head.type == OBJ_NONE)
        return true;
    return c.index != KERNEL && o->head.type != OBJ_MP &&
           !(o->head.type == OBJ_MR && c.rights & MR_WRITE && in_kernel(&o->mr));
}

static bool caps_are_sound(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        if (!is(i, OBJ_PD))
            continue;
        if (frame_payer(objects[i].pd.caps) != i)
            return false;
        for (uint32_t slot = 0; slot < objects[i].pd.slots; slot++)
            if (!cap_is_sound(objects[i].pd.caps[slot]))
                return false;
    }
    return true;
}

/* ---- Threads, time and portals hang together, and each thread finds its UTCB where it was told.
 */
static bool ec_is_linked(const struct ec *ec)
{
    uint64_t frame, bits;
    if (ec->pd != &objects[ec->head.owner].pd || ec->core >= core_count ||
        (ec->kind == EC_VCPU) != (ec->pd->kind == PD_GUEST))
        return false;
    if (ec->kind == EC_VCPU)
        return frame_payer(ec->vcpu) == ec->head.owner;
    return frame_payer(ec->utcb) == ec->head.owner &&
           ptab_lookup(ec->pd, ec->utcb_va, &frame, &bits) &&
           frame == cpu_pa(ec->utcb) >> PAGE_SHIFT;
}

/* A function is a guest's, and interrupts only cores that its guest has for itself. */
static bool dv_is_linked(const struct dv *dv)
{
    const struct pd *pd = &objects[dv->head.owner].pd;
    for (uint32_t i = 0; i < DV_IRQS; i++) {
        const struct ec *ec = dv->vcpu[i];
        if (ec && (!points_to(ec, OBJ_EC) || ec->pd != pd || cores[ec->core].owner != ec))
            return false;
    }
    return pd->kind == PD_GUEST;
}

static bool is_linked(const struct object *o)
{
    switch ((enum object_type)o->head.type) {
    case OBJ_EC: return ec_is_linked(&o->ec);
    case OBJ_DV: return dv_is_linked(&o->dv);
    case OBJ_SC:
        return points_to(o->sc.home, OBJ_EC) && o->sc.home->sc == &o->sc &&
               o->sc.home->kind != EC_HANDLER && o->sc.core == o->sc.home->core;
    case OBJ_PT: return points_to(o->pt.ec, OBJ_EC) && o->pt.ec->kind == EC_HANDLER;
    case OBJ_NONE:
    case OBJ_PD:
    case OBJ_SM:
    case OBJ_MR:
    case OBJ_MP:
    case OBJ_SYS:
    case OBJ_COUNT: break;
    }
    return true;
}

static bool links_hold(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (!is_linked(&objects[i]))
            return false;
    return true;
}

const char *invariant_broken(void)
{
    if (!objects_have_owners())
        return "an object has no living owner";
    if (!owners_list_all())
        return "a PD's list is not of what it paid for";
    if (!quotas_are_conserved())
        return "a quota was lost or made";
    if (!counters_are_true())
        return "the counters are not true";
    if (!regions_lie_apart())
        return "a region overlaps another or the kernel";
    if (!lists_are_whole())
        return "a region's list of mappings is not whole";
    if (!mappings_are_inside())
        return "a mapping leaves its region";
    if (!spaces_are_explained())
        return "a page is mapped that nothing explains";
    if (!caps_are_sound())
        return "a capability says what it must not";
    return links_hold() ? 0 : "threads, time and portals do not hang together";
}
