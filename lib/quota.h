/*
 * Kernel objects, and frames of the kernel's pool, by domain: the quota that root gives each of its
 * domains, and what root itself spends on them. Root creates the domains with these numbers. The
 * plan checker adds them up: the table has one size (QUOTA_KERNEL), and the pool what it says.
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

/* Bytes that one table of leaves of 4 KiB maps. */
#define QUOTA_TABLE (512ull * PAGE_SIZE)
/* Bytes of one mapping, at most: as many leaves of 2 MiB as a call may write. */
#define QUOTA_MAPPING (MAX_LEAVES_PER_MAP * QUOTA_TABLE)
/* And where RAM is in leaves of 4 KiB (PLAN_SMALL_PAGES), in the guest. */
#define QUOTA_SMALL ((uint64_t)MAX_LEAVES_PER_MAP * PAGE_SIZE)

/* Mappings of RAM beyond the first: what does not fit below the devices (abi/vm.h). */
static inline uint32_t quota_ram(const struct plan_vm *vm)
{
    uint64_t high = vm->memory - guest_low(vm->memory);
    return (uint32_t)((high + QUOTA_MAPPING - 1) / QUOTA_MAPPING);
}

/* More of them in leaves of 4 KiB, with those that make the tables for one (root/memory.c). */
static inline uint32_t quota_small(const struct plan_vm *vm)
{
    return (uint32_t)(vm->memory / QUOTA_SMALL + QUOTA_SMALL / QUOTA_TABLE);
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
static inline uint32_t quota_guest(const struct plan_vm *vm, bool small)
{
    return 4 + quota_ram(vm) + (small ? quota_small(vm) : 0) + (vm->sealed ? 3 : 2) * vm->vcpus +
           (PCI_BARS + 4) * vm->devices;
}

/* The machine's TPM, in a guest. */
enum { QUOTA_TPM = 1 };

/* A LAN switch: mappings of its image, memory and ports; its thread with its time, its sleep, its
 * fault portal. */
enum { QUOTA_LAN = 26 + PLAN_VMS };

/* The system that is installed on the machine: mappings of all that others do not have, vCPUs. */
enum { QUOTA_HOST = 1000 };

static inline uint32_t quota_vm(const struct plan_vm *vm, bool small)
{
    if (vm->mode == MODE_HOST)
        return QUOTA_HOST;
    if (!plan_is_vm(vm))
        return 0;
    return QUOTA_ROOT_VM + QUOTA_ROOT_VCPU * vm->vcpus + quota_vmm(vm) + quota_guest(vm, small);
}

static inline uint32_t quota_plan(const struct plan *plan)
{
    bool small = plan->flags & PLAN_SMALL_PAGES;
    uint32_t objects =
        QUOTA_ROOT + (QUOTA_ROOT_LAN + QUOTA_LAN) * plan->lans + (plan->tpm ? QUOTA_TPM : 0);
    for (uint32_t i = 0; i < plan->vms; i++)
        objects += quota_vm(&plan->vm[i], small);
    return objects;
}

/* ---- frames ---- */
enum {
    POOL_KERNEL = 8192,       /* the pool as the kernel is linked: kernel/config.h */
    POOL_MORE = 57343,        /* and what the tool can lay behind it, at most */
    POOL_ROOT = 64,           /* what root and the kernel have before the first VM */
    POOL_IOMMUS = 800,        /* of IOMMUs, at least: of eight of AMD's */
    POOL_LAN = 24 + PLAN_VMS, /* a switch: page tables, one a port; a UTCB */
    POOL_ROOT_VM = 2,         /* root's for a VM: tables in which it has its store */
    POOL_ROOT_VCPU = 1,       /* and for each vCPU: its fault handler's UTCB */
    POOL_DEVICE = 12,         /* a device of a guest's: page tables of its BARs */
    POOL_HOST = 600,          /* the installed system: page tables, vCPUs, its capabilities */
};

/* Both domains of a VM have tables of capabilities of this order (PD_TABLE); and frames of one
   beyond the first. */
static inline uint64_t quota_table_order(uint32_t vcpus)
{
    uint64_t order = 0;
    while (CAP_SLOTS << order < VM_SLOTS_OF(vcpus))
        order++;
    return order;
}
static inline uint64_t quota_table_frames(uint32_t vcpus)
{
    return (1ull << quota_table_order(vcpus)) - 1;
}

/* Page tables of 2 MiB pages and some edges, UTCBs; a table for each GiB of RAM, as where that is
   not aligned to one; some for files and their copies. */
static inline uint64_t pool_vmm(const struct plan_vm *vm)
{
    return 54 + 2 * vm->vcpus + (vm->memory >> 30) + quota_table_frames(vm->vcpus);
}
static inline uint64_t pool_guest(const struct plan_vm *vm, bool small)
{
    return 16 + 4 * vm->vcpus + (vm->memory >> 30) + (small ? vm->memory / QUOTA_TABLE : 0) +
           quota_table_frames(vm->vcpus) + POOL_DEVICE * vm->devices;
}

static inline uint64_t pool_vm(const struct plan_vm *vm, bool small)
{
    if (vm->mode == MODE_HOST)
        return POOL_HOST;
    if (!plan_is_vm(vm))
        return 0;
    return pool_vmm(vm) + pool_guest(vm, small) + POOL_ROOT_VM + POOL_ROOT_VCPU * vm->vcpus;
}

/* `iommus`: what the machine's have taken; 0: it is not known. */
static inline uint64_t pool_plan(const struct plan *plan, uint64_t iommus)
{
    uint64_t frames =
        POOL_ROOT + (iommus > POOL_IOMMUS ? iommus : POOL_IOMMUS) + POOL_LAN * plan->lans;
    bool small = plan->flags & PLAN_SMALL_PAGES;
    for (const struct plan_vm *vm = plan->vm; vm < plan->vm + plan->vms; vm++)
        frames += pool_vm(vm, small);
    return frames;
}

#endif
