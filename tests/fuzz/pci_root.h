/* What pci.c has of root beside its headers. */
#ifndef FUZZ_PCI_ROOT_H
#define FUZZ_PCI_ROOT_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t from, to; /* half-open */
};
static inline bool meet(struct range a, struct range b) { return a.from < b.to && b.from < a.to; }

/* ---- pci_device.c ---- */
void root_forget(void);
/* ---- pci_found.c ---- */
void found_check(void);

#endif
