/*
 * PCI functions as VMs have them: which the plan means, what a VM's domains get of them, and how
 * they become new from life to life.
 */
#ifndef ROOT_DEVICE_H
#define ROOT_DEVICE_H

#include <root/hardware/pci.h>
#include <root/vm/vm.h>

/* Objects beyond those that lib/quota.h counts: a BAR takes one more for each QUOTA_MAPPING that it
 * has. Each takes two frames at most: behind the page of an MSI-X table a mapping ends within large
 * pages. */
uint32_t device_mappings(const struct vm *vm);

/* Find the functions that the plan's VMs name, once. No function goes to two VMs, nor an isolation
 * group to more than one. BAD_ARG: one cannot be had; the console says why, and no VM at all is to
 * be started, since the plan is not the machine's. After iommu_start_all. */
uint64_t device_resolve(void) WARN_UNUSED;
/* The name of the VM that has the function with requester ID `rid`; "-": none. */
const char *device_owner(uint16_t rid);

/* Are the VM's devices there, and as after power-on? Never waits: it looks, goes one step at most,
   and wants to be called again in 10 ms. True also for a VM without devices. */
bool device_ready(const struct vm *vm);
/* Say on the console which of them it waits for, if one is not there. */
void device_tell(const struct vm *vm);
/* Fill in what the VMM is told of them: places in the guest, capabilities, sizes. */
void device_describe(const struct vm *vm, struct vm_config *config);
/* Give them to the VM's domains, which were just made, before a thread of its VMM runs. The guest
   gets their BARs, but for the page with the MSI-X table, and DMA to its own memory; the VMM gets
   that page, configuration space to read, and the right to route their interrupts. Writes to
   configuration space go through root (config.h). Only the VM's own devices. The status of the
   first call that failed: the caller ends the life, which takes back what was given. */
uint64_t device_map(const struct vm *vm) WARN_UNUSED;
/* Bus mastering off: no new DMA, no message. After the VMM's domain has ended, which could turn it
 * on again, and before the guest's does. */
void device_quiet(const struct vm *vm);
/* Begin their reset, once they have got the completions of all requests, or 100 ms after
 * device_quiet. After the guest's domain has ended: until the reset they may hold its data. False:
 * not yet; never waits. */
bool device_stop(const struct vm *vm);

#endif
