/* The plan and the files that came with it. */
#ifndef ROOT_PLAN_H
#define ROOT_PLAN_H

#include <abi/boot.h>
#include <abi/call.h>
#include <abi/plan.h>
#include <stdbool.h>

/* The module `name`, or NULL. */
const struct boot_module *plan_module(const struct boot_info *info, const char *name);
/* The module "f<number>", or NULL. */
const struct boot_module *plan_file(const struct boot_info *info, uint32_t number);

/*
 * A private copy of the module "plan", checked against abi/plan.h, the modules
 * and the `cores` of this machine, which may be VMs' own if `own_cores`. NULL:
 * it is not usable; the console says why.
 */
const struct plan *plan_load(const struct boot_info *info, uint32_t cores, bool own_cores);

/* Has no core of the loaded plan's VMs a sibling that is another VM's, or does the plan say that it
 * may? Else the console says which. `thread_of`: of each core the first one of its threads. */
bool plan_keeps_siblings_apart(const uint8_t thread_of[MAX_CORES]);

#endif
