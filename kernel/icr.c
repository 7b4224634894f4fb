/*
 * The ICR filter. What a guest sends is taken apart and sent again, core by
 * core, to those of its own vCPUs that it names: nothing else can get out.
 */
#include <alone.h>
#include <apic.h>
#include <core.h>

enum { FIXED, LOWEST, SMI, NMI = 4, INIT, STARTUP };
enum { LOGICAL = 1 << 11, TO_SELF = 1, TO_ALL = 2, TO_OTHERS = 3, FIRST_VECTOR = 16 };
#define EVERYBODY 0xffffffffu

/* Does `icr`, sent by the core with ID `self`, name the one with ID `id`? */
static bool names(uint64_t icr, uint32_t self, uint32_t id)
{
    uint32_t to = (uint32_t)(icr >> 32), shorthand = icr >> 18 & 3;
    if (shorthand)
        return shorthand == TO_ALL || (shorthand == TO_SELF) == (id == self);
    if (to == EVERYBODY)
        return true;
    return icr & LOGICAL ? to >> 16 == id >> 4 && to >> (id & 15) & 1 : to == id; /* x2APIC clusters: APM2 16.14 */
}

/* The kernel takes no interrupts on its core any more, and will not: a vector of the guest's might be an exception's. */
static bool listens(const struct ec *to) { return to->own >= OWN_READY && !to->head.dead; }

static void send_nmi(const struct core *c, struct ec *to)
{
    __atomic_fetch_or(&to->hazard, HAZARD_NMI, __ATOMIC_ACQ_REL);
    if (c != cpu_core())
        apic_send_nmi(c->apic_id);
}

bool icr_write(struct ec *ec, uint64_t icr)
{
    uint32_t mode = icr >> 8 & 7, self = cpu_core()->apic_id;
    if (mode == INIT || mode == STARTUP)
        return ec->own == OWN_LEFT;
    if ((mode > LOWEST && mode != NMI) || (mode != NMI && (icr & 0xff) < FIRST_VECTOR))
        return true;
    for (uint32_t i = 0; i < MAX_CORES; i++) {
        struct ec *to = cores[i].owner;
        if (!to || to->pd != ec->pd || !listens(to) || !names(icr, self, cores[i].apic_id))
            continue;
        if (mode == NMI)
            send_nmi(&cores[i], to);
        else
            apic_send(cores[i].apic_id, (uint8_t)icr);
        if (mode == LOWEST)
            break;
    }
    return true;
}
