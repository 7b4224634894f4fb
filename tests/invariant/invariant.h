/* What isolation means, said once: proof assertion, and run-time check of debug builds. */
#ifndef KERNEL_INVARIANT_H
#define KERNEL_INVARIANT_H

#include <stdbool.h>

/*
 * What the object graph breaks first, as a sentence; NULL while it is sound.
 * Changes nothing. Graph lock, between two calls; what cores change without
 * that lock (running states, queues, donation chains) is not looked at.
 */
const char *invariant_broken(void);

static inline bool invariant(void) { return !invariant_broken(); }

#endif
