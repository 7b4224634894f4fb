/* Which PCI functions a VM can have. */
#ifndef ROOT_ASSIGN_H
#define ROOT_ASSIGN_H

#include <root/pci.h>

/* Why no VM can have `f`; NULL: one can. Of a virtual function, only what can be told before it is there. */
const char *assign_wrong(const struct pci_function *f);
/* The part that only a function that is there can tell. */
const char *assign_function_wrong(const struct pci_function *f);

#endif
