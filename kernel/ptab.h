/*
 * Page tables: ONE walker for host and nested spaces (on AMD both have the same
 * four-level format, APM2 5.3, 15.25). A device reads its guest's own nested table. Graph lock.
 * Callers give rights; ptab.c alone makes bits of entries of them (scripts/check-style).
 */
#ifndef KERNEL_PTAB_H
#define KERNEL_PTAB_H

#include <frame.h>

#define PTE_PRESENT  1ull
#define PTE_WRITE    2ull
#define PTE_USER     4ull
#define PTE_UNCACHED 0x18ull /* PWT | PCD */
#define PTE_LARGE    0x80ull
#define PTE_NX       (1ull << 63)

/* What AMD-Vi reads where the processor and VT-d read nothing: rights in every entry, and in a
   table's the level of the table that it leads to, times PTE_DMA_LEVEL (48882 2.2.3). */
#define PTE_DMA_READ  (1ull << 61)
#define PTE_DMA_WRITE (1ull << 62)
#define PTE_DMA_LEVEL (1ull << 9)

/* Beside the rights to a mapping: a device is there, and no cache keeps anything of it. */
enum { PTAB_DEVICE = 0x100 };

/* The kind of IOMMU that reads tables beside the processor. Set before the first guest PD is made:
 * entries that are there already do not change. */
extern enum iommu_kind ptab_iommu;

/*
 * Map host frames [frame, frame + frames) at `va` of `pd`, in the largest pages
 * (1 GiB, 2 MiB, 4 KiB) that both addresses and what is there allow. `rights` are
 * MR_READ, which every mapping has, and any of MR_WRITE, MR_EXEC, PTAB_DEVICE; in
 * kernel_space they are not user mode's. Tables are paid by `pd`.
 * BUSY: something is mapped there; NO_MEMORY; BAD_ARG: more than
 * MAX_LEAVES_PER_MAP entries. On any error nothing has changed.
 */
uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames,
                  unsigned rights) WARN_UNUSED;

/* Undo one ptab_map() (same va and frames). The caller flushes TLBs (core_sync). Tables stay. */
void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames);

/*
 * Close a guest's table: all that is absent leads to one page of ones, its own
 * (pd->hole: the entry for each level). Once. NO_MEMORY: nothing has changed.
 * Bounded by the PD's tables, 512 entries each.
 */
uint64_t ptab_close(struct pd *pd) WARN_UNUSED;

#endif
