/*
 * Kernel objects as proofs about their relations see them: each one a variable
 * of its own instead of a slot that all types share, which no solver gets
 * through. objects[] keeps the heads that capabilities are compared with, and
 * the PDs. In place of small.h.
 */
#ifndef PROOF_FLAT_H
#define PROOF_FLAT_H

#include <abi/utcb.h>
#define object       slot_of_all_types
#define objects      slots_of_all_types
#define object_index slot_index
#include "small.h"
#undef object
#undef objects
#undef object_index
#undef CAP_SLOTS
#define CAP_SLOTS 4
#undef SCRUB_FRAMES
#define SCRUB_FRAMES 4u
#undef USER_END
#define USER_END 0x00007ffffffff000ull /* nothing here walks a table */

struct object {
    struct head head;
    struct pd pd;
    struct mr mr; /* for those who look through all slots */
};

static struct object objects[OBJECTS];
static uint16_t object_index(const void *o); /* each proof knows its own */

#endif
