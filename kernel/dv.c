/* IOMMU units and device functions. What root says of a unit is believed: which kind, where, which buses. */
#include <cap.h>
#include <core.h>
#include <dv.h>
#include <iommu.h>
#include <mr.h>
#include <pd.h>
#include <ptab.h>
#include <abi/boot.h>

static struct iommu iommus[MAX_IOMMUS];
static uint32_t units;
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
        kernel_panic("an IOMMU does not answer", 0, 0);
    cpu_relax();
}

/* ---- one or the other ------------------------------------------------------- */
static void attach(const struct dv *dv, uint64_t table)
{
    if (iommu_kind == IOMMU_VTD)
        vtd_attach(&iommus[dv->unit], dv, table);
    else
        amdvi_attach(&iommus[dv->unit], dv, table);
}

static uint64_t set_irq(struct dv *dv, uint32_t index, struct ec *vcpu, uint32_t vector)
{
    struct iommu *u = &iommus[dv->unit];
    uint32_t apic_id = vcpu ? cores[vcpu->core].apic_id : 0;
    dv->vcpu[index] = vcpu;
    return iommu_kind == IOMMU_VTD ? vtd_irte(u, dv, index, apic_id, vector) : amdvi_irte(u, dv, index, apic_id, vector);
}

void iommu_flush(void)
{
    for (uint32_t i = 0; i < units; i++)
        if (iommu_kind == IOMMU_VTD)
            vtd_flush(&iommus[i]);
        else
            amdvi_flush(&iommus[i]);
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

/* `payer`, who holds the machine's rights, lives as long as the machine. */
static uint64_t enable(struct iommu *u, struct pd *payer)
{
    bool vtd = iommu_kind == IOMMU_VTD;
    if (!(vtd ? vtd_able(u) : amdvi_able(u)))
        return bad(BAD_ARG, 1);
    void *frames = frame_run(payer, vtd ? vtd_frames(u->buses) : amdvi_frames(u->buses));
    if (!frames)
        return NO_MEMORY;
    if (vtd)
        vtd_enable(u, frames);
    else
        amdvi_enable(u, frames);
    return OK;
}

/* Its registers are mapped in the kernel while that fits: a failed start leaves nothing. */
static uint64_t start(struct iommu *u, struct mr *mr, struct pd *payer)
{
    uint64_t s = ptab_map(kernel_space, u->regs, mr->first, mr->frames, PTE_NX | PTE_WRITE | PTE_UNCACHED);
    if (s)
        return s;
    s = enable(u, payer);
    if (s) {
        ptab_unmap(kernel_space, u->regs, mr->frames);
        core_sync(0, (1u << core_count) - 1);
    }
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
    if ((kind != IOMMU_VTD && kind != IOMMU_AMDVI) || (units && kind != iommu_kind))
        return bad(BAD_ARG, 2);
    if (mr->kind != RANGE_DEVICE || mr->frames != register_frames(kind))
        return bad(BAD_ARG, 1);
    if (buses == 0 || buses > 256)
        return bad(BAD_ARG, 3);
    if (mr->maps)
        return bad(BUSY, 1);
    if (guests_exist())
        return BUSY;
    if (units == MAX_IOMMUS)
        return NO_MEMORY;
    struct iommu *u = &iommus[units];
    *u = (struct iommu){.regs = IOMMU_WINDOW + units * IOMMU_FRAMES * PAGE_SIZE, .buses = (uint32_t)buses};
    iommu_kind = (enum iommu_kind)kind;
    s = start(u, mr, &objects[((struct head *)sys)->owner].pd);
    if (s)
        return s;
    object_free(mr); /* its frames are the kernel's for good */
    ptab_dma = kind == IOMMU_AMDVI ? PTE_DMA_READ | PTE_DMA_WRITE : 0;
    *value = units++;
    return OK;
}

uint64_t iommu_fault(struct pd *self, uint64_t sys, uint64_t unit, uint64_t *value)
{
    void *o;
    uint64_t s = cap_find(self, sys, OBJ_SYS, SYS_DEVICE, 1, &o);
    if (s)
        return s;
    if (unit >= units)
        return bad(BAD_ARG, 2);
    *value = iommu_kind == IOMMU_VTD ? vtd_fault(&iommus[unit]) : amdvi_fault(&iommus[unit]);
    return *value ? (uint64_t)OK : bad(BAD_ARG, 2);
}

/* ---- functions -------------------------------------------------------------- */
/* A free place of the unit; BUSY: this function has one already. */
static uint64_t find_place(const struct iommu *u, uint64_t rid, uint32_t *place)
{
    *place = IOMMU_FUNCTIONS;
    for (uint32_t i = IOMMU_FUNCTIONS; i-- > 0;) {
        if (!u->dv[i])
            *place = i;
        else if (u->dv[i]->rid == rid)
            return bad(BUSY, 2);
    }
    return *place == IOMMU_FUNCTIONS ? (uint64_t)NO_MEMORY : (uint64_t)OK;
}

uint64_t dv_create(struct pd *self, uint64_t who, uint64_t function)
{
    void *o, *sys;
    uint32_t place;
    uint64_t rid = function & 0xffff, unit = function >> 16;
    uint64_t s = cap_vacant(self, who & 0xffff, 1);
    if (s == OK)
        s = cap_find(self, who >> 16 & 0xffff, OBJ_PD, PD_CREATE, 1, &o);
    if (s == OK)
        s = cap_find(self, who >> 32, OBJ_SYS, SYS_DEVICE, 1, &sys);
    if (s)
        return s;
    struct pd *pd = o;
    if (pd->kind != PD_GUEST)
        return bad(BAD_ARG, 1);
    if (unit >= units || rid >> 8 >= iommus[unit].buses)
        return bad(BAD_ARG, 2);
    if (pd->sealed) /* a device that somebody else commands would let him into memory that only the guest may have */
        return bad(BUSY, 1);
    s = find_place(&iommus[unit], rid, &place);
    if (s)
        return s;
    struct dv *dv = object_new(OBJ_DV, pd);
    if (!dv)
        return NO_MEMORY;
    dv->rid = (uint16_t)rid;
    dv->unit = (uint8_t)unit;
    dv->slot = (uint8_t)place;
    iommus[unit].dv[place] = dv;
    attach(dv, pd->table_pa);
    iommu_flush();
    cap_set(self, who & 0xffff, dv, RIGHT_ALL);
    return OK;
}

static bool reaches(const struct iommu *u, const struct ec *ec) { return u->wide || cores[ec->core].apic_id < 255; }

uint64_t dv_irq(struct pd *self, uint64_t who, uint64_t interrupt, uint64_t *value)
{
    void *o, *vcpu = 0;
    uint64_t index = interrupt & 0xffff, vector = interrupt >> 16;
    uint64_t s = cap_find(self, who & 0xffff, OBJ_DV, DV_IRQ, 1, &o);
    if (s == OK && who >> 16)
        s = cap_find(self, who >> 16, OBJ_EC, EC_RECALL, 1, &vcpu);
    if (s)
        return s;
    struct dv *dv = o;
    struct ec *ec = vcpu;
    if (ec &&
        (ec->pd != &objects[dv->head.owner].pd || cores[ec->core].owner != ec || ec->own < OWN_READY || !reaches(&iommus[dv->unit], ec)))
        return bad(BAD_ARG, 1);
    if (index >= DV_IRQS || (ec && (vector < 32 || vector > 255)))
        return bad(BAD_ARG, 2);
    *value = set_irq(dv, (uint32_t)index, ec, ec ? (uint32_t)vector : 0);
    iommu_flush();
    return OK;
}

uint32_t dv_forget(const struct ec *vcpu)
{
    uint32_t flush = 0;
    for (uint32_t i = 0; i < units * IOMMU_FUNCTIONS; i++) {
        struct dv *dv = iommus[i / IOMMU_FUNCTIONS].dv[i % IOMMU_FUNCTIONS];
        for (uint32_t index = 0; dv && index < DV_IRQS; index++)
            if (dv->vcpu[index] == vcpu) {
                set_irq(dv, index, 0, 0);
                flush = SYNC_HOST;
            }
    }
    return flush;
}

uint32_t dv_detach(struct dv *dv)
{
    for (uint32_t index = 0; index < DV_IRQS; index++)
        set_irq(dv, index, 0, 0);
    attach(dv, 0);
    iommus[dv->unit].dv[dv->slot] = 0;
    return SYNC_HOST;
}
