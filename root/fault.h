/*
 * Faults of the domains that root made. Each domain has a handler thread of its
 * own on each core that its threads are on: it notes the first fault, rings
 * root's bell and ends the thread. No domain can keep another's handler busy.
 * Domains are numbered: VM i is i, LAN i is PLAN_VMS + i.
 */
#ifndef ROOT_FAULT_H
#define ROOT_FAULT_H

#include <abi/utcb.h>
#include <abi/vm.h>
#include <stdbool.h>

#define FAULT_DOMAINS (PLAN_VMS + PLAN_LANS)

struct fault {
    uint64_t vector, error, cr2, rip;
};

/* The handler of root's own faults. False: the kernel refused. */
bool fault_init(void);
/* Those of `domain`, for good, one for each core in the bit mask `cores`. False: too many, or the kernel refused. */
bool fault_prepare(uint32_t domain, uint64_t cores);
/* Put the portals of `domain` into the PD in slot `pd`, which pays, with nothing seen yet. A raw status. */
uint64_t fault_watch(uint32_t domain, uint64_t pd);
/* More portals of the same handlers, in slots `slot` + core: `entry` gets the domain's number. A raw status. */
uint64_t fault_serve(uint32_t domain, uint64_t pd, void (*entry)(uint64_t domain, struct utcb *utcb), uint64_t slot, uint64_t mtd);
/* One portal of the handler on `core`, in slot `slot`; `entry` gets `id`. A raw status. */
uint64_t fault_serve_on(uint32_t domain, uint32_t core, uint64_t pd, void (*entry)(uint64_t id, struct utcb *utcb), uint64_t slot,
                        uint64_t id);
/* True: `domain` has had a fault since; here it is, once. */
bool fault_seen(uint32_t domain, struct fault *fault);

#endif
