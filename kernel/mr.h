/* Memory regions: runs of host frames, and where they are mapped. Graph lock. */
#ifndef KERNEL_MR_H
#define KERNEL_MR_H

#include <object.h>

/* The calls; see docs/abi.md. */
uint64_t mr_split(struct pd *self, uint64_t who, uint64_t frame);
uint64_t mr_map(struct pd *self, uint64_t who, uint64_t va, uint64_t first, uint64_t frames);
uint64_t mr_unmap(struct pd *self, uint64_t who);
uint64_t mr_seal(struct pd *self, uint64_t who);
uint64_t mr_scrub(struct pd *self, uint64_t slot);

/* `pd` goes: what was sealed for it is to be cleaned. */
void mr_unseal(const struct pd *pd);

/* A region out of nothing: for the kernel's own start. NULL: no memory. */
struct mr *mr_new(struct pd *payer, uint64_t first, uint64_t frames, uint32_t kind);

/* Take `mp` out of its region's list. */
void mr_unlink(struct mp *mp);
/* Undo all living mappings of `mr` in `pd`, or everywhere with NULL, but not in `keep`. The flush mask of the core_sync()
   that is due; 0: none. Graph lock. */
uint32_t mr_unmap_all(struct mr *mr, const struct pd *pd, const struct pd *keep);

#endif
