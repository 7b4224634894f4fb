/* Whole register states, for the first instruction of a vCPU: what a handler of EVENT_START
 * replies. */
#ifndef LIB_STATE_H
#define LIB_STATE_H

#include <abi/utcb.h>
#include <abi/vm.h>

#define BOOT_GDT_SIZE 32u /* null, null, code, data */

/* Set all registers in `u`, and its mtd, to the state in which the loader wants its kernel to
 * begin: entry and mode are in `b`. */
void state_boot(struct utcb *u, const struct vm_boot *b);
/* The same to the state after a start-up IPI with vector `sipi` (0..FFh): real mode, CS:IP =
 * sipi << 8 : 0. */
void state_real(struct utcb *u, uint32_t sipi);

#endif
