/* The debug kernel's assertions (check.h). */
#include <core.h>
#include <invariant.h>

enum { AT_START = -2, NOBODY = -1 };
/* The core that has the graph lock. At the kernel's start there is one core, and no lock to take;
 * that ends with the first call. */
static int32_t graph_holder = AT_START;

bool has_graph_lock(void)
{
    int32_t holder = __atomic_load_n(&graph_holder, __ATOMIC_RELAXED);
    return holder == AT_START || holder == cpu_core()->number;
}

bool is_own_core(uint32_t number) { return number == cpu_core()->number; }
#ifndef cpu_flags
#define cpu_flags() __builtin_ia32_readeflags_u64()
#endif
bool interrupts_off(void) { return !(cpu_flags() & RFLAGS_IF); }

void check_or_stop(bool ok, const char *what)
{
    if (!ok)
        panic(what, cpu_core()->number, (uint64_t)__builtin_return_address(0));
}

void check_lock(bool taken)
{
    check_that(taken != has_graph_lock() || graph_holder == AT_START);
    __atomic_store_n(&graph_holder, taken ? cpu_core()->number : NOBODY, __ATOMIC_RELAXED);
}

void check_graph(uint64_t call)
{
    const char *broken = invariant_broken();
    if (broken)
        panic(broken, call, 0);
}
