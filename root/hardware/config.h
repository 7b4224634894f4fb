/* Which configuration registers a VM may write. */
#ifndef ROOT_CONFIG_H
#define ROOT_CONFIG_H

#include <root/hardware/pci.h>

/* A VM's write of `size` (0..4) bytes of `value` at `offset` (below 4096) of its function `f`. Bits
   of the allow list go into the registers; all others keep their values, without an error. Any
   core; nobody else writes these registers while the VM lives. */
void config_write(const struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value);

#endif
