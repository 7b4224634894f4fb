/* The LANs: a switch in a domain of its own for each, from the module "lan". */
#ifndef ROOT_LAN_H
#define ROOT_LAN_H

#include <stdbool.h>
#include <stdint.h>

/* LANs are numbered as in the plan, from 1. */
/* Take the switches' memory. False: not enough. */
bool lan_take(void);
/* Start all switches; the VMs' stores are open. False: the console says why. */
bool lan_start_all(void);
/* Start those again that died. */
void lan_turn(void);
/* The switch's core: from the last one down. */
uint32_t lan_core(uint32_t lan);
/* Slot of the switch's bell. */
uint64_t lan_bell(uint32_t lan);

#endif
