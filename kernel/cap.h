/* Capability tables: looking up, copying, emptying slots. */
#ifndef KERNEL_CAP_H
#define KERNEL_CAP_H

#include <object.h>

/* A decoded system call says which argument (1..5) was wrong beside the status. */
static inline uint64_t bad(enum status s, unsigned arg) { return (uint64_t)s | (uint64_t)arg << 8; }

/* Slot `slot` of `pd`, below CAP_SLOTS; the mask keeps a mispredicted check inside the table. */
static inline struct cap *cap_slot(const struct pd *pd, uint64_t slot) { return &pd->caps[cpu_unknown(slot) & (CAP_SLOTS - 1)]; }

/*
 * The object behind `slot` of `pd`, if it is of `type` and the capability has
 * all of `rights`. Returns OK, or BAD_CAP / BAD_RIGHT with `arg`. Any core, no lock.
 * The capability is read at once, the type before the generation: object_new()
 * writes them the other way round.
 */
static inline WARN_UNUSED uint64_t cap_find(const struct pd *pd, uint64_t slot, enum object_type type, unsigned rights, unsigned arg,
                                            void **object)
{
    if (slot >= CAP_SLOTS)
        return bad(BAD_CAP, arg);
    struct cap c;
    __atomic_load(cap_slot(pd, slot), &c, __ATOMIC_ACQUIRE);
    struct object *o = &objects[c.index & (OBJECTS - 1)];
    if (__atomic_load_n(&o->head.type, __ATOMIC_ACQUIRE) != type || !c.gen || o->head.gen != c.gen || o->head.dead)
        return bad(BAD_CAP, arg);
    if ((c.rights & rights) != rights)
        return bad(BAD_RIGHT, arg);
    *object = o;
    return OK;
}

/* May a new capability be put there? OK, BAD_CAP (no such slot) or BUSY (taken). Graph lock. */
uint64_t cap_vacant(const struct pd *pd, uint64_t slot, unsigned arg) WARN_UNUSED;

/* Put a capability into a slot that cap_vacant() approved. Graph lock. */
void cap_set(struct pd *pd, uint64_t slot, void *object, unsigned rights);

/* The calls; see docs/abi.md. Graph lock. */
uint64_t cap_delegate(struct pd *self, uint64_t source, uint64_t target, uint64_t mask);
uint64_t cap_revoke(struct pd *self, uint64_t target);

_Static_assert((OBJECTS & (OBJECTS - 1)) == 0, "masks need a power of two");

#endif
