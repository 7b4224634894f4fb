/*
 * The end of objects. Three steps: mark all that must go (nothing new starts on
 * it), have every core drop it (core_sync), give every byte back to who paid.
 * Graph lock throughout. Bounded by the table's size.
 */
#include <cap.h>
#include <core.h>
#include <ec.h>
#include <mr.h>
#include <pd.h>
#include <pool.h>
#include <sm.h>

/* Does `o` fall because of something that is dead already? */
static bool falls(const struct object *o)
{
    if (objects[o->head.owner].head.dead)
        return true;
    switch (o->head.type) {
    case OBJ_EC:
        return o->ec.pd->head.dead;
    case OBJ_SC:
        return o->sc.home->head.dead;
    case OBJ_PT:
        return o->pt.ec->head.dead;
    default:
        return false;
    }
}

/* A PD takes what it owns with it, an EC its SC and portals: repeat until nothing new falls. */
static void mark(struct head *first)
{
    first->dead = 1;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 2; i < OBJECTS; i++) {
            struct object *o = &objects[i];
            if (o->head.type == OBJ_NONE || o->head.dead || !falls(o))
                continue;
            o->head.dead = 1;
            more = true;
        }
    }
}

/* What an object leaves behind outside its own slot. No core uses it any more. */
static void release(struct object *o)
{
    switch (o->head.type) {
    case OBJ_EC:
        ec_release(&o->ec);
        break;
    case OBJ_SC:
        if (!o->sc.home->head.dead)
            o->sc.home->sc = 0;
        break;
    case OBJ_SM:
        sm_abort(&o->sm);
        break;
    default:
        break;
    }
}

/* Before the cores flush their TLBs: nothing that goes is mapped in a PD that stays. */
static void unmap(void)
{
    for (uint32_t i = 2; i < OBJECTS; i++) {
        struct object *o = &objects[i];
        if (!o->head.dead)
            continue;
        if (o->head.type == OBJ_MR)
            mr_unmap_all(&o->mr, 0);
        else if (o->head.type == OBJ_EC)
            ec_unmap(&o->ec);
    }
}

static void sweep(enum object_type type)
{
    for (uint32_t i = 2; i < OBJECTS; i++) {
        struct object *o = &objects[i];
        if (o->head.type != type || !o->head.dead)
            continue;
        release(o);
        if (type == OBJ_MP) {
            mr_drop(&o->mp);
            continue;
        }
        object_free(o);
    }
}

/* PDs last: what was given to one goes back whole, whatever of it was spent. */
static void sweep_pds(void)
{
    for (uint32_t i = OBJECTS - 1; i >= 2; i--) {
        struct object *o = &objects[i];
        if (o->head.type != OBJ_PD || !o->head.dead)
            continue;
        frame_free_all(&o->pd);
        stat.table_frames -= o->pd.tables;
        struct pd *owner = &objects[o->head.owner].pd;
        owner->frames_left += o->pd.frames_given;
        owner->objects_left += o->pd.objects_given;
        object_free(o);
    }
}

uint64_t pd_destroy(struct pd *self, uint64_t slot)
{
    if (slot >= CAP_SLOTS)
        return bad(BAD_CAP, 1);
    void *o;
    enum object_type type = (enum object_type)objects[self->caps[slot & (CAP_SLOTS - 1)].index].head.type;
    uint64_t s = cap_find(self, slot, type, RIGHT_DESTROY, 1, &o);
    if (s)
        return s;
    if (type == OBJ_SYS || o == kernel_space || (type == OBJ_MR && ((struct mr *)o)->maps))
        return bad(type == OBJ_MR ? BUSY : BAD_CAP, 1);
    mark(o);
    unmap();
    core_sync(); /* nobody holds or posts a dead EC after this, */
    core_sync(); /* nor is one left in an inbox after this      */
    static const enum object_type order[] = {OBJ_SC, OBJ_PT, OBJ_MP, OBJ_EC, OBJ_SM, OBJ_MR};
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++)
        sweep(order[i]);
    sweep_pds();
    return OK;
}
