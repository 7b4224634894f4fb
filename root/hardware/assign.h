/* Which PCI functions a VM can have. */
#ifndef ROOT_ASSIGN_H
#define ROOT_ASSIGN_H

#include <root/hardware/pci.h>

/* Judgements; they change nothing. Isolation: what passes both can be given to one VM, whose DMA,
 * interrupts and registers are then its own (decision 26).
 *
 * assign_wrong: why no VM can have `f`; NULL: one can. Looks at class, capabilities, BARs and
 * IOMMU. A virtual function may be absent yet: what only itself can tell is left to the other.
 * After iommu_start_all. */
const char *assign_wrong(const struct pci_function *f);
/* The part that only a function that is there can tell. Once more before each life. */
const char *assign_function_wrong(const struct pci_function *f);

#endif
