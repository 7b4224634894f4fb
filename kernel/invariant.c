/*
 * Isolation as predicates over the object graph, one a paragraph. Together: a
 * frame is reachable from a domain only through a mapping that somebody made
 * with a capability for its region, or as the UTCB of one of its threads.
 */
#include <core.h>
#include <invariant.h>
#include <pd.h>
#include <pool.h>
#include <ptab.h>
#include <abi/boot.h>
#include <abi/image.h>

enum { NOBODY, KERNEL, ROOT, FIRST = ROOT }; /* objects 0 and 1 are never created nor destroyed, root is the first that is */

extern uint8_t image_start[], kernel_end[];

#define PTE_STATE 0xe0ull /* accessed, dirty, large: not rights */

static bool is(const void *object, enum object_type type)
{
    uint64_t at = (uint64_t)object - (uint64_t)objects;
    return at < sizeof objects && at % sizeof(struct object) == 0 && ((const struct head *)object)->type == type;
}

/* ---- Every object is alive and paid for by a living PD; nobody owns the kernel's own. */
static bool objects_have_owners(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct head *h = &objects[i].head;
        if (h->type != OBJ_NONE && (h->type > OBJ_SYS || h->dead || !h->gen || h->owner >= OBJECTS || !is(&objects[h->owner], OBJ_PD)))
            return false;
    }
    return objects[NOBODY].head.type == OBJ_NONE && is(&objects[KERNEL], OBJ_PD);
}

/* ---- What a PD was given is what it has left plus what it paid for and gave on: nothing is lost or made. */
static bool quota_is_conserved(const struct pd *pd, uint32_t frames_given, uint32_t objects_given)
{
    uint32_t frames = pd->frames_left + frame_count_of(pd), used = pd->objects_left;
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct object *o = &objects[i];
        if (o->head.type == OBJ_NONE || o->head.owner != object_index(pd))
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
        if (is(&objects[i], OBJ_PD) && !quota_is_conserved(&objects[i].pd, objects[i].pd.frames_given, objects[i].pd.objects_given))
            return false;
    return quota_is_conserved(&objects[KERNEL].pd, POOL_FRAMES, OBJECTS - 2);
}

static bool counters_are_true(void)
{
    uint32_t free = 0, tables = 0, frames = stat.frames_free;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        free += objects[i].head.type == OBJ_NONE;
    for (uint32_t i = KERNEL; i < OBJECTS; i++)
        if (is(&objects[i], OBJ_PD)) {
            frames += frame_count_of(&objects[i].pd);
            tables += objects[i].pd.tables;
        }
    return stat.objects_free == free && stat.table_frames == tables && frames == POOL_FRAMES;
}

/* ---- Regions lie apart from each other and from the kernel, whose one region (the counters) nobody may write. */
static bool overlap(uint64_t a, uint64_t a_frames, uint64_t b, uint64_t b_frames) { return a < b + b_frames && b < a + a_frames; }

static bool in_kernel(const struct mr *mr)
{
    uint64_t first = cpu_pa(image_start) >> PAGE_SHIFT, end = cpu_pa(kernel_end) >> PAGE_SHIFT;
    return overlap(mr->first, mr->frames, first, end - first);
}

static bool is_counters(const struct mr *mr)
{
    return mr->first == cpu_pa(&stat) >> PAGE_SHIFT && mr->frames <= (sizeof stat + PAGE_SIZE - 1) / PAGE_SIZE;
}

static bool region_lies_apart(const struct mr *mr)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        const struct mr *other = &objects[i].mr;
        if (is(other, OBJ_MR) && other != mr && overlap(mr->first, mr->frames, other->first, other->frames))
            return false;
    }
    return mr->frames && mr->first + mr->frames > mr->first && (!in_kernel(mr) || is_counters(mr));
}

static bool regions_lie_apart(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(&objects[i], OBJ_MR) && !region_lies_apart(&objects[i].mr))
            return false;
    return true;
}

/* ---- A region's list holds exactly the mappings that name it. */
static bool list_is_whole(const struct mr *mr)
{
    uint32_t listed = 0, named = 0;
    for (const struct mp *mp = mr->maps; mp; mp = mp->next)
        if (!is(mp, OBJ_MP) || mp->mr != mr || ++listed == OBJECTS)
            return false;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        named += is(&objects[i], OBJ_MP) && objects[i].mp.mr == mr;
    return listed == named;
}

static bool lists_are_whole(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if ((is(&objects[i], OBJ_MR) && !list_is_whole(&objects[i].mr)) || (is(&objects[i], OBJ_MP) && !is(objects[i].mp.mr, OBJ_MR)))
            return false;
    return true;
}

/* ---- A mapping shows its region's frames and no others, to user mode; the kernel's region never for writing. */
static bool mapping_is_inside(const struct mp *mp)
{
    const struct mr *mr = mp->mr;
    uint64_t first, bits;
    if (!mp->frames || mp->frames > mr->frames || !ptab_lookup(&objects[mp->head.owner].pd, mp->va, &first, &bits))
        return false;
    return first >= mr->first && first - mr->first <= mr->frames - mp->frames && bits & PTE_USER && !(bits & PTE_WRITE && in_kernel(mr));
}

static bool mappings_are_inside(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(&objects[i], OBJ_MP) && !mapping_is_inside(&objects[i].mp))
            return false;
    return true;
}

/* ---- Every leaf of every PD's table is explained by a mapping or a UTCB of that PD; root's also by how it started. */
struct walk {
    const struct pd *pd;
    const struct object *last; /* what explained the leaf before: most often this one too */
    uint64_t mapped;           /* frames found that mappings explain */
    uint32_t tables;
};

static bool covers(const struct object *o, const struct pd *pd, uint64_t va)
{
    if (o->head.owner != object_index(pd))
        return false;
    if (o->head.type == OBJ_MP)
        return va >= o->mp.va && va - o->mp.va < o->mp.frames << PAGE_SHIFT;
    return o->head.type == OBJ_EC && o->ec.utcb && o->ec.utcb_va == va;
}

static const struct object *explanation(struct walk *w, uint64_t va)
{
    for (uint32_t i = FIRST; i < OBJECTS && !covers(w->last, w->pd, va); i++)
        w->last = &objects[i];
    return covers(w->last, w->pd, va) ? w->last : 0;
}

static bool from_the_start(const struct pd *pd, uint64_t va)
{
    return object_index(pd) == ROOT && va >= IMAGE_BASE && va < ROOT_INFO + PAGE_SIZE;
}

static bool leaf_is_explained(struct walk *w, uint64_t va, uint64_t frames)
{
    uint64_t frame, bits, first, granted;
    const struct object *o = explanation(w, va);
    if (!o)
        return from_the_start(w->pd, va);
    if (!ptab_lookup(w->pd, va, &frame, &bits))
        return false;
    if (o->head.type == OBJ_EC)
        return frames == 1 && frame == cpu_pa(o->ec.utcb) >> PAGE_SHIFT;
    w->mapped += frames;
    uint64_t offset = (va - o->mp.va) >> PAGE_SHIFT;
    return ptab_lookup(w->pd, o->mp.va, &first, &granted) && frame == first + offset && frames <= o->mp.frames - offset &&
           !((bits ^ granted) & ~PTE_STATE);
}

static bool table_is_explained(struct walk *w, const uint64_t *table, uint32_t entries, unsigned level, uint64_t va)
{
    uint64_t frames = 1ull << (TABLE_BITS * level);
    for (uint32_t i = 0; i < entries; i++, va += frames << PAGE_SHIFT) {
        if (!(table[i] & PTE_PRESENT))
            continue;
        if (level == 0 || table[i] & PTE_LARGE) {
            if (!leaf_is_explained(w, va, frames))
                return false;
            continue;
        }
        const uint64_t *next = frame_table(table[i]);
        w->tables++;
        if (frame_payer(next) != object_index(w->pd) || !table_is_explained(w, next, TABLE_ENTRIES, level - 1, va))
            return false;
    }
    return true;
}

static uint64_t frames_of_mappings(const struct pd *pd)
{
    uint64_t frames = 0;
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(&objects[i], OBJ_MP) && objects[i].head.owner == object_index(pd))
            frames += objects[i].mp.frames;
    return frames;
}

/* The upper half is the kernel's, the same for every host PD; a guest's is empty. */
static bool kernel_half_is_kept(const struct pd *pd)
{
    for (uint32_t i = TABLE_ENTRIES / 2; i < TABLE_ENTRIES; i++) {
        bool kernel = i == TABLE_ENTRIES - 1 && pd->kind == PD_HOST;
        if (pd->table[i] != (kernel ? kernel_space->table[i] : 0))
            return false;
    }
    return true;
}

static bool space_is_explained(const struct pd *pd)
{
    struct walk w = {.pd = pd, .last = &objects[FIRST]};
    if (frame_payer(pd->table) != object_index(pd) || pd->table_pa != cpu_pa(pd->table) || !kernel_half_is_kept(pd))
        return false;
    return table_is_explained(&w, pd->table, TABLE_ENTRIES / 2, 3, 0) && w.mapped == frames_of_mappings(pd) && w.tables == pd->tables;
}

static bool spaces_are_explained(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++)
        if (is(&objects[i], OBJ_PD) && !space_is_explained(&objects[i].pd))
            return false;
    return true;
}

/* ---- No capability is from the future of its slot (a free slot is stale for good), none names the kernel
   or a mapping, and none lets the kernel's region be written. */
static bool cap_is_sound(struct cap c)
{
    const struct object *o = &objects[c.index & (OBJECTS - 1)];
    if (!c.gen)
        return true;
    if (c.index >= OBJECTS || c.gen > o->head.gen)
        return false;
    if (c.gen < o->head.gen || o->head.type == OBJ_NONE)
        return true;
    return c.index != KERNEL && o->head.type != OBJ_MP && !(o->head.type == OBJ_MR && c.rights & MR_WRITE && in_kernel(&o->mr));
}

static bool caps_are_sound(void)
{
    for (uint32_t i = FIRST; i < OBJECTS; i++) {
        if (!is(&objects[i], OBJ_PD))
            continue;
        if (frame_payer(objects[i].pd.caps) != i)
            return false;
        for (uint32_t slot = 0; slot < CAP_SLOTS; slot++)
            if (!cap_is_sound(objects[i].pd.caps[slot]))
                return false;
    }
    return true;
}

/* ---- Threads, time and portals hang together, and each thread finds its UTCB where it was told. */
static bool ec_is_linked(const struct ec *ec)
{
    uint64_t frame, bits;
    if (ec->pd != &objects[ec->head.owner].pd || ec->core >= core_count || (ec->kind == EC_VCPU) != (ec->pd->kind == PD_GUEST))
        return false;
    if (ec->kind == EC_VCPU)
        return frame_payer(ec->vcpu) == ec->head.owner;
    return frame_payer(ec->utcb) == ec->head.owner && ptab_lookup(ec->pd, ec->utcb_va, &frame, &bits) &&
           frame == cpu_pa(ec->utcb) >> PAGE_SHIFT;
}

static bool is_linked(const struct object *o)
{
    switch (o->head.type) {
    case OBJ_EC:
        return ec_is_linked(&o->ec);
    case OBJ_SC:
        return is(o->sc.home, OBJ_EC) && o->sc.home->sc == &o->sc && o->sc.home->kind != EC_HANDLER && o->sc.core == o->sc.home->core;
    case OBJ_PT:
        return is(o->pt.ec, OBJ_EC) && o->pt.ec->kind == EC_HANDLER;
    default:
        return true;
    }
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
