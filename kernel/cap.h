/* Capability tables: looking up, copying, emptying slots. */
#ifndef KERNEL_CAP_H
#define KERNEL_CAP_H

#include <object.h>

/* A decoded system call says which argument (1..5) was wrong beside the status. */
static inline uint64_t bad(enum status s, unsigned arg) { return (uint64_t)s | (uint64_t)arg << 8; }

/* Slot `slot` of `pd`; the caller has checked that its table has it. Spectre v1: the mask
   keeps a load inside the table when that check is mispredicted; cpu_unknown() keeps the compiler
   from removing the mask. */
static inline struct cap *cap_slot(const struct pd *pd, uint64_t slot)
{
    return &pd->caps[cpu_unknown(slot) & (pd->slots - 1)];
}

/*
 * The object behind `slot` of `pd`, if it is of `type` and the capability has
 * all of `rights`. Returns OK, or BAD_CAP / BAD_RIGHT with `arg`. Any core, no lock.
 *
 * TOCTOU: another core may rewrite the slot, so the capability is copied by one
 * atomic load, and only the copy is checked. Another core may also free the object
 * and reuse its place: object_new() writes the generation first and the type last
 * (release), and this reads the type first (acquire) and the generation then. Who
 * sees the new type therefore sees the new generation, which the copy does not have.
 *
 * The object stays until this core leaves the kernel or answers a rendezvous (core_sync).
 */
static inline WARN_UNUSED uint64_t cap_find(const struct pd *pd, uint64_t slot,
                                            enum object_type type, unsigned rights, unsigned arg,
                                            void **object)
{
    /* mutant: cap-bounds */
    if (slot >= pd->slots)
        return bad(BAD_CAP, arg);
    struct cap c;
    __atomic_load(cap_slot(pd, slot), &c, __ATOMIC_ACQUIRE);
    struct object *o = &objects[c.index & (OBJECTS - 1)];
    /* mutant: cap-type */
    if (__atomic_load_n(&o->head.type, __ATOMIC_ACQUIRE) != type || !c.gen ||
        o->head.gen != c.gen || o->head.dead)
        return bad(BAD_CAP, arg);
    /* mutant: cap-rights */
    if ((c.rights & rights) != rights)
        return bad(BAD_RIGHT, arg);
    *object = o;
    return OK;
}

/* May a new capability be put into the slot? OK, BAD_CAP (no such slot) or BUSY (taken). Changes
 * nothing. Graph lock. */
uint64_t cap_vacant(const struct pd *pd, uint64_t slot, unsigned arg) WARN_UNUSED;

/* Put a capability into a slot that cap_vacant() approved, by one store: other cores read it
 * meanwhile. Graph lock. */
void cap_set(struct pd *pd, uint64_t slot, void *object, unsigned rights);

/* Begin and end of a call that makes an object. Its first argument is `who`: bits 15:0 are the slot
   for the new capability, 31:16 the slot of the PD that pays, which needs PD_CREATE. cap_prepare()
   changes nothing and returns OK with the payer, or BAD_CAP, BUSY or BAD_RIGHT. cap_hand_out() puts
   a capability with all rights into the slot and returns OK. Graph lock. */
uint64_t cap_prepare(const struct pd *self, uint64_t who, void **payer) WARN_UNUSED;
uint64_t cap_hand_out(struct pd *self, uint64_t who, void *object);

/*
 * CALL_DELEGATE and CALL_REVOKE; see docs/abi.md. Graph lock.
 *
 * cap_delegate: needs PD_TAKE to the source's PD and PD_GRANT to the target's. Fills one empty slot
 * with a copy of the source, whose rights are the source's AND `mask`: no right appears that the
 * source has not.
 *
 * cap_revoke: needs PD_GRANT to the PD, which nothing is sealed to. Empties one slot; the object
 * and all other copies stay.
 */
uint64_t cap_delegate(struct pd *self, uint64_t source, uint64_t target, uint64_t mask);
uint64_t cap_revoke(struct pd *self, uint64_t target);

_Static_assert((OBJECTS & (OBJECTS - 1)) == 0, "masks need a power of two");

#endif
