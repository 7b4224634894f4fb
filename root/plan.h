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

/* The record of mode host, if the firmware is beneath; plan_load() has taken it out of the plan. */
extern struct plan_vm plan_installed;
/* Of the kernel's pool, what the machine's IOMMUs have taken before plan_load(). */
extern uint32_t plan_iommu_frames;

/*
 * A record of the plan for a VM that is created later by VM `by`: a copy of `record`, whose files
 * are modules of `files`, checked as at boot, and against what the plan has to spare. NULL: it is
 * not usable; `*wrong` says why.
 */
const struct plan_vm *plan_admit(const struct boot_info *files, const struct plan_vm *record,
                                 const struct plan_vm *by, const char **wrong);
/* Take such a record out. */
void plan_forget(const struct plan_vm *vm);
/* The number, from 0, that the next VM would have. */
uint32_t plan_next(void);

/* Has no core of the loaded plan's VMs a sibling that is another VM's, or does the plan say that it
 * may? Else the console says which. `thread_of`: of each core the first one of its threads. */
bool plan_keeps_siblings_apart(const uint8_t thread_of[MAX_CORES]);

#endif
