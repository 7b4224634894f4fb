/*
 * The ICR filter. What a guest sends is taken apart and sent again, core by
 * core, to those of its own vCPUs that it names: nothing else can get out.
 */
#include <alone.h>
#include <apic.h>
#include <core.h>

enum { LOWEST = 1, NMI = 4, INIT, STARTUP };
enum { LOGICAL = 1 << 11, TO_SELF = 1, TO_OTHERS = 3, FIRST_VECTOR = 32 };
#define EVERYBODY 0xffffffffu

/* Does destination `to` name the core with ID `id`? x2APIC clusters: APM2 16.14. */
static bool names(uint32_t to, bool logical, uint32_t id) { return logical ? to >> 16 == id >> 4 && to >> (id & 15) & 1 : to == id; }

/* The kernel takes no interrupts on its core any more, and will not: a vector of the guest's might be an exception's.
   No NMI to what waits for SIPI, nor one more to what has not taken the last: no storm of them comes to a core's kernel. */
static bool listens(const struct ec *to, uint32_t mode)
{
    return to->own >= OWN_READY && !to->head.dead &&
           (mode != NMI || (to->state != STATE_HALTED && !to->waits && !(to->hazard & HAZARD_NMI)));
}

bool icr_write(struct ec *ec, uint64_t icr)
{
    uint32_t mode = icr >> 8 & 7, vector = icr & 0xff, self = 1u << ec->core, shorthand = icr >> 18 & 3;
    if (mode == STARTUP)
        ec->pd->sipi = (uint16_t)(0x100 | vector);
    if (mode == INIT || mode == STARTUP)
        return ec->own == OWN_LEFT;
    if (mode != NMI && (mode > LOWEST || vector < FIRST_VECTOR))
        return true;
    uint32_t to = shorthand ? EVERYBODY : (uint32_t)(icr >> 32);
    uint32_t left = ec->pd->cores & (shorthand == TO_SELF ? self : shorthand == TO_OTHERS ? ~self : EVERYBODY);
    for (; left; left &= left - 1) {
        const struct core *c = &cores[__builtin_ctz(left)];
        struct ec *owner = c->owner;
        if ((to != EVERYBODY && !names(to, icr & LOGICAL, c->apic_id)) || !owner || owner->pd != ec->pd || !listens(owner, mode))
            continue;
        if (mode == NMI)
            __atomic_fetch_or(&owner->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
        apic_send(c->apic_id, mode == NMI ? SEND_NMI : vector);
        if (mode == LOWEST)
            break;
    }
    return true;
}
