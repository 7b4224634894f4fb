/* The plan and the files that came with it. */
#ifndef ROOT_PLAN_H
#define ROOT_PLAN_H

#include <abi/boot.h>
#include <abi/plan.h>
#include <stdbool.h>

/* The module `name`, or NULL. */
const struct boot_module *plan_module(const struct boot_info *info, const char *name);
/* The module "f<number>", or NULL. */
const struct boot_module *plan_file(const struct boot_info *info, uint32_t number);

/*
 * A private copy of the module "plan", checked against abi/plan.h, the modules
 * and the `cores` of this machine. NULL: it is not usable; the console says why.
 */
const struct plan *plan_load(const struct boot_info *info, uint32_t cores);

#endif
