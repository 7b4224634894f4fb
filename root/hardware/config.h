/* Which configuration registers a VM may write. */
#ifndef ROOT_CONFIG_H
#define ROOT_CONFIG_H

#include <root/hardware/pci.h>

/* A VM's write of `size` (0..4) bytes of `value` at `offset` (below 4096) of its function `f`. Bits
   of the allow list go into the registers; all others keep their values, without an error. Any
   core; nobody else writes these registers while the VM lives.
   Stale check: its thread may be preempted between what it reads and what it writes, and another
   one of the VM could change that meanwhile: enable virtual functions whose requester IDs are
   others'. So one write is made at a time, and a second one has no effect: an honest VMM makes them
   under a lock. */
void config_write(struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value);

/* Before a new VMM may write: the last one may have died in config_write(). */
void config_begin(struct pci_function *f);

#endif
