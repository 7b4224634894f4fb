/* Capability tables. One rule: a copy has the source's rights AND a mask. */
#include <cap.h>

static bool cap_live(struct cap c)
{
    return c.gen && objects[c.index].head.gen == c.gen && objects[c.index].head.type != OBJ_NONE;
}

uint64_t cap_vacant(const struct pd *pd, uint64_t slot, unsigned arg)
{
    if (slot == 0 || slot >= pd->slots)
        return bad(BAD_CAP, arg);
    return cap_live(*cap_slot(pd, slot)) ? bad(BUSY, arg) : OK;
}

/* At once: other cores look while we write. */
static void put(struct pd *pd, uint64_t slot, struct cap c)
{
    check_that(has_graph_lock());
    __atomic_store(cap_slot(pd, slot), &c, __ATOMIC_RELEASE);
}

void cap_set(struct pd *pd, uint64_t slot, void *object, unsigned rights)
{
    const struct object *o = object;
    put(pd, slot,
        (struct cap){.gen = o->head.gen & ((1ull << 40) - 1),
                     .rights = rights & 0xff,
                     .index = object_index(o)});
}

uint64_t cap_prepare(const struct pd *self, uint64_t who, void **payer)
{
    uint64_t s = cap_vacant(self, who & 0xffff, 1);
    return s ? s : cap_find(self, who >> 16 & 0xffff, OBJ_PD, PD_CREATE, 1, payer);
}

uint64_t cap_hand_out(struct pd *self, uint64_t who, void *object)
{
    cap_set(self, who & 0xffff, object, RIGHT_ALL);
    return OK;
}

uint64_t cap_delegate(struct pd *self, uint64_t source, uint64_t target, uint64_t mask)
{
    void *o, *to;
    /* mutant: cap-take */
    uint64_t s = cap_find(self, source & 0xffff, OBJ_PD, PD_TAKE, 1, &o);
    if (s == OK)
        /* mutant: cap-grant */
        s = cap_find(self, target & 0xffff, OBJ_PD, PD_GRANT, 2, &to);
    if (s)
        return s;
    const struct pd *from = o;
    uint64_t slot = source >> 16;
    if (slot >= from->slots)
        return bad(BAD_CAP, 1);
    struct cap c = *cap_slot(from, slot);
    if (!cap_live(c))
        return bad(BAD_CAP, 1);
    /* mutant: cap-overwrite */
    s = cap_vacant(to, target >> 16, 2);
    if (s)
        return s;
    /* mutant: cap-copy */
    cap_set(to, target >> 16, &objects[c.index], c.rights & (unsigned)mask);
    return OK;
}

uint64_t cap_revoke(struct pd *self, uint64_t target)
{
    void *o;
    uint64_t s = cap_find(self, target & 0xffff, OBJ_PD, PD_GRANT, 1, &o);
    if (s)
        return s;
    struct pd *pd = o;
    /* mutant: cap-self */
    if (target >> 16 == 0 || target >> 16 >= pd->slots)
        return bad(BAD_CAP, 1);
    if (pd->sealed) /* who says with which registers its vCPUs start was there before its VMM */
        return bad(BUSY, 1);
    /* mutant: cap-empty */
    put(pd, target >> 16, (struct cap){0});
    return OK;
}
