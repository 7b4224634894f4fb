/*
 * The ICR filter. What a guest sends is taken apart and sent again, core by
 * core, to those of its own vCPUs that it names: nothing else can get out.
 */
#include <alone.h>
#include <apic.h>
#include <core.h>

enum { FIXED, LOWEST, SMI, NMI = 4, INIT, STARTUP };
enum { LOGICAL = 1 << 11, TO_SELF = 1, TO_OTHERS = 3, FIRST_VECTOR = 16 };
#define EVERYBODY 0xffffffffu

/* Does destination `to` name the core with ID `id`? x2APIC clusters: APM2 16.14. */
static bool names(uint32_t to, bool logical, uint32_t id) { return logical ? to >> 16 == id >> 4 && to >> (id & 15) & 1 : to == id; }

/* The kernel takes no interrupts on its core any more, and will not: a vector of the guest's might be an exception's. */
static bool listens(const struct ec *to) { return to->own >= OWN_READY && !to->head.dead; }

static void send_nmi(const struct core *c, struct ec *to)
{
    __atomic_fetch_or(&to->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    if (c != cpu_core())
        apic_send_nmi(c->apic_id);
}

/* The cores of `ec`'s VM that `icr` may mean, a bit each: those that shorthands leave; *to: the destination among them. */
static uint32_t candidates(const struct ec *ec, uint64_t icr, uint32_t *to)
{
    uint32_t all = ec->pd->cores, self = 1u << ec->core, shorthand = icr >> 18 & 3;
    *to = shorthand ? EVERYBODY : (uint32_t)(icr >> 32);
    return shorthand == TO_SELF ? all & self : shorthand == TO_OTHERS ? all & ~self : all;
}

bool icr_write(struct ec *ec, uint64_t icr)
{
    uint32_t mode = icr >> 8 & 7, to;
    if (mode == INIT || mode == STARTUP)
        return ec->own == OWN_LEFT;
    if ((mode > LOWEST && mode != NMI) || (mode != NMI && (icr & 0xff) < FIRST_VECTOR))
        return true;
    for (uint32_t left = candidates(ec, icr, &to); left; left &= left - 1) {
        const struct core *c = &cores[__builtin_ctz(left)];
        if (to != EVERYBODY && !names(to, icr & LOGICAL, c->apic_id))
            continue;
        struct ec *owner = c->owner;
        if (!owner || owner->pd != ec->pd || !listens(owner))
            continue;
        if (mode == NMI)
            send_nmi(c, owner);
        else
            apic_send(c->apic_id, (uint8_t)icr);
        if (mode == LOWEST)
            break;
    }
    return true;
}
