/* How tests and the invariant look at memory: by a walker of their own. The kernel itself never
 * asks. */
#ifndef INVARIANT_LOOK_H
#define INVARIANT_LOOK_H

#include <object.h>

/* The host frame number behind `va` of `pd` and the leaf's bits; false: nothing is there. */
bool ptab_lookup(const struct pd *pd, uint64_t va, uint64_t *frame, uint64_t *bits);

/* Who pays for a frame, as an object index; 0: nobody, or not a frame of the pool. */
uint16_t frame_payer(const void *frame);
/* How many frames `owner` pays for. */
uint32_t frame_count_of(const struct pd *owner);

#endif
