/*
 * Capability tables: whatever they hold and whatever is asked, no right appears
 * that its source did not have, a stale capability is never found, and an error
 * changes nothing. All objects, all slots and all arguments are arbitrary.
 */
#include "small.h"
#include <cap.c>
#include <object.c>

static struct cap table[OBJECTS][CAP_SLOTS], before[OBJECTS][CAP_SLOTS];

static void arbitrary_state(void)
{
    __CPROVER_havoc_object(objects);
    __CPROVER_havoc_object(table);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i].pd.slots = CAP_SLOTS;
        objects[i].pd.owned = objects[i].head.next = objects[i].head.prev = 0;
        objects[i].pd.caps = table[i]; /* any object may turn out to be a PD */
        for (uint32_t slot = 0; slot < CAP_SLOTS; slot++) {
            assume(table[i][slot].index < OBJECTS);
            before[i][slot] = table[i][slot];
        }
    }
}

static bool same(struct cap a, struct cap b)
{
    return a.gen == b.gen && a.rights == b.rights && a.index == b.index;
}
static bool live(struct cap c)
{
    return c.gen && c.gen == objects[c.index].head.gen && objects[c.index].head.type != OBJ_NONE;
}

/* No slot but (pd, slot) differs from what was there before. */
static void nothing_else_changed(uint64_t pd, uint64_t slot)
{
    uint64_t i = any(), k = any();
    assume(i < OBJECTS && k < CAP_SLOTS && !(i == pd && k == slot));
    check(same(table[i][k], before[i][k]));
}

static struct pd *some_pd(uint64_t *index)
{
    *index = any();
    assume(*index < OBJECTS && objects[*index].head.type == OBJ_PD);
    return &objects[*index].pd;
}

void find(void)
{
    arbitrary_state();
    uint64_t self, slot = any(), rights = any();
    enum object_type type = (enum object_type)any();
    const struct pd *pd = some_pd(&self);
    void *o = 0;
    assume(type < OBJ_COUNT);
    uint64_t s = cap_find(pd, slot, type, (unsigned)rights, 1, &o);
    nothing_else_changed(OBJECTS, 0);
    if (s) {
        check(!o && STATUS_ARG(s) == 1 &&
              (STATUS_CODE(s) == BAD_CAP || STATUS_CODE(s) == BAD_RIGHT));
        return;
    }
    struct cap c = before[self][slot];
    check(slot < CAP_SLOTS && o == &objects[c.index]);
    check(c.gen && c.gen == objects[c.index].head.gen);
    check(objects[c.index].head.type == type && !objects[c.index].head.dead);
    check(!((unsigned)rights & ~(unsigned)c.rights));
}

void delegate(void)
{
    arbitrary_state();
    uint64_t self, source = any(), target = any(), mask = any();
    struct pd *pd = some_pd(&self);
    uint64_t s = cap_delegate(pd, source, target, mask);
    if (s) {
        nothing_else_changed(OBJECTS, 0);
        return;
    }
    struct cap take = before[self][source & 0xffff], grant = before[self][target & 0xffff];
    check(source >> 16 < CAP_SLOTS && target >> 16 < CAP_SLOTS && target >> 16 != 0);
    check(live(take) && take.rights & PD_TAKE && objects[take.index].head.type == OBJ_PD);
    check(live(grant) && grant.rights & PD_GRANT && objects[grant.index].head.type == OBJ_PD);
    struct cap from = before[take.index][source >> 16], to = table[grant.index][target >> 16];
    check(live(from) && to.gen == from.gen && to.index == from.index);
    check(to.rights == (from.rights & mask));
    check(!live(before[grant.index][target >> 16]));
    nothing_else_changed(grant.index, target >> 16);
}

void revoke(void)
{
    arbitrary_state();
    uint64_t self, target = any();
    struct pd *pd = some_pd(&self);
    if (cap_revoke(pd, target)) {
        nothing_else_changed(OBJECTS, 0);
        return;
    }
    struct cap grant = before[self][target & 0xffff];
    check(live(grant) && grant.rights & PD_GRANT && objects[grant.index].head.type == OBJ_PD);
    check(!table[grant.index][target >> 16].gen);
    nothing_else_changed(grant.index, target >> 16);
}

/* What object_free() leaves: every capability to the object is stale, also once the slot is used
 * again. */
void reuse(void)
{
    arbitrary_state();
    uint64_t self, owner, slot = any();
    struct pd *pd = some_pd(&self), *payer = some_pd(&owner);
    void *o;
    assume(slot < CAP_SLOTS && live(table[self][slot]));
    struct cap c = table[self][slot];
    struct object *victim = &objects[c.index];
    assume(c.index && c.index != self && c.index != owner && victim->head.owner == owner);
    assume(victim->head.gen < 1ull << 40 && victim->head.dead && payer->objects_left < OBJECTS);
    object_free(victim);
    check(cap_find(pd, slot, (enum object_type)any(), 0, 1, &o));
    struct head *fresh = object_new(OBJ_SM, payer);
    check(!fresh || cap_find(pd, slot, (enum object_type)fresh->type, 0, 1, &o));
    check(!live(c) && cap_vacant(pd, slot, 1) == (slot ? OK : bad(BAD_CAP, 1)));
}
