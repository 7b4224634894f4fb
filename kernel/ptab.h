/*
 * Page tables: ONE walker for host and nested spaces (on AMD both have the same
 * four-level format, APM2 5.3, 15.25; a DMA table will be a third user). Graph lock.
 */
#ifndef KERNEL_PTAB_H
#define KERNEL_PTAB_H

#include <pool.h>

#define PTE_PRESENT  1ull
#define PTE_WRITE    2ull
#define PTE_USER     4ull
#define PTE_UNCACHED 0x18ull /* PWT | PCD */
#define PTE_LARGE    0x80ull
#define PTE_NX       (1ull << 63)

/* What AMD-Vi reads where the processor and VT-d read nothing: rights in every entry, and in a table's the level of the table that
   it leads to (48882 2.2.3). */
#define PTE_DMA_READ     (1ull << 61)
#define PTE_DMA_WRITE    (1ull << 62)
#define PTE_DMA_LEVEL(n) ((uint64_t)(n) << 9)

/* The rights that tables carry for AMD-Vi; 0: there is none, and VT-d wants the bits to be 0. Set before the first guest PD is made. */
extern uint64_t ptab_dma;

/*
 * Map host frames [frame, frame + frames) at `va` of `pd`, in the largest pages
 * (1 GiB, 2 MiB, 4 KiB) that both addresses and what is there allow. `bits` are
 * the leaf's besides PRESENT and LARGE. Tables are paid by `pd`.
 * BUSY: something is mapped there; NO_MEMORY; BAD_ARG: more than
 * MAX_LEAVES_PER_MAP entries. On any error nothing has changed.
 */
uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, uint64_t bits) WARN_UNUSED;

/* Undo one ptab_map() (same va and frames). The caller flushes TLBs (core_sync). Tables stay. */
void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames);

/*
 * Close a guest's table: all that is absent leads to one page of ones, its own
 * (pd->hole: the entry for each level). Once. NO_MEMORY: nothing has changed.
 * Bounded by the PD's tables, 512 entries each.
 */
uint64_t ptab_close(struct pd *pd) WARN_UNUSED;

#endif
