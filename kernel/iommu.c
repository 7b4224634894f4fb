/* IOMMU units. What root says of one is believed: which kind, where, which buses. */
#include <cap.h>
#include <core.h>
#include <iommu.h>
#include <pd.h>
#include <ptab.h>
#include <abi/boot.h>

struct iommu iommus[MAX_IOMMUS];
uint32_t iommu_units;
bool iommu_stale;
static enum iommu_kind iommu_kind; /* of all */

static uint64_t register_frames(uint64_t kind) { return kind == IOMMU_VTD ? 1 : IOMMU_FRAMES; }

/* ---- for the two kinds ------------------------------------------------------ */
void iommu_put(struct iommu *u, uint64_t low, uint64_t high)
{
    u->queue[u->tail][0] = low;
    u->queue[u->tail][1] = high;
    u->tail = (u->tail + 1) % IOMMU_QUEUE;
}

void iommu_patience(uint32_t n)
{
    if (n == 1u << 28)
        panic("an IOMMU does not answer", 0, 0);
    cpu_relax();
}

void iommu_wait(const struct iommu *u)
{
    for (uint32_t n = 0; (uint32_t)once(u->done) != (uint32_t)u->asked; n++)
        iommu_patience(n);
}

/* ---- one or the other ------------------------------------------------------- */
void iommu_attach(const struct dv *dv, uint64_t table)
{
    struct iommu *u = &iommus[dv->unit];
    iommu_kind == IOMMU_VTD ? vtd_attach(u, dv, table) : amdvi_attach(u, dv, table);
}

uint64_t iommu_irte(const struct dv *dv, uint32_t index, uint32_t apic_id, uint32_t vector)
{
    struct iommu *u = &iommus[dv->unit];
    return iommu_kind == IOMMU_VTD ? vtd_irte(u, dv, index, apic_id, vector)
                                   : amdvi_irte(u, dv, index, apic_id, vector);
}

static void iommu_ask(struct iommu *u, bool tables)
{
    if (u->queue) /* others are for later: iommu_open */
        iommu_kind == IOMMU_VTD ? vtd_ask(u, tables) : amdvi_ask(u);
}

void iommu_flush(void)
{
    check_that(has_graph_lock());
    iommu_stale = false;
    for (uint32_t i = 0; i < iommu_units; i++)
        iommu_ask(&iommus[i], true);
    for (uint32_t i = 0; i < iommu_units; i++)
        iommu_wait(&iommus[i]);
}

void iommu_flush_unit(uint32_t unit, bool tables)
{
    iommu_ask(&iommus[unit], tables);
    iommu_wait(&iommus[unit]);
}

/* ---- units ------------------------------------------------------------------ */
/* Tables that devices are to share are built with both sides' bits from the start. */
static bool guests_exist(void)
{
    for (uint32_t i = 0; i < OBJECTS; i++)
        if (objects[i].head.type == OBJ_PD && objects[i].pd.kind == PD_GUEST)
            return true;
    return false;
}

/* `payer`, who holds the machine's rights, lives as long as the machine. `all`: as vtd_enable(). */
static uint64_t enable(struct iommu *u, struct pd *payer, uint64_t all)
{
    bool vtd = iommu_kind == IOMMU_VTD;
    uint32_t tables = all ? 1 : u->buses; /* of contexts */
    void *frames = frame_run(payer, vtd ? vtd_frames(tables) : amdvi_frames());
    if (!frames)
        return NO_MEMORY;
    vtd ? vtd_enable(u, frames, all) : amdvi_enable(u, frames, all);
    return OK;
}

/* Its registers are mapped in the kernel while that fits: a failed start leaves nothing. */
static uint64_t start_unit(struct iommu *u, struct mr *mr, struct pd *payer)
{
    uint64_t s =
        ptab_map(kernel_space, u->regs, mr->first, mr->frames, MR_READ | MR_WRITE | PTAB_DEVICE);
    if (s)
        return s;
    if (!(iommu_kind == IOMMU_VTD ? vtd_able(u) : amdvi_able(u)))
        s = bad(BAD_ARG, 1);
    else if (u->buses)
        s = enable(u, payer, 0);
    if (s) {
        ptab_unmap(kernel_space, u->regs, mr->frames);
        core_sync(0, ~0ull);
    }
    return s;
}

uint64_t iommu_open(uint32_t unit, struct pd *payer, const struct pd *installed)
{
    if (!installed->ports)
        return bad(BAD_ARG, 1);
    if (unit >= iommu_units || iommus[unit].buses)
        return bad(BAD_ARG, 2);
    uint64_t s = enable(&iommus[unit], payer, installed->table_pa);
    iommus[unit].buses = s ? 0 : 256;
    return s;
}

uint64_t iommu_start(struct pd *self, uint64_t who, uint64_t kind, uint64_t buses, uint64_t *value)
{
    void *sys, *o;
    uint64_t s = cap_find(self, who & 0xffff, OBJ_SYS, SYS_DEVICE, 1, &sys);
    if (s == OK)
        s = cap_find(self, who >> 16, OBJ_MR, MR_READ | MR_WRITE, 1, &o);
    if (s)
        return s;
    struct mr *mr = o;
    if ((kind != IOMMU_VTD && kind != IOMMU_AMDVI) || (iommu_units && kind != iommu_kind))
        return bad(BAD_ARG, 2);
    if (mr->kind == RANGE_RAM || mr->frames != register_frames(kind))
        return bad(BAD_ARG, 1);
    if (buses > 256)
        return bad(BAD_ARG, 3);
    if (mr->maps)
        return bad(BUSY, 1);
    if (guests_exist())
        return BUSY;
    if (iommu_units == MAX_IOMMUS)
        return NO_MEMORY;
    struct iommu *u = &iommus[iommu_units];
    *u = (struct iommu){.regs = IOMMU_WINDOW + iommu_units * IOMMU_FRAMES * PAGE_SIZE,
                        .buses = (uint32_t)buses};
    iommu_kind = (enum iommu_kind)kind;
    s = start_unit(u, mr, &objects[((struct head *)sys)->owner].pd);
    if (s)
        return s;
    object_free(mr); /* its frames are the kernel's for good */
    ptab_iommu = iommu_kind;
    *value = iommu_units++;
    return OK;
}

uint64_t iommu_fault(struct pd *self, uint64_t sys, uint64_t unit, uint64_t *value)
{
    void *o;
    uint64_t s = cap_find(self, sys, OBJ_SYS, SYS_DEVICE, 1, &o);
    if (s)
        return s;
    if (unit >= iommu_units || !iommus[unit].queue)
        return bad(BAD_ARG, 2);
    *value = iommu_kind == IOMMU_VTD ? vtd_fault(&iommus[unit]) : amdvi_fault(&iommus[unit]);
    return *value ? (uint64_t)OK : bad(BAD_ARG, 2);
}
