/* The LANs: a switch in a domain of its own for each, from the module "lan". */
#ifndef ROOT_LAN_H
#define ROOT_LAN_H

#include <lib/call.h>

/* Isolation: a switch's domain has its image, the rings of its own LAN's ports to read and write,
 * and those VMs' bells to ring. It has no other memory of a VM's, and no right to create anything.
 * LANs are numbered as in the plan, from 1 to plan->lans. */
/* Take the switches' memory, once, before anything is mapped. NO_MEMORY: not enough; the console
 * says so. */
uint64_t lan_take(void) WARN_UNUSED;
/* Start all switches, once; the VMs' stores are open. The status of the first call that failed; the
 * console says why. */
uint64_t lan_start_all(void) WARN_UNUSED;
/* Start each switch again that has had a fault, up to five starts in all; then its LAN stays off.
 * Rings and their frames stay. */
void lan_turn(void);
/* Start the switch of LAN `lan`, not 0, anew with the ports that the plan has now; a heavy step.
 * The rings of ports that stay keep their frames. The status of the first call that failed; the
 * console says why. */
uint64_t lan_renew(uint32_t lan) WARN_UNUSED;
/* The switch's core, 0..machine.cores - 1 (lib/cores.h). */
uint32_t lan_core(uint32_t lan);
/* Slot of the switch's bell. */
uint64_t lan_bell(uint32_t lan);

#endif
