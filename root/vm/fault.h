/*
 * Faults of the domains that root made. Each domain has a handler thread of its
 * own on each core that its threads are on: it notes the first fault, rings
 * root's bell and ends the thread. No domain can keep another's handler busy.
 * Domains are numbered: VM i is i, LAN i is PLAN_VMS + i. Behind them are the
 * installed system and the stand-ins for its processors, of which each has a
 * handler of its own: a vCPU whose event finds its handler busy is stopped for
 * good, and one that uses up its time within the handler leaves it so.
 */
#ifndef ROOT_FAULT_H
#define ROOT_FAULT_H

#include <abi/utcb.h>
#include <abi/vm.h>
#include <lib/call.h>
#include <stdbool.h>

#define FAULT_DOMAINS (PLAN_VMS + PLAN_LANS)
/* Other numbers: root itself, nobody, the installed system, and + i, its processor `i`. */
enum { FAULT_ROOT = FAULT_DOMAINS, FAULT_NOBODY, FAULT_HOST, FAULT_GHOST };

struct fault {
    uint64_t vector, error, cr2, rip;
};

/* Make the handler of root's own faults. First of all here. */
uint64_t fault_init(void) WARN_UNUSED;
/* Make the handlers of `domain`, which has none, one for each core in the bit mask `cores`; those
 * of domains that were forgotten serve again. NO_MEMORY: too many handlers. */
uint64_t fault_prepare(uint32_t domain, uint64_t cores) WARN_UNUSED;
/* The domain is no more, and no PD has a portal to its handlers. */
void fault_forget(uint32_t domain);
/* Put the fault portals of `domain` into the PD in slot `pd`, which pays for them, and forget an
 * earlier fault. Before a thread of the PD runs. */
uint64_t fault_watch(uint32_t domain, uint64_t pd) WARN_UNUSED;
/* More portals of the same handlers, in slots `slot` + core: `entry` gets the domain's number. */
uint64_t fault_serve(uint32_t domain, uint64_t pd,
                     void (*entry)(uint64_t domain, struct utcb *utcb), uint64_t slot,
                     uint64_t mtd) WARN_UNUSED;
/* One portal of the handler on `core`, in slot `slot`; `entry` gets `id`. BAD_CORE: the domain has
 * none there. */
uint64_t fault_serve_on(uint32_t domain, uint32_t core, uint64_t pd,
                        void (*entry)(uint64_t id, struct utcb *utcb), uint64_t slot, uint64_t mtd,
                        uint64_t id) WARN_UNUSED;
/* True, once: `domain` has had a fault since fault_watch, and `*fault` is its first. */
bool fault_seen(uint32_t domain, struct fault *fault);

#endif
