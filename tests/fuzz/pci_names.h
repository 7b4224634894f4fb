/* Other names for what both root and the VMM have. */
#ifndef FUZZ_PCI_NAMES_H
#define FUZZ_PCI_NAMES_H

#define pci_read     root_pci_read
#define pci_function root_pci_function

#endif
