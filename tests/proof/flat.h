/*
 * Kernel objects as proofs about their relations see them: each type in an
 * array of its own instead of slots that all types share, which no solver gets
 * through. An object is known by the index its slot has; objects[] keeps the
 * heads that capabilities are compared with, and the PDs. In place of small.h.
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
#undef USER_END
#define USER_END 0x00007ffffffff000ull /* nothing here walks a table */

struct object {
    struct head head;
    struct pd pd;
    struct mr mr; /* for mr_unseal() alone; the others are in mrs[] */
};

static struct object objects[OBJECTS];
static struct mr mrs[OBJECTS];
static struct mp mps[OBJECTS];

static uint16_t object_index(const void *o)
{
    for (uint16_t i = 1; i < OBJECTS; i++)
        if (o == &objects[i] || o == &objects[i].pd || o == &mrs[i] || o == &mps[i])
            return i;
    check(false);
    return 0;
}

#endif
