/*
 * System calls: from registers to the rooms. IPC and semaphores come first and
 * take no lock; all that changes the object graph runs under the graph lock.
 */
#include <cap.h>
#include <check.h>
#include <core.h>
#include <ec.h>
#include <ipc.h>
#include <mr.h>
#include <pd.h>
#include <sched.h>
#include <sm.h>
#include <vcpu.h>

static uint64_t graph_call(struct ec *self, uint64_t call, const uint64_t a[5], uint64_t *value)
{
    struct pd *pd = self->pd;
    switch (call) {
    case CALL_PD_CREATE:
        return pd_create(pd, a[0], a[1], a[2], a[3]);
    case CALL_EC_CREATE:
        return ec_create(pd, a[0], a[1], a[2], a[3], a[4], value);
    case CALL_SC_CREATE:
        return sc_create(pd, a[0], a[1], a[2], a[3]);
    case CALL_PT_CREATE:
        return pt_create(pd, a[0], a[1], a[2], a[3]);
    case CALL_SM_CREATE:
        return sm_create(pd, a[0], a[1]);
    case CALL_MR_SPLIT:
        return mr_split(pd, a[0], a[1]);
    case CALL_MR_MAP:
        return mr_map(pd, a[0], a[1], a[2], a[3]);
    case CALL_MR_UNMAP:
        return mr_unmap(pd, a[0]);
    case CALL_DELEGATE:
        return cap_delegate(pd, a[0], a[1], a[2]);
    case CALL_REVOKE:
        return cap_revoke(pd, a[0]);
    case CALL_DESTROY:
        return pd_destroy(pd, a[0]);
    case CALL_VCPU_CPUID:
        return vcpu_set_cpuid(self, a[0]);
    case CALL_CORE_START:
        return core_start(pd, a[0], a[1]);
    default:
        return BAD_CALL;
    }
}

/* entry.S, on this core's stack with interrupts off; self's kept registers are saved. CALL_PT_REPLY does not come here. */
void call_entry(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t call);

void call_entry(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t call)
{
    struct ec *self = cpu_core()->current;
    uint64_t s;
    if (call == CALL_NOP)
        s = OK;
    else if (call == CALL_PT_CALL)
        s = ipc_call(self, a1, a2);
    else if (call == CALL_SM_UP)
        s = sm_up(self->pd, a1);
    else if (call == CALL_SM_DOWN)
        s = sm_down(self, a1, a2);
    else if (call == CALL_EC_RECALL)
        s = ec_recall(self->pd, a1);
    else {
        const uint64_t a[5] = {a1, a2, a3, a4, a5};
        graph_lock();
        if (!self->head.dead) { /* it may have died while it waited for the lock */
            self->regs.rdx = 0;
            self->regs.rax = graph_call(self, call, a, &self->regs.rdx);
            check_graph(call);
        }
        graph_unlock();
        return;
    }
    if (self->state == STATE_READY) /* a caller or sleeper gets its status when it is woken */
        self->regs.rax = s;
}
