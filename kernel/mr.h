/* Memory regions: runs of host frames, and where they are mapped. Graph lock. */
#ifndef KERNEL_MR_H
#define KERNEL_MR_H

#include <object.h>

/*
 * The calls; see docs/abi.md. Each checks everything before it changes anything.
 */
/* Needs MR_SPLIT. Cuts a region that is mapped nowhere, neither sealed nor dirty. The new region's
   capability has the rights of the old one's; no frame is in both. */
uint64_t mr_split(struct pd *self, uint64_t who, uint64_t frame);
/* Needs PD_MAP, and of the region each right in `perm`. Writes only leaves that were empty, of
   frames of the region; the PD pays the mapping and the page tables. */
uint64_t mr_map(struct pd *self, uint64_t who, uint64_t va, uint64_t first, uint64_t frames);
/* Needs MR_UNMAP, and PD_MAP to the PD if one is named. TLB shootdown: when it returns, no TLB and
   no IOMMU has a translation of what it unmapped. */
uint64_t mr_unmap(struct pd *self, uint64_t who);
/* Needs MR_SEAL, and PD_MAP to a guest PD. Undoes every other mapping of the region, with the TLB
   shootdown. Until that PD ends, no call maps, unmaps, splits or ends the region, and the PD gets
   no vCPU and no device. */
uint64_t mr_seal(struct pd *self, uint64_t who);
/* Needs MR_SEAL. Zeroes the next frames of a region whose guest is dead; nobody can map it before
 * all are zero. */
uint64_t mr_scrub(struct pd *self, uint64_t slot);

/* `pd` ends: the regions that were sealed to it become dirty, and mr_scrub() has to clean them. */
void mr_unseal(const struct pd *pd);

/* A region of those frames: only for the kernel's start and for mr_split(), since it checks
 * nothing. NULL: no memory. */
struct mr *mr_new(struct pd *payer, uint64_t first, uint64_t frames, uint32_t kind);

/* Take `mp` out of its region's list. */
void mr_unlink(struct mp *mp);
/* Undo all living mappings of `mr` in `pd` (NULL: everywhere), but not in `keep`. First half of a
   TLB shootdown: the caller passes the result to core_sync() as `flush` before it frees anything.
 */
uint64_t mr_unmap_all(struct mr *mr, const struct pd *pd, const struct pd *keep);

#endif
