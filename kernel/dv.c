/* Device functions: each of a guest's reaches its guest's memory and cores, and nothing else. */
#include <cap.h>
#include <core.h>
#include <dv.h>
#include <iommu.h>

static uint64_t set_irq(struct dv *dv, uint32_t index, struct ec *vcpu, uint32_t vector)
{
    dv->vcpu[index] = vcpu;
    return iommu_irte(dv, index, vcpu ? cores[vcpu->core].apic_id : 0, vector);
}

/* A free place of the unit; BUSY: this function has one already. */
static uint64_t find_place(const struct iommu *u, uint64_t rid, uint32_t *place)
{
    *place = IOMMU_FUNCTIONS;
    for (uint32_t i = 0; i < IOMMU_FUNCTIONS; i++) {
        if (u->dv[i] && u->dv[i]->rid == rid)
            return bad(BUSY, 2);
        if (!u->dv[i] && *place == IOMMU_FUNCTIONS)
            *place = i;
    }
    return *place == IOMMU_FUNCTIONS ? (uint64_t)NO_MEMORY : (uint64_t)OK;
}

uint64_t dv_create(struct pd *self, uint64_t who, uint64_t function)
{
    void *o, *sys;
    uint32_t place;
    uint64_t rid = function & 0xffff, unit = function >> 16;
    uint64_t s = cap_prepare(self, who, &o);
    if (s == OK)
        s = cap_find(self, who >> 32, OBJ_SYS, SYS_DEVICE, 1, &sys);
    if (s)
        return s;
    struct pd *pd = o;
    if (function >> 32 == DV_ALL >> 32)
        return iommu_open((uint32_t)function >> 16, &objects[((struct head *)sys)->owner].pd, pd);
    /* mutant: dv-guest */
    if (pd->kind != PD_GUEST)
        return bad(BAD_ARG, 1);
    if (unit >= iommu_units || rid >> 8 >= iommus[unit].buses)
        return bad(BAD_ARG, 2);
    /* mutant: dv-sealed */
    if (pd->sealed) /* a device that somebody else commands would let him into memory that only the
                       guest may have */
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
    iommu_attach(dv, pd->table_pa);
    iommu_flush_unit(dv->unit, true);
    return cap_hand_out(self, who, dv);
}

static bool reaches(const struct iommu *u, const struct ec *ec)
{
    return u->wide || cores[ec->core].apic_id < 255;
}

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
    /* mutant: dv-vcpu */
    if (ec && (ec->pd != &objects[dv->head.owner].pd || cores[ec->core].owner != ec ||
               ec->core_mode < CORE_OWNED || !reaches(&iommus[dv->unit], ec)))
        return bad(BAD_ARG, 1);
    /* mutant: dv-vector */
    if (index >= DV_IRQS || (ec && (vector < 32 || vector > 255)))
        return bad(BAD_ARG, 2);
    *value = set_irq(dv, (uint32_t)index, ec, ec ? (uint32_t)vector : 0);
    iommu_flush_unit(dv->unit, false);
    return OK;
}

void dv_forget(const struct ec *vcpu)
{
    for (uint32_t i = 0; i < iommu_units * IOMMU_FUNCTIONS; i++) {
        struct dv *dv = iommus[i / IOMMU_FUNCTIONS].dv[i % IOMMU_FUNCTIONS];
        for (uint32_t index = 0; dv && index < DV_IRQS; index++)
            if (dv->vcpu[index] == vcpu) {
                /* mutant: dv-forget */
                set_irq(dv, index, 0, 0);
                iommu_stale = true;
            }
    }
}

void dv_detach(struct dv *dv)
{
    for (uint32_t index = 0; index < DV_IRQS; index++)
        set_irq(dv, index, 0, 0);
    /* mutant: dv-detach */
    iommu_attach(dv, 0);
    iommus[dv->unit].dv[dv->slot] = 0;
    iommu_stale = true;
}
