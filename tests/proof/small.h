/*
 * The machine that proofs run on: the kernel's own sources with small tables,
 * so that every state of them can be looked at. First header of each proof.
 */
#ifndef PROOF_SMALL_H
#define PROOF_SMALL_H

#ifndef OBJECTS
#define OBJECTS 8u
#endif
#ifndef POOL_FRAMES
#define POOL_FRAMES 16u
#endif
#define TABLE_BITS 1 /* pages of 1, 2 and 4 frames; 16 pages of address space */

#include <abi/call.h>
#undef CAP_SLOTS
#define CAP_SLOTS 8
#undef MAX_LEAVES_PER_MAP
#define MAX_LEAVES_PER_MAP 3u
#undef MAX_CORES
#define MAX_CORES 2
#undef PRIORITIES
#define PRIORITIES 32

#include <config.h>
#undef USER_END
#define USER_END 0x7000ull /* as on the real machine: the lower half but for its last page */

#include <object.h>

#define assume(condition) __CPROVER_assume(condition)
#define check(condition)  __CPROVER_assert(condition, #condition)

uint64_t nondet_any(void); /* a value the solver chooses: cbmc knows the prefix */
#define any() nondet_any()

/* One of three values, the solver's choice. */
static inline uint32_t one_of(uint32_t a, uint32_t b, uint32_t c)
{
    if (any() & 1)
        return a;
    return any() & 1 ? b : c;
}

bool virt_vmx; /* no: of nested tables, AMD's format */

#endif
