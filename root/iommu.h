/*
 * The machine's IOMMUs: all of them are started, or nothing is assigned to a VM.
 */
#ifndef ROOT_IOMMU_H
#define ROOT_IOMMU_H

#include <root/acpi.h>
#include <root/pci.h>

/* Find all PCI functions and start all units. Before anything in device memory is mapped. */
void iommu_start_all(const struct acpi *acpi);
/* Why no function can be assigned; NULL: those for which nothing else is wrong can. */
const char *iommu_problem(void);
/* Number and kind of the unit that serves `f`. False: none does, or firmware uses `f` for itself (*reserved). */
bool iommu_of(const struct pci_function *f, uint32_t *unit, bool *reserved);
enum iommu_kind iommu_kind(void);
/* Once a second, tell what the units blocked; the TSC at which to look again, 0: there is none. */
uint64_t iommu_turn(uint64_t now);

#endif
