/* Records for the operator and the host tool: one line each, `key=value`, stable. */
#ifndef ROOT_REPORT_H
#define ROOT_REPORT_H

#include <root/vm/vm.h>

/* No VM was built yet. */
void report_ready(void);
/* The end of a VM's life. `next`: off, restart (after `pause` ms) or given-up. */
void report_vm(const struct vm *vm, const char *next, uint64_t pause);
/* The kernel's memory, at the end of all VMs, and whether something of it was not given back. */
void report_end(void);
/* The name of an `enum event` or cause. */
const char *report_cause(uint64_t cause);
/* Of the installed system: how many cores it has, and its exits since it began. */
void report_host(const char *name, uint32_t cores, const uint64_t exits[CAUSE_COUNT]);
/* Its VMM has left. */
void report_alone(const struct vm *vm);
/* It was created, or destroyed: `what` is `state=...`. */
void report_made(const struct vm *vm, const char *what);
/* The answer `ok key=value...` that tells what it is and has had in this life, of at most `size`
 * bytes with its end. */
void report_counters(const struct vm *vm, char *text, uint32_t size);
/* What follows all that is said of a VM that is in no measurement, and of no other. */
const char *report_mark(const struct vm *vm);
/* The status table; rates are since the table before. */
void report_list(void);

#endif
