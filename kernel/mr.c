/* Memory regions. An MP is one mapping: it belongs to the PD it is in and hangs in its region's
 * list. */
#include <cap.h>
#include <core.h>
#include <iommu.h>
#include <mr.h>
#include <pd.h>
#include <ptab.h>
#include <abi/boot.h>

struct mr *mr_new(struct pd *payer, uint64_t first, uint64_t frames, uint32_t kind)
{
    struct mr *mr = object_new(OBJ_MR, payer);
    if (mr) {
        mr->first = first;
        mr->frames = frames;
        mr->kind = kind;
    }
    return mr;
}

uint64_t mr_split(struct pd *self, uint64_t who, uint64_t frame)
{
    void *payer, *o;
    uint64_t s = cap_prepare(self, who, &payer);
    if (s == OK)
        s = cap_find(self, who >> 32, OBJ_MR, MR_SPLIT, 1, &o);
    if (s)
        return s;
    struct mr *mr = o;
    if (mr->maps || mr->sealed || mr->dirty)
        return bad(BUSY, 1);
    /* mutant: split-bounds */
    if (frame == 0 || frame >= mr->frames)
        return bad(BAD_ARG, 2);
    struct mr *rest = mr_new(payer, mr->first + frame, mr->frames - frame, mr->kind);
    if (!rest)
        return NO_MEMORY;
    /* mutant: split-rest */
    mr->frames = frame;
    cap_set(self, who & 0xffff, rest, cap_slot(self, who >> 32)->rights);
    return OK;
}

uint64_t mr_map(struct pd *self, uint64_t who, uint64_t va, uint64_t first, uint64_t frames)
{
    void *o, *space;
    uint64_t perm = who >> 32;
    if (!(perm & MR_READ) || (perm & ~(uint64_t)(MR_READ | MR_WRITE | MR_EXEC)))
        return bad(BAD_ARG, 1);
    /* mutant: map-rights */
    uint64_t s = cap_find(self, who & 0xffff, OBJ_MR, (unsigned)perm, 1, &o);
    if (s == OK)
        s = cap_find(self, who >> 16 & 0xffff, OBJ_PD, PD_MAP, 1, &space);
    if (s)
        return s;
    struct mr *mr = o;
    struct pd *pd = space;
    /* mutant: map-sealed */
    if (mr->sealed || mr->dirty)
        return bad(BUSY, 1);
    if (first >= mr->frames)
        return bad(BAD_ARG, 3);
    /* mutant: map-range */
    if (frames == 0 || frames > mr->frames - first || frames > MAX_FRAMES_PER_MAP)
        return bad(BAD_ARG, 4);
    /* mutant: map-end */
    if (va & (PAGE_SIZE - 1) || va >= USER_END || frames << PAGE_SHIFT > USER_END - va)
        return bad(BAD_ARG, 2);
    struct mp *mp = object_new(OBJ_MP, pd);
    if (!mp)
        return NO_MEMORY;
    s = ptab_map(pd, va, mr->first + first, frames,
                 (unsigned)perm | (mr->kind == RANGE_DEVICE ? PTAB_DEVICE : 0));
    if (s) {
        object_free(mp);
        if (s == BAD_ARG)
            return bad(BAD_ARG, 4);
        return s == BUSY ? bad(BUSY, 2) : s;
    }
    mp->mr = mr;
    mp->va = va;
    mp->frames = frames;
    mp->next = mr->maps;
    mr->maps = mp;
    return OK;
}

void mr_unlink(struct mp *mp)
{
    struct mp **p = &mp->mr->maps;
    while (*p != mp)
        p = &(*p)->next;
    *p = mp->next;
}

uint64_t mr_unmap_all(struct mr *mr, const struct pd *pd, const struct pd *keep)
{
    uint64_t flush = 0;
    for (struct mp *mp = mr->maps, *next; mp; mp = next) {
        next = mp->next;
        struct pd *owner = &objects[mp->head.owner].pd;
        /* mutant: unmap-whose */
        if (mp->head.dead || (pd && owner != pd) || owner == keep)
            continue;
        /* mutant: unmap-table */
        ptab_unmap(owner, mp->va, mp->frames);
        /* mutant: unmap-flush */
        flush |= core_users(owner);
        /* mutant: unmap-stale */
        iommu_stale = true;
        mr_unlink(mp);
        object_free(mp);
    }
    return flush;
}

uint64_t mr_unmap(struct pd *self, uint64_t who)
{
    void *o, *pd = 0;
    uint64_t s = cap_find(self, who & 0xffff, OBJ_MR, MR_UNMAP, 1, &o);
    if (s == OK && who >> 16)
        s = cap_find(self, who >> 16, OBJ_PD, PD_MAP, 1, &pd);
    if (s)
        return s;
    if (((struct mr *)o)->sealed)
        return bad(BUSY, 1);
    core_sync(0, mr_unmap_all(o, pd, 0));
    return OK;
}

uint64_t mr_seal(struct pd *self, uint64_t who)
{
    void *o, *pd;
    uint64_t s = cap_find(self, who & 0xffff, OBJ_MR, MR_SEAL, 1, &o);
    if (s == OK)
        s = cap_find(self, who >> 16, OBJ_PD, PD_MAP, 1, &pd);
    if (s)
        return s;
    struct mr *mr = o;
    if (mr->kind != RANGE_RAM || ((struct pd *)pd)->kind != PD_GUEST)
        return bad(BAD_ARG, 1);
    if (mr->sealed || mr->dirty)
        return bad(BUSY, 1);
    mr->sealed = object_index(pd);
    ((struct pd *)pd)->sealed = 1;
    /* mutant: seal-unmap */
    core_sync(0, mr_unmap_all(mr, 0, pd));
    return OK;
}

void mr_unseal(const struct pd *pd)
{
    for (uint32_t i = 1; pd->sealed && i < OBJECTS; i++) {
        struct mr *mr = &objects[i].mr;
        if (mr->head.type == OBJ_MR && mr->sealed == object_index(pd)) {
            mr->sealed = 0;
            mr->dirty = mr->frames;
        }
    }
}

/* The last frames that are dirty, through a window of the kernel's space. */
uint64_t mr_scrub(struct pd *self, uint64_t slot)
{
    void *o;
    uint64_t s = cap_find(self, slot, OBJ_MR, MR_SEAL, 1, &o);
    if (s)
        return s;
    struct mr *mr = o;
    if (mr->sealed)
        return bad(BUSY, 1);
    uint64_t clean = mr->dirty > SCRUB_FRAMES ? mr->dirty - SCRUB_FRAMES : 0,
             frames = mr->dirty - clean;
    if (!frames)
        return OK;
    /* mutant: scrub-window */
    if (ptab_map(kernel_space, SCRUB_WINDOW, mr->first + clean, frames, MR_READ | MR_WRITE))
        return NO_MEMORY;
    cpu_set_cr3(cpu_core()->cr3); /* what this core may have guessed of the window */
    for (uint64_t at = SCRUB_WINDOW; at < SCRUB_WINDOW + frames * PAGE_SIZE; at += PAGE_SIZE)
        /* mutant: scrub-zero */
        cpu_zero_page((void *)at);
    ptab_unmap(kernel_space, SCRUB_WINDOW, frames);
    cpu_set_cr3(cpu_core()->cr3);
    mr->dirty = clean;
    return clean ? (uint64_t)AGAIN : (uint64_t)OK;
}
