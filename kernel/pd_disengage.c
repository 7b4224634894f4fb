/* A guest's VMM leaves: CALL_DISENGAGE. What remains for the guest is in vcpu_exit.h and icr.c. */
#include <cap.h>
#include <core.h>
#include <pd.h>
#include <ptab.h>

/* All vCPUs of `pd` have cores of their own and have begun, and there is one. */
static bool is_dedicated(const struct pd *pd)
{
    bool any = false;
    for (uint32_t i = 1; i < OBJECTS; i++) {
        const struct ec *ec = &objects[i].ec;
        if (ec->head.type != OBJ_EC || ec->pd != pd || (pd->ports && ec->core_mode == CORE_SHARED))
            continue;
        if (ec->core_mode != CORE_OWNED)
            return false;
        any = true;
    }
    return any;
}

uint64_t pd_disengage(struct pd *self, uint64_t slot, uint64_t how)
{
    void *o;
    uint64_t policy = how & 0xffff;
    uint64_t s = cap_find(self, slot, OBJ_PD, PD_DISENGAGE, 1, &o);
    if (s)
        return s;
    struct pd *pd = o;
    if (policy == AFTER_LEAVE && pd->ports && pd->disengaged) {
        __atomic_store_n(&pd->disengaged, 1 + AFTER_LEAVE, __ATOMIC_RELEASE);
        return OK;
    }
    if (pd->disengaged)
        return bad(BUSY, 1);
    if (!is_dedicated(pd))
        return bad(BAD_ARG, 1);
    if (policy > AFTER_QUIET)
        return bad(BAD_ARG, 2);
    s = policy == AFTER_QUIET ? ptab_close(pd) : (uint64_t)OK;
    if (s)
        return s;
    pd->disengaged = (uint8_t)(1 + policy);
    pd->end_port = (uint16_t)(how >> 16);
    pd->end_ports = (uint16_t)(how >> 32);
    pd->end_too = (uint16_t)(how >> 48);
    for (uint32_t i = 0; i < core_count; i++) {
        struct ec *ec = cores[i].owner;
        if (!ec || ec->pd != pd)
            continue;
        __atomic_fetch_or(&ec->hazard, HAZARD_LEAVE, __ATOMIC_ACQ_REL);
        core_post(ec);
    }
    return OK;
}
