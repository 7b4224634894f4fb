/*
 * Devices: whatever is asked, a function's DMA goes through the nested table
 * of the guest that owns it or is blocked, and each of its interrupts goes to a
 * vector of a core that a vCPU of that guest owns, or nowhere.
 */
#include "flat.h"
#define cap_find cap_find_proven
#include <cap.h>
#undef cap_find
#include <core.h>

enum { KERNEL = 1, A, B, DV, EC }; /* objects; A and B: any PDs */

static uint16_t object_index(const void *o)
{
    for (uint16_t i = 1; i < OBJECTS; i++)
        if (o == &objects[i] || o == &objects[i].pd)
            return i;
    check(false);
    return 0;
}

static struct dv function;
static struct ec vcpu;
struct core cores[MAX_CORES];
struct kernel_stat counters;
enum iommu_kind ptab_iommu;
struct pd *kernel_space;

static uint64_t cap_find(const struct pd *pd, uint64_t slot, enum object_type type, unsigned rights,
                         unsigned arg, void **object)
{
    (void)pd, (void)slot, (void)rights;
    if (any() & 1)
        return bad(any() & 1 ? BAD_CAP : BAD_RIGHT, arg);
    switch (type) {
    case OBJ_DV: *object = &function; break;
    case OBJ_EC: *object = &vcpu; break;
    case OBJ_PD: *object = any() & 1 ? &objects[A].pd : &objects[B].pd; break;
    default: *object = &objects[KERNEL];
    }
    return OK;
}

uint64_t cap_prepare(const struct pd *self, uint64_t who, void **payer)
{
    (void)self, (void)who;
    *payer = &objects[any() & 1 ? A : B].pd;
    return any() & 1 ? bad(BUSY, 1) : (uint64_t)OK;
}

static const void *given; /* the object of the capability that was put somewhere */
uint64_t cap_hand_out(struct pd *self, uint64_t who, void *object)
{
    (void)self, (void)who;
    given = object;
    return OK;
}

void *object_new(enum object_type type, struct pd *payer)
{
    if (any() & 1)
        return 0;
    function = (struct dv){.head = {.type = (uint8_t)type, .owner = object_index(payer)}};
    return &function;
}

#include <iommu.c>
#include <dv.c>

/* ---- what the two kinds are told */
static uint64_t table_now; /* the function's; the tables of functions are all blocked at first */
static bool attached, flushed_after;
static struct {
    uint32_t apic_id, vector;
} irte[DV_IRQS];

void vtd_attach(struct iommu *u, const struct dv *dv, uint64_t table)
{
    check(u == &iommus[dv->unit] && dv == &function);
    table_now = table;
    attached = true;
    flushed_after = false;
}
void amdvi_attach(struct iommu *u, const struct dv *dv, uint64_t table)
{
    vtd_attach(u, dv, table);
}

uint64_t vtd_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                  uint32_t vector)
{
    check(u == &iommus[dv->unit] && dv == &function && index < DV_IRQS);
    irte[index].apic_id = apic_id, irte[index].vector = vector;
    flushed_after = false;
    return index;
}
uint64_t amdvi_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                    uint32_t vector)
{
    return vtd_irte(u, dv, index, apic_id, vector);
}
void vtd_ask(struct iommu *u, bool tables)
{
    (void)tables;
    flushed_after |= u == &iommus[function.unit];
}
void amdvi_ask(struct iommu *u) { vtd_ask(u, true); }

/* An interrupt goes nowhere, or to a core whose owner is a vCPU of the function's own guest, by the
 * vCPU that is noted for it. */
static bool irq_is_kept(uint64_t index)
{
    const struct ec *to = function.vcpu[index];
    if (!irte[index].vector)
        return true;
    return to && to->pd == &objects[function.head.owner].pd && cores[to->core].owner == to &&
           cores[to->core].apic_id == irte[index].apic_id && irte[index].vector >= 32 &&
           irte[index].vector < 256;
}

static bool dma_is_kept(void)
{
    return !table_now || table_now == objects[function.head.owner].pd.table_pa;
}

static uint64_t eye;         /* the interrupt that is watched */
static uint64_t queue[1][2]; /* of each unit that is on: one that is for later has none */

static void any_state(void)
{
    for (uint32_t i = A; i <= B; i++) {
        objects[i].head.type = OBJ_PD;
        objects[i].pd = (struct pd){.kind = any() & 1, .sealed = any() & 1, .table_pa = any()};
    }
    vcpu = (struct ec){.core = any() & 1, .pd = &objects[any() & 1 ? A : B].pd};
    function = (struct dv){.head = {.type = OBJ_DV, .owner = any() & 1 ? A : B},
                           .unit = 1,
                           .slot = 5}; /* a place like any other */
    for (uint32_t i = 0; i < MAX_CORES; i++) {
        cores[i].apic_id = (uint32_t)any();
        cores[i].owner = any() & 1 ? &vcpu : 0;
    }
    vcpu.core_mode = any() & 3;
    iommu_units = 2;
    iommu_kind = any() & 1 ? IOMMU_VTD : IOMMU_AMDVI;
    for (uint32_t i = 0; i < iommu_units; i++) {
        iommus[i].buses = (uint32_t)any(), iommus[i].wide = any() & 1;
        if (iommus[i].buses)
            iommus[i].queue = queue;
    }
    eye = any();
    assume(eye < DV_IRQS);
}

static void assigned(void)
{
    any_state();
    assume(iommus[function.unit].buses);
    iommus[function.unit].dv[function.slot] = &function;
    function.vcpu[eye] = any() & 1 ? &vcpu : 0;
    irte[eye].apic_id = (uint32_t)any(), irte[eye].vector = (uint32_t)any();
    table_now = any();
    assume(irq_is_kept(eye) && dma_is_kept());
}

void irq(void)
{
    uint64_t value;
    assigned();
    flushed_after = true;
    (void)!dv_irq(&objects[A].pd, any(), any(), &value);
    check(irq_is_kept(eye) && dma_is_kept() && flushed_after);
}

void create(void)
{
    any_state();
    function.head.type = OBJ_NONE;
    uint64_t asked = any();
    if (dv_create(&objects[A].pd, any(), asked)) {
        check(!attached);
        return;
    }
    const struct pd *owner = &objects[function.head.owner].pd;
    check(attached && flushed_after && table_now == owner->table_pa && owner->kind == PD_GUEST &&
          given == &function);
    check(!objects[function.head.owner].pd.sealed);
    check(function.rid == (asked & 0xffff) && function.unit == asked >> 16 &&
          function.rid >> 8 < iommus[function.unit].buses);
}

void detach(void)
{
    assigned();
    dv_detach(&function);
    check(iommu_stale);
    check(!table_now && !irte[eye].vector && !iommus[function.unit].dv[function.slot]);
}

/* The vCPU loses its time, and with it the core. */
void forget(void)
{
    assigned();
    iommu_stale = false;
    dv_forget(&vcpu);
    cores[vcpu.core].owner = 0;
    check(irq_is_kept(eye) && dma_is_kept() && (iommu_stale || flushed_after || !irte[eye].vector));
}
