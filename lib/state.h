/* Whole register states, for the first instruction of a vCPU: what a handler of EVENT_START replies. */
#ifndef LIB_STATE_H
#define LIB_STATE_H

#include <abi/utcb.h>
#include <abi/vm.h>

#define RESET_PAT     0x0007040600070406ull /* APM2 7.8.2 */
#define BOOT_GDT_SIZE 32u                   /* null, null, code, data */

/* The state in which a loader wants its kernel to begin. */
void state_boot(struct utcb *u, const struct vm_boot *b);
/* A processor started by SIPI: CS:IP = sipi << 8 : 0. */
void state_real(struct utcb *u, uint32_t sipi);

#endif
