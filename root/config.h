/* Which configuration registers a VM may write. */
#ifndef ROOT_CONFIG_H
#define ROOT_CONFIG_H

#include <root/pci.h>

/* A VM's write of `size` (0..4) bytes of `value` at `offset` (below 4096): what may pass goes into the function's
   registers, the rest vanishes. Any core; nobody else writes these registers while the VM lives. */
void config_write(const struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value);

#endif
