/* Debug builds: after each call that changes the object graph, stop the kernel with a sentence if isolation is broken. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include <core.h>
#include <invariant.h>

static inline void check_graph(uint64_t call)
{
    const char *broken = invariant_broken();
    if (broken)
        kernel_panic(broken, call, 0);
}

#endif
