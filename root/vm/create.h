/*
 * VMs that another VM creates while the machine runs, out of what the plan has to spare. Nothing of
 * them is measured. What a VM uploads is copied before it is looked at.
 */
#ifndef ROOT_CREATE_H
#define ROOT_CREATE_H

#include <root/vm/vm.h>

/* Take the spare memory, if there is any, once, before anything is mapped; NO_MEMORY: the machine
 * has not enough; the console says so. */
uint64_t create_take(void) WARN_UNUSED;
/* Map it into root's own space, for good. BAD_ARG: it could not be mapped. */
uint64_t create_open(void) WARN_UNUSED;

/* Create the VM that VM `by` has uploaded, and start it; a heavy step. NULL, with `*wrong`: there
 * is none; nothing has changed. */
struct vm *create_vm(const struct vm *by, const char **wrong);
/* Why `vm` cannot be destroyed: only one that was created, and is off, can. What follows its
 * name in the sentence; NULL: it can. */
const char *create_refuses(const struct vm *vm);
/* Take it out of the machine; a heavy step. */
void create_destroy(struct vm *vm);

#endif
