/* Debug builds: stop the kernel where a contract is not kept, and after each call that changes the
 * object graph if isolation is broken. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* The kernel stops with file, line and text of a condition that does not hold. */
#define check_that(condition) check_or_stop(condition, CHECK_PLACE(__LINE__) #condition)
#define CHECK_PLACE(line)     CHECK_TEXT(line)
#define CHECK_TEXT(line)      __FILE__ ":" #line ": "
/* What such conditions are made of: this core has the graph lock, or is still alone at the kernel's
 * start; `number` is this core; it takes no interrupts. */
bool has_graph_lock(void);
bool is_own_core(uint32_t number);
bool interrupts_off(void);

void check_or_stop(bool ok, const char *what);
/* The graph lock was taken, or is about to be given back, by this core. */
void check_lock(bool taken);
void check_graph(uint64_t call);

#endif
