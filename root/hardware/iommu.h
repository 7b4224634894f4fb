/*
 * The machine's IOMMUs: all of them are started, or nothing is assigned to a VM.
 */
#ifndef ROOT_IOMMU_H
#define ROOT_IOMMU_H

#include <root/hardware/acpi.h>
#include <root/hardware/pci.h>
#include <lib/call.h>

/* For the installed system: units stay as they are until dv_create() with DV_ALL. A status: why
   not. */
uint64_t iommu_take_for_host(const struct acpi *acpi) WARN_UNUSED;
/* How many are started. */
uint32_t iommu_units(void);

/* Find all PCI functions and start all units. From a unit's start on, DMA and interrupts of every
   function behind it are blocked, until a VM gets the function. The units' registers are taken out
   of the device memory first, so that no BAR is thought to be there, and afterwards are the
   kernel's alone. Before anything in device memory is mapped. A failure forbids assignment
   (iommu_problem), nothing else. */
void iommu_start_all(const struct acpi *acpi);
/* Why no function can be assigned; NULL: those for which nothing else is wrong can. */
const char *iommu_problem(void);
/* `*unit`: the kernel's number of the unit that serves `f`, if one does. Why `f` must not be
 * assigned, as far as IOMMUs go; NULL: it may be. */
const char *iommu_of(const struct pci_function *f, uint32_t *unit);
/* Kind of all units; IOMMU_NONE: none was started. */
enum iommu_kind iommu_kind(void);
/* Once a second, at `now` (TSC), tell on the console what the units blocked. The TSC at which to
 * look again; 0: there is no unit. */
uint64_t iommu_turn(uint64_t now);

#endif
