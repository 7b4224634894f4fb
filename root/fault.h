/*
 * Faults of the domains that root made. One handler thread on each core serves
 * a portal for each domain: it notes the first fault, rings root's bell and
 * ends the thread. Domains are numbered: VM i is i, LAN i is PLAN_VMS + i.
 */
#ifndef ROOT_FAULT_H
#define ROOT_FAULT_H

#include <abi/vm.h>
#include <stdbool.h>

#define FAULT_DOMAINS (PLAN_VMS + PLAN_LANS)

struct fault {
    uint64_t vector, error, cr2, rip;
};

/* A handler thread on each of `cores`. False: the kernel refused. */
bool fault_init(uint32_t cores);
/* Put the portals of `domain` into the PD in slot `pd`, which pays, with nothing seen yet. A raw status. */
uint64_t fault_watch(uint32_t domain, uint64_t pd, uint32_t cores);
/* True: `domain` has had a fault since; here it is, once. */
bool fault_seen(uint32_t domain, struct fault *fault);

#endif
