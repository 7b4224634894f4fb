/*
 * PCI functions as VMs have them: which the plan means, what a VM's domains get of them, and how they become new from
 * life to life.
 */
#ifndef ROOT_DEVICE_H
#define ROOT_DEVICE_H

#include <root/pci.h>
#include <root/vm.h>

/* What `n` devices cost: frames and objects of the guest's domain, objects of the VMM's. */
#define DEVICE_FRAMES(n)      (12 * (n))
#define DEVICE_OBJECTS(n)     ((PCI_BARS + 4) * (n))
#define DEVICE_VMM_OBJECTS(n) ((n) ? 2 * (n) + PLAN_VCPUS + 1 : 0)

/* Find the functions that the plan's VMs name. False: one cannot be had; the console says why. */
bool device_resolve(void);
/* Who has the function `rid`: a VM's name or "-". */
const char *device_owner(uint16_t rid);

/* Are the VM's devices there, and as after power-on? Looks only, and goes one step; call again when the bell rings
   or 10 ms later. */
bool device_ready(const struct vm *vm);
/* Tell the VMM. */
void device_describe(const struct vm *vm, struct vm_config *config);
/* Give them to the VM's domains, which were just made. A raw status. */
uint64_t device_map(const struct vm *vm);
/* End their DMA and interrupts, before the guest's domain ends. */
void device_quiet(const struct vm *vm);
/* After that domain has ended: reset them, once they have got all answers, or 100 ms later. False: not yet. */
bool device_stop(const struct vm *vm);

#endif
