/*
 * The ICR filter. What a guest sends is taken apart and sent again, core by
 * core, to those of its own vCPUs that it names: nothing else can get out.
 */
#include <icr.h>
#include <apic.h>
#include <core.h>

enum { LOWEST = 1, NMI = 4, INIT, STARTUP };
enum { LOGICAL = 1 << 11, ASSERT = 1 << 14, TO_SELF = 1, TO_OTHERS = 3, FIRST_VECTOR = 32 };
#define EVERYBODY 0xffffffffu

/* Does destination `to` name the core with ID `id`? x2APIC clusters: APM2 16.14. */
static bool names(uint32_t to, bool logical, uint32_t id)
{
    return logical ? to >> 16 == id >> 4 && to >> (id & 15) & 1 : to == id;
}

/* May an interrupt or NMI be sent to `to`? Only if the kernel takes no interrupt on its core any
   more: the guest chooses the vector, and the kernel has exceptions at some. No NMI to a vCPU that
   waits for a SIPI. No further NMI to one that has not taken the last: otherwise a guest could keep
   another core of its VM in the kernel for good. */
static bool listens(const struct ec *to, uint32_t mode)
{
    return to->core_mode >= CORE_OWNED && !to->head.dead &&
           (mode != NMI || (once(to->state) != STATE_HALTED && !once(to->waits) &&
                            !once(to->nmi_kept) && !(to->hazard & (HAZARD_NMI | HAZARD_INIT))));
}

/* The cores that a shorthand may mean, a bit each; without one: those that `to` may name. */
static uint64_t candidates(const struct ec *ec, uint32_t shorthand)
{
    uint64_t all = once(ec->pd->cores);
    if (shorthand == TO_SELF)
        return all & 1ull << ec->core;
    return shorthand == TO_OTHERS ? all & ~(1ull << ec->core) : all;
}

/* INIT and start-up IPI of the installed system to processors of its own (APM2 16.5), for each of
   which a vCPU stands. It takes the latter only while INIT is at work. */
static void start_one(struct ec *to, uint32_t mode, uint32_t vector)
{
    /* mutant: icr-start */
    if (mode == STARTUP && !(to->hazard & HAZARD_INIT))
        return;
    to->sipi = (uint16_t)(mode == STARTUP ? 0x100 | vector : 0);
    /* Lost INIT: a second start-up IPI must not bring back one that the first has ended. */
    if (mode == INIT)
        __atomic_fetch_or(&to->hazard, HAZARD_INIT, __ATOMIC_ACQ_REL);
    core_post(to);
}

static RARE bool start_installed(const struct ec *ec, uint64_t icr, uint32_t mode)
{
    uint32_t shorthand = icr >> 18 & 3, to = shorthand ? EVERYBODY : (uint32_t)(icr >> 32);
    if (mode == INIT && !(icr & ASSERT)) /* the end of an INIT of old */
        return true;
    for (uint64_t left = candidates(ec, shorthand); left; left &= left - 1) {
        const struct core *c = &cores[__builtin_ctzll(left)];
        if ((to == EVERYBODY || names(to, icr & LOGICAL, c->apic_id)) && c->installed &&
            c->installed->pd == ec->pd)
            start_one(c->installed, mode, icr & 0xff);
    }
    return true;
}

/* INIT, SIPI and what is no mode at all. While there is a VMM it starts vCPUs. */
static RARE bool start_up(const struct ec *ec, uint64_t icr, uint32_t mode)
{
    if (ec->pd->ports && mode <= STARTUP)
        return start_installed(ec, icr, mode);
    if (mode == STARTUP)
        ec->pd->sipi = (uint16_t)(0x100 | (icr & 0xff));
    /* mutant: icr-init */
    return mode > STARTUP || ec->core_mode == CORE_DISENGAGED;
}

bool icr_write(struct ec *ec, uint64_t icr)
{
    uint32_t mode = icr >> 8 & 7, vector = icr & 0xff, shorthand = icr >> 18 & 3;
    if (mode > NMI)
        return start_up(ec, icr, mode);
    /* mutant: icr-vector */
    if (mode != NMI && (mode > LOWEST || vector < FIRST_VECTOR))
        return true;
    uint32_t to = shorthand ? EVERYBODY : (uint32_t)(icr >> 32);
    for (uint64_t left = candidates(ec, shorthand); left; left &= left - 1) {
        const struct core *c = &cores[__builtin_ctzll(left)];
        uint32_t id = c->apic_id;
        struct ec *target = c->owner;
        /* mutant: icr-target */
        if ((to != EVERYBODY && !names(to, icr & LOGICAL, id)) || !target || target->pd != ec->pd ||
            !listens(target, mode))
            continue;
        if (mode == NMI)
            __atomic_fetch_or(&target->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
        apic_send(id, mode == NMI ? SEND_NMI : vector);
        if (mode == LOWEST || (to != EVERYBODY && !(icr & LOGICAL))) /* no other has that ID */
            break;
    }
    return true;
}
