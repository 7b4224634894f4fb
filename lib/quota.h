/*
 * Kernel objects by domain: the quota that root gives each of its domains, and what root itself
 * spends on them. Root creates the domains with these numbers. The plan checker adds them up,
 * because the kernel's table of objects has one size (QUOTA_KERNEL).
 */
#ifndef LIB_QUOTA_H
#define LIB_QUOTA_H

#include <abi/plan.h>
#include <abi/call.h>
#include <abi/utcb.h>
#include <abi/vm.h>
#include <lib/hw/pci.h>

enum {
    QUOTA_KERNEL = 8191, /* the whole table, but for entry 0: kernel/config.h */
    QUOTA_ROOT = 137,    /* what root and the kernel have before the first VM, and some to spare */
    QUOTA_ROOT_VM = 5,   /* root's for a VM: two PDs, bell, the worker's fault handler, memory */
    QUOTA_ROOT_VCPU = 1, /* and for each vCPU: the fault handler on its core */
    QUOTA_ROOT_LAN = 7,  /* for a LAN: PD, bell, fault handler, memory */
};

/* Bytes of one mapping, at most: as many leaves of 2 MiB as a call may write. */
#define QUOTA_MAPPING ((uint64_t)MAX_LEAVES_PER_MAP * PAGE_SIZE * 512)

/* Mappings of RAM beyond the first: what does not fit below the devices (abi/vm.h). */
static inline uint32_t quota_ram(const struct plan_vm *vm)
{
    uint64_t high = vm->memory - guest_low(vm->memory);
    return (uint32_t)((high + QUOTA_MAPPING - 1) / QUOTA_MAPPING);
}

/* A VMM: mappings of its image (3), of the pieces of its store (5, with volumes 6), files (6) and
   RAM; the worker with its time, its sleep, its fault portal. A vCPU: the handler thread, its fault
   portal, a portal an event. A device: configuration page and MSI-X page; and once a portal of
   root's a core.
 */
static inline uint32_t quota_vmm(const struct plan_vm *vm)
{
    return 24 + (vm->store ? 1u : 0u) + quota_ram(vm) + (2 + EVENT_COUNT) * vm->vcpus +
           2 * vm->devices + (vm->devices ? vm->vcpus + 1 : 0);
}

/* A guest: mappings of RAM, the chipset's pages, MSI-X pages. A vCPU: itself, its time, and when
   sealed root's portal for its start. A device: its function, its BARs, of which one is in three
   parts. */
static inline uint32_t quota_guest(const struct plan_vm *vm)
{
    return 4 + quota_ram(vm) + (vm->sealed ? 3 : 2) * vm->vcpus + (PCI_BARS + 4) * vm->devices;
}

/* The machine's TPM, in a guest. */
enum { QUOTA_TPM = 1 };

/* A LAN switch: mappings of its image, memory and ports; its thread with its time, its sleep, its
 * fault portal. */
enum { QUOTA_LAN = 26 + PLAN_VMS };

static inline uint32_t quota_vm(const struct plan_vm *vm)
{
    return QUOTA_ROOT_VM + QUOTA_ROOT_VCPU * vm->vcpus + quota_vmm(vm) + quota_guest(vm);
}

static inline uint32_t quota_plan(const struct plan *plan)
{
    uint32_t objects =
        QUOTA_ROOT + (QUOTA_ROOT_LAN + QUOTA_LAN) * plan->lans + (plan->tpm ? QUOTA_TPM : 0);
    for (uint32_t i = 0; i < plan->vms; i++)
        objects += plan_is_vm(&plan->vm[i]) ? quota_vm(&plan->vm[i]) : 0;
    return objects;
}

#endif
