/*
 * The end of objects. Three steps: mark all that dies (cap_find() refuses it from
 * then on), make each core drop its references to it (core_sync), give every byte
 * back to its payer. Graph lock throughout. The time is bounded by the number of
 * objects that die; for a PD by the size of the object table.
 */
#include <cap.h>
#include <core.h>
#include <dv.h>
#include <ec.h>
#include <pt.h>
#include <mr.h>
#include <pd.h>
#include <frame.h>
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

/* What dies with `o`. With a PD: all objects that it owns. With an EC: its SC and the portals to
   it. With the SC of a whole core: its vCPU, because the local APIC is open to it, so it must not
   run on a shared core. */
static void kill_dependents(const struct object *o)
{
    for (uint32_t i = o->head.type == OBJ_PD ? o->pd.owned : 0; i; i = objects[i].head.next)
        kill(&objects[i]);
    if (o->head.type == OBJ_SC && o->sc.home->core_mode)
        kill(o->sc.home);
    if (o->head.type != OBJ_EC)
        return;
    if (o->ec.kind != EC_HANDLER) /* a handler runs on its caller's SC */
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

/* True if no core needs to purge this dead EC: it is in no queue and in no inbox. That is so of a
   handler that nobody is calling, and of an EC that has had no SC yet, unless a post of it is on
   its way. After the first rendezvous only: from then on nobody calls, posts or wakes a dead EC,
   so the answer stays true. */
static bool rests(const struct ec *ec)
{
    return !ec->inboxed && (ec->state == STATE_IDLE || (ec->state == STATE_NEW && !ec->sc));
}

/* The cores, a bit each, that have something dead in a queue or inbox or use a dead space. After
 * the first rendezvous. */
static uint64_t cores_to_purge(void)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < dead_count; i++) {
        const struct object *o = &objects[dead[i]];
        if (o->head.type == OBJ_EC && !rests(&o->ec))
            mask |= 1ull << o->ec.core;
        else if (o->head.type == OBJ_SC)
            mask |= 1ull << o->sc.core;
        else if (o->head.type == OBJ_PD)
            mask |= core_users(&o->pd);
    }
    return mask;
}

/* First half of the TLB shootdown: no living PD maps a dead region or UTCB afterwards, and no
   device reaches the memory or the interrupts of a dead guest. The cores whose TLBs may still hold
   such a translation, a bit each. */
static uint64_t unmap(void)
{
    uint64_t flush = 0;
    for (uint32_t i = 0; i < dead_count; i++) {
        struct object *o = &objects[dead[i]];
        if (o->head.type == OBJ_MR)
            flush |= mr_unmap_all(&o->mr, 0, 0);
        else if (o->head.type == OBJ_DV)
            dv_detach(&o->dv);
        else if (o->head.type == OBJ_SC && o->sc.home->core_mode)
            dv_forget(o->sc.home);
        else if (o->head.type == OBJ_EC)
            flush |= ec_unmap(&o->ec);
    }
    return flush;
}

/* The owner gets the PD's whole quota back. What the PD spent of it is free already: its objects
 * died with it (sweep). */
static void release_pd(struct pd *pd)
{
    struct pd *owner = &objects[pd->head.owner].pd;
    mr_unseal(pd);
    frame_free_all(pd);
    counters.table_frames -= pd->tables;
    owner->frames_left += pd->frames_given;
    owner->objects_left += pd->objects_given;
}

static void abort_waiters(void)
{
    for (uint32_t i = 0; i < dead_count; i++)
        if (objects[dead[i]].head.type == OBJ_SM)
            sm_abort(&objects[dead[i]].sm);
}

/* Free what an object has outside its own slot. After the second rendezvous: no core has a
 * reference to it. */
static void release(struct object *o)
{
    check_that(has_graph_lock() && o->head.dead);
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
    if (slot >= self->slots)
        return bad(BAD_CAP, 1);
    void *o;
    enum object_type type = (enum object_type)objects[cap_slot(self, slot)->index].head.type;
    uint64_t s =
        type == OBJ_NONE ? bad(BAD_CAP, 1) : cap_find(self, slot, type, RIGHT_DESTROY, 1, &o);
    if (s)
        return s;
    if (type == OBJ_MR &&
        (((struct mr *)o)->maps || ((struct mr *)o)->sealed || ((struct mr *)o)->dirty))
        return bad(BUSY, 1);
    mark(o);
    /* First rendezvous, and TLB shootdown. A core may have found an object just before it was
       marked, and still call it, post it or wait on it. Afterwards each core has left the kernel
       once, and finds nothing dead any more. */
    core_sync(0, unmap());
    abort_waiters();
    /* Second rendezvous. A dead EC may still be in a queue or inbox, by what a core did before the
       first; a time-out on another core may hold a dead semaphore's lock. Afterwards neither is so,
       and the slots can be used again. */
    core_sync(cores_to_purge(), 0);
    static const enum object_type order[] = {OBJ_SC, OBJ_PT, OBJ_MP, OBJ_DV,
                                             OBJ_EC, OBJ_SM, OBJ_MR, OBJ_PD};
    _Static_assert(sizeof order / sizeof order[0] == OBJ_COUNT - 2,
                   "all types but OBJ_NONE, and OBJ_SYS, which never ends");
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++)
        sweep(order[i]);
    return OK;
}
