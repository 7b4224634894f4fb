/*
 * A sealed VM's memory: cleaned by the kernel, filled by a loader (the VMM's
 * program in a domain of its own, which then goes), measured here, and then
 * given to the guest alone, before its VMM exists.
 */
#ifndef ROOT_SEAL_H
#define ROOT_SEAL_H

#include <root/vm.h>

/* A step of that; true: done, also for a VM that is not sealed, or vm->failed says what went wrong. */
bool seal_turn(struct vm *vm, uint64_t now);
/* Before a thread of its VMM runs: who says with which registers its vCPUs start, then the seal. A raw status. */
uint64_t seal_close(struct vm *vm);

#endif
