/*
 * Which core a thread of a plan runs on. Root starts it there (root/vm/vm.c, root/vm/lan.c), and
 * the tool promises VMs what it leaves them (cli/plan/check_cores.c). The plan has been checked:
 * each VM has cores, and none has core 0 for itself.
 */
#ifndef LIB_CORES_H
#define LIB_CORES_H

#include <abi/call.h>
#include <abi/plan.h>

/* The first `count` cores, 1..MAX_CORES, a bit each. */
static inline uint64_t cores_mask(uint32_t count) { return ~0ull >> (64 - count); }

/* VM `vm`'s vCPU `i`: the i-th of its cores, wrapping around. */
static inline uint32_t cores_vcpu(const struct plan_vm *vm, uint32_t i)
{
    for (uint32_t core = 0;; core = (core + 1) % MAX_CORES) {
        if (!(vm->cores >> core & 1))
            continue;
        if (i == 0)
            return core;
        i--;
    }
}

/* The core of VM `vm`'s worker: its first vCPU's; core 0 for a dedicated VM, whose cores are its
 * vCPUs' alone. The host has none. */
static inline uint32_t cores_worker(const struct plan_vm *vm)
{
    return vm->mode == MODE_SHARED ? cores_vcpu(vm, 0) : 0;
}

/* The core of the switch of LAN `lan` (from 1) on a machine of `cores` cores: from the last core
   down, without those of dedicated VMs and the spare ones. Core 0 is never one of those, so there
   always is one. */
static inline uint32_t cores_switch(const struct plan *plan, uint32_t lan, uint32_t cores)
{
    uint64_t taken = plan->spare_cores;
    for (uint32_t i = 0; i < plan->vms; i++)
        taken |= plan->vm[i].mode == MODE_DEDICATED ? plan->vm[i].cores : 0;
    taken &= ~1ull;
    for (uint32_t core = cores - 1;; core = (core + cores - 1) % cores) {
        if (taken >> core & 1)
            continue;
        lan--;
        if (lan == 0)
            return core;
    }
}

/* How many workers and switches are on `core` of a machine of `cores` cores: they share half of
 * it. On a spare core as many as there can be: none is ever given a smaller part. */
#define CORES_SPARE_HELPERS 4u
static inline uint32_t cores_helpers(const struct plan *plan, uint32_t core, uint32_t cores)
{
    uint32_t helpers = 0;
    if (plan->spare_cores >> core & 1)
        return CORES_SPARE_HELPERS;
    for (uint32_t i = 0; i < plan->vms; i++)
        helpers += plan_is_vm(&plan->vm[i]) && plan->vm[i].mode != MODE_HOST &&
                   !(plan->vm[i].cores & plan->spare_cores) && cores_worker(&plan->vm[i]) == core;
    if (core == 0 && plan->spare_cores) /* those of dedicated VMs that are created */
        helpers += CORES_SPARE_HELPERS;
    for (uint32_t lan = 1; lan <= plan->lans; lan++)
        helpers += cores_switch(plan, lan, cores) == core;
    return helpers;
}

#endif
