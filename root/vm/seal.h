/*
 * A sealed VM's memory: cleaned by the kernel, filled by a loader (the VMM's
 * program in a domain of its own, which then goes), measured here, and then
 * given to the guest alone, before its VMM exists.
 */
#ifndef ROOT_SEAL_H
#define ROOT_SEAL_H

#include <root/vm/vm.h>

/* A step of that, one turn's worth. The VM has no domains yet but the loader's, of
   whose capabilities none reaches another VM. True: done; so it is at once for a VM that is not
   sealed, and after a failure, which vm->failed tells: then nothing may be sealed or run. */
bool seal_turn(struct vm *vm);
/* The seal itself: of the VM's two domains only the guest's keeps the RAM mapped, root's included,
   until the guest dies. Before it, root's handlers become those that say with which registers the
   vCPUs start: the VMM cannot. To be called when the guest's domain is complete and before a thread
   of the VMM runs; after it no vCPU and no device comes to the guest. The status of the first call
   that failed; then the VMM must not be started. */
uint64_t seal_close(struct vm *vm) WARN_UNUSED;

#endif
