/* Scheduling contexts: time as an object. */
#include <apic.h>
#include <cap.h>
#include <sc.h>
#include <sched.h>
#include <vcpu.h>

uint64_t sc_create(struct pd *self, uint64_t who, uint64_t priority, uint64_t budget,
                   uint64_t period)
{
    void *sys, *o;
    bool whole = budget == SC_WHOLE_CORE;
    uint64_t s = cap_vacant(self, who & 0xffff, 1);
    if (s == OK)
        s = cap_find(self, who >> 16 & 0xffff, OBJ_SYS, SYS_TIME | (whole ? SYS_CORE : 0), 1, &sys);
    if (s == OK)
        s = cap_find(self, who >> 32, OBJ_EC, EC_BIND, 1, &o);
    if (s)
        return s;
    struct ec *ec = o;
    if (ec->kind == EC_HANDLER || ec->state == STATE_STOPPED)
        return bad(BAD_ARG, 1);
    if (ec->sc || (whole && ec->state != STATE_NEW))
        return bad(BUSY, 1);
    if (priority >= PRIORITIES)
        return bad(BAD_ARG, 2);
    if (whole ? ec->kind != EC_VCPU || !apic_x2 : budget == 0 || budget >= 1ull << 60)
        return bad(BAD_ARG, 3);
    if (period && (period < budget || period >= 1ull << 60))
        return bad(BAD_ARG, 4);
    if (whole ? core_busy(ec->core) : cores[ec->core].owner != 0)
        return bad(BUSY, 1);
    struct sc *sc = object_new(OBJ_SC, ec->pd);
    if (!sc)
        return NO_MEMORY;
    sc->core = ec->core;
    sc->priority = (uint8_t)priority;
    sc->budget = sc->remaining = budget;
    sc->period = period;
    sc->time = ec->kind == EC_VCPU ? &ec->vcpu->counters->time : &sc->spent;
    sc->home = sc->ec = ec;
    ec->sc = sc;
    if (whole)
        core_give(ec);
    sched_wake_anywhere(ec);
    return cap_hand_out(self, who, sc);
}
