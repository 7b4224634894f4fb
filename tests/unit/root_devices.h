/*
 * For programs that link root/vm/device.c: FUNCTIONS PCI functions, `function`, each a group of its
 * own with its index as its address, that are there, fit, and are never reset or changed.
 */
#ifndef TESTS_ROOT_DEVICES_H
#define TESTS_ROOT_DEVICES_H

#include <root/hardware/assign.h>
#include <root/hardware/config.h>
#include <root/hardware/iommu.h>

static struct pci_function function[FUNCTIONS];
static uint32_t begun; /* the sum of index + 1 of those that a new VMM may write to */

uint32_t pci_count(void) { return FUNCTIONS; }
uint64_t clock_ticks(uint64_t ms) { return ms; }
const char *assign_wrong(const struct pci_function *f) { return (void)f, NULL; }
const char *assign_function_wrong(const struct pci_function *f) { return (void)f, NULL; }
void config_write(struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value)
{
    (void)f, (void)offset, (void)size, (void)value;
}
void config_begin(struct pci_function *f) { begun += f->rid + 1u; }
const char *iommu_of(const struct pci_function *f, uint32_t *unit)
{
    return (void)f, *unit = 0, NULL;
}
enum iommu_kind iommu_kind(void) { return IOMMU_VTD; }
struct pci_function *pci_function(uint32_t i) { return &function[i]; }
struct pci_function *pci_find(uint16_t rid) { return &function[rid]; }
uint16_t pci_group(const struct pci_function *f) { return f->rid; }
void pci_make_vf(struct pci_function *pf, uint32_t n, struct pci_function *vf)
{
    (void)pf, (void)n, (void)vf;
}
void pci_read_capabilities(struct pci_function *f) { (void)f; }
bool pci_is_there(const struct pci_function *f) { return f != NULL; }
bool pci_pending(const struct pci_function *f) { return f == NULL; }
void pci_quiet(const struct pci_function *f) { (void)f; }
void pci_reset(const struct pci_function *f) { (void)f; }
void pci_wake(const struct pci_function *f) { (void)f; }
void pci_restore(const struct pci_function *f) { (void)f; }

#endif
