/*
 * The end of objects. Three steps: mark all that must go (nothing new starts on
 * it), have the cores that have it drop it (core_sync), give every byte back to
 * who paid. Graph lock throughout. Bounded by what falls; a PD's end by the table's size.
 */
#include <cap.h>
#include <core.h>
#include <dv.h>
#include <ec.h>
#include <ipc.h>
#include <mr.h>
#include <pd.h>
#include <pool.h>
#include <sm.h>

uint16_t dead[OBJECTS];
uint32_t dead_count;

static void kill(void *object)
{
    struct object *o = object;
    if (!o || o->head.dead)
        return;
    o->head.dead = 1;
    dead[dead_count++] = object_index(o);
}

/* A PD takes what it owns with it, an EC its SC and portals, the time of a whole core its vCPU, which cannot run where
   others do any more. Only a PD's end searches the table. */
static void kill_dependents(const struct object *o)
{
    if (o->head.type == OBJ_PD)
        for (uint32_t i = 2; i < OBJECTS; i++)
            if (objects[i].head.type != OBJ_NONE && objects[i].head.owner == object_index(o))
                kill(&objects[i]);
    if (o->head.type == OBJ_SC && o->sc.home->own)
        kill(o->sc.home);
    if (o->head.type != OBJ_EC)
        return;
    if (o->ec.kind != EC_HANDLER) /* a handler's is its caller's */
        kill(o->ec.sc);
    for (struct pt *pt = o->ec.portals; pt; pt = pt->next)
        kill(pt);
}

static void mark(struct object *first)
{
    dead_count = 0;
    kill(first);
    for (uint32_t i = 0; i < dead_count; i++)
        kill_dependents(&objects[dead[i]]);
}

/* Nobody called or woke it, or gave it time: no queue has it. Nobody can any more, either. */
static bool rests(const struct ec *ec) { return !ec->inboxed && (ec->state == STATE_IDLE || (ec->state == STATE_NEW && !ec->sc)); }

/* The cores that have something dead in their queues or use a dead space, a bit each. After a rendezvous: what rests then, rests. */
static uint32_t cores_to_purge(void)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < dead_count; i++) {
        const struct object *o = &objects[dead[i]];
        if (o->head.type == OBJ_EC && !rests(&o->ec))
            mask |= 1u << o->ec.core;
        else if (o->head.type == OBJ_SC)
            mask |= 1u << o->sc.core;
        else if (o->head.type == OBJ_PD)
            mask |= core_users(&o->pd);
    }
    return mask;
}

/* Before TLBs are flushed: nothing that goes is mapped in a PD that stays, or in the reach of a device. The cores to flush. */
static uint32_t unmap(void)
{
    uint32_t flush = 0;
    for (uint32_t i = 0; i < dead_count; i++) {
        struct object *o = &objects[dead[i]];
        if (o->head.type == OBJ_MR)
            flush |= mr_unmap_all(&o->mr, 0, 0);
        else if (o->head.type == OBJ_DV)
            flush |= dv_detach(&o->dv);
        else if (o->head.type == OBJ_SC && o->sc.home->own)
            flush |= dv_forget(o->sc.home);
        else if (o->head.type == OBJ_EC)
            flush |= ec_unmap(&o->ec);
    }
    return flush;
}

/* Give back what a PD was given, whole, whatever of it was spent. */
static void release_pd(struct pd *pd)
{
    struct pd *owner = &objects[pd->head.owner].pd;
    mr_unseal(pd);
    frame_free_all(pd);
    stat.table_frames -= pd->tables;
    owner->frames_left += pd->frames_given;
    owner->objects_left += pd->objects_given;
}

static void abort_waiters(void)
{
    for (uint32_t i = 0; i < dead_count; i++)
        if (objects[dead[i]].head.type == OBJ_SM)
            sm_abort(&objects[dead[i]].sm);
}

/* What an object leaves behind outside its own slot. No core uses it any more. */
static void release(struct object *o)
{
    switch (o->head.type) {
    case OBJ_PD: release_pd(&o->pd); break;
    case OBJ_EC: ec_release(&o->ec); break;
    case OBJ_PT: pt_unlink(&o->pt); break;
    case OBJ_MP: mr_unlink(&o->mp); break;
    default: break;
    }
}

static void sweep(enum object_type type)
{
    for (uint32_t i = 0; i < dead_count; i++) {
        struct object *o = &objects[dead[i]];
        if (o->head.type != type)
            continue;
        release(o);
        object_free(o);
    }
}

uint64_t pd_destroy(struct pd *self, uint64_t slot)
{
    if (slot >= CAP_SLOTS)
        return bad(BAD_CAP, 1);
    void *o;
    enum object_type type = (enum object_type)objects[cap_slot(self, slot)->index].head.type;
    uint64_t s = type == OBJ_NONE ? bad(BAD_CAP, 1) : cap_find(self, slot, type, RIGHT_DESTROY, 1, &o);
    if (s)
        return s;
    if (type == OBJ_MR && (((struct mr *)o)->maps || ((struct mr *)o)->sealed || ((struct mr *)o)->dirty))
        return bad(BUSY, 1);
    mark(o);
    core_sync(0, unmap()); /* nobody holds, calls or posts what is dead after this, and who finds it (sm.c) lets it go, */
    abort_waiters();
    core_sync(cores_to_purge(), 0); /* nor is it in a queue or an inbox, or locked by a waiter's time-out, after this */
    static const enum object_type order[] = {OBJ_SC, OBJ_PT, OBJ_MP, OBJ_DV, OBJ_EC, OBJ_SM, OBJ_MR, OBJ_PD};
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++)
        sweep(order[i]);
    return OK;
}
