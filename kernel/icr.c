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

/* INIT and start-up IPI of the installed system to a processor of its own (APM2 16.5), which a
   vCPU stands for. It takes the latter only while INIT is at work. */
static RARE void start_installed(struct ec *to, uint32_t mode, uint32_t vector)
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

/* INIT, SIPI and what is no mode at all. While there is a VMM it starts vCPUs. */
static RARE bool start_up(const struct ec *ec, uint32_t mode, uint32_t vector)
{
    if (mode == STARTUP)
        ec->pd->sipi = (uint16_t)(0x100 | vector);
    /* mutant: icr-init */
    if (mode == INIT || mode == STARTUP)
        return ec->core_mode == CORE_DISENGAGED;
    return true;
}

/* The cores that a shorthand may mean, a bit each; without one: those that `to` may name. */
static uint64_t candidates(const struct ec *ec, uint32_t shorthand)
{
    uint64_t all = once(ec->pd->cores);
    if (shorthand == TO_SELF)
        return all & 1ull << ec->core;
    return shorthand == TO_OTHERS ? all & ~(1ull << ec->core) : all;
}

/* To the vCPU `to` of core `c`. */
static void send(struct ec *to, const struct core *c, uint32_t mode, uint32_t vector)
{
    if (mode > NMI) {
        start_installed(to, mode, vector);
        return;
    }
    if (mode == NMI)
        __atomic_fetch_or(&to->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    apic_send(c->apic_id, mode == NMI ? SEND_NMI : vector);
}

bool icr_write(struct ec *ec, uint64_t icr)
{
    uint32_t mode = icr >> 8 & 7, vector = icr & 0xff, shorthand = icr >> 18 & 3;
    bool installed = ec->pd->ports;
    if (mode == INIT && installed && !(icr & ASSERT)) /* the end of an INIT of old */
        return true;
    if (mode > NMI && (!installed || mode > STARTUP))
        return start_up(ec, mode, vector);
    /* mutant: icr-vector */
    if (mode < NMI && (mode > LOWEST || vector < FIRST_VECTOR))
        return true;
    uint32_t to = shorthand ? EVERYBODY : (uint32_t)(icr >> 32);
    for (uint64_t left = candidates(ec, shorthand); left; left &= left - 1) {
        const struct core *c = &cores[__builtin_ctzll(left)];
        struct ec *target = installed ? c->installed : c->owner;
        /* mutant: icr-target */
        if ((to != EVERYBODY && !names(to, icr & LOGICAL, c->apic_id)) || !target ||
            target->pd != ec->pd || (mode <= NMI && !listens(target, mode)))
            continue;
        send(target, c, mode, vector);
        if (mode == LOWEST || (to != EVERYBODY && !(icr & LOGICAL))) /* no other has that ID */
            break;
    }
    return true;
}
