/*
 * System calls: from registers to the function of the object concerned. Calls of
 * portals and semaphores, and the recall, take no lock but a semaphore's own. All
 * other calls run under the graph lock.
 */
#include <cap.h>
#include <core.h>
#include <dv.h>
#include <ec.h>
#include <iommu.h>
#include <pt.h>
#include <mr.h>
#include <pd.h>
#include <sc.h>
#include <sm.h>
#include <vcpu.h>

static uint64_t graph_call(struct ec *self, uint64_t call, const uint64_t a[5], uint64_t *value)
{
    struct pd *pd = self->pd;
    switch (call) {
    case CALL_PD_CREATE: return pd_create(pd, a[0], a[1], a[2], a[3], a[4]);
    case CALL_EC_CREATE: return ec_create(pd, a[0], a[1], a[2], a[3], a[4], value);
    case CALL_SC_CREATE: return sc_create(pd, a[0], a[1], a[2], a[3]);
    case CALL_PT_CREATE: return pt_create(pd, a[0], a[1], a[2], a[3]);
    case CALL_SM_CREATE: return sm_create(pd, a[0], a[1]);
    case CALL_MR_SPLIT: return mr_split(pd, a[0], a[1]);
    case CALL_MR_MAP: return mr_map(pd, a[0], a[1], a[2], a[3]);
    case CALL_MR_UNMAP: return mr_unmap(pd, a[0]);
    case CALL_DELEGATE: return cap_delegate(pd, a[0], a[1], a[2]);
    case CALL_REVOKE: return cap_revoke(pd, a[0]);
    case CALL_DESTROY: return pd_destroy(pd, a[0]);
    case CALL_VCPU_CPUID: return vcpu_set_cpuid(self, a[0]);
    case CALL_MR_SEAL: return mr_seal(pd, a[0]);
    case CALL_MR_SCRUB: return mr_scrub(pd, a[0]);
    case CALL_DISENGAGE: return pd_disengage(pd, a[0], a[1]);
    case CALL_CORE_START: return core_start(pd, a[0], a[1]);
    case CALL_IOMMU_START: return iommu_start(pd, a[0], a[1], a[2], value);
    case CALL_IOMMU_FAULT: return iommu_fault(pd, a[0], a[1], value);
    case CALL_DV_CREATE: return dv_create(pd, a[0], a[1]);
    case CALL_DV_IRQ: return dv_irq(pd, a[0], a[1], value);
    default: return BAD_CALL;
    }
}

/* entry.S calls these two on this core's stack with interrupts off; CALL_PT_REPLY goes to
 * pt_reply(). */
uint64_t call_fast(uint64_t a1, uint64_t a2, uint64_t call);
void call_graph(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t call);

/* The status is the caller's if it goes on at once (entry.S); a caller that waits gets its status
 * when it is woken. */
uint64_t call_fast(uint64_t a1, uint64_t a2, uint64_t call)
{
    if (call == CALL_NOP)
        return OK;
    struct ec *self = cpu_core()->current;
    if (call == CALL_PT_CALL)
        return pt_call(self, a1, a2);
    if (call == CALL_SM_UP)
        return sm_up(self->pd, a1);
    if (call == CALL_SM_DOWN)
        return sm_down(self, a1, a2);
    return ec_recall(self->pd, a1);
}

void call_graph(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t call)
{
    const uint64_t a[5] = {a1, a2, a3, a4, a5};
    struct ec *self = cpu_core()->current;
    uint64_t gen = self->head.gen;
    core_lock_graph();
    /* The caller may have died while it waited for the lock, and its slot may be another object's
     * by now. */
    if (self->head.gen == gen && !self->head.dead) {
        self->regs.rdx = 0;
        self->regs.rax = graph_call(self, call, a, &self->regs.rdx);
        check_graph(call);
    }
    core_unlock_graph();
}
