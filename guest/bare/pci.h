/* PCI bus 0 by ports CF8h and CFCh (PCI 3.0, 3.2.2.3.2). */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include "bare.h"
#include <lib/hw/msix.h>
#include <lib/hw/pci.h>

#define PCI_SLOTS   32u
#define PCI_CHAINED 32u /* capabilities, at most, of one function */

uint32_t pci_read(uint32_t slot, uint32_t offset);
void pci_write(uint32_t slot, uint32_t offset, uint32_t value);
/* The base that register `bar` holds, of memory or ports. */
uint64_t pci_bar(uint32_t slot, uint32_t bar, bool *memory);
/* The next capability `id` behind the one at `after` (0: the first); 0: there is none. */
uint32_t pci_capability(uint32_t slot, uint32_t id, uint32_t after);

#endif
