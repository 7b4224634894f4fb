/* Protection domains. Graph lock. */
#ifndef KERNEL_PD_H
#define KERNEL_PD_H

#include <object.h>

/* CALL_PD_CREATE; see docs/abi.md. Needs PD_CREATE to the payer, SYS_PORTS for ports, SYS_GUEST for
   a guest. The new PD has an empty table, cores that its payer may use, and a quota that is taken
   out of the payer's. */
uint64_t pd_create(struct pd *self, uint64_t who, uint64_t kind, uint64_t frames,
                   uint64_t objects_quota, uint64_t cores);

/* A PD with its tables, quota moved from `owner`. NULL: not enough. */
struct pd *pd_new(struct pd *owner, enum pd_kind kind, uint32_t flags, uint32_t frames,
                  uint32_t objects_quota);

/* The space of the kernel alone: image and pool, each page with the rights its section needs. */
extern struct pd *kernel_space;
void pd_make_kernel_space(void);

/* CALL_DESTROY on any object; see docs/abi.md. Needs RIGHT_DESTROY. Two rendezvous; when it
   returns, no core, TLB or IOMMU refers to what died, and its frames and slots are free. */
uint64_t pd_destroy(struct pd *self, uint64_t slot);

/* CALL_DISENGAGE; see docs/abi.md. Needs PD_DISENGAGE to a guest PD all of whose vCPUs own their
   cores. Each vCPU leaves its VMM before it next runs guest code; it cannot be undone. Graph lock.
 */
uint64_t pd_disengage(struct pd *self, uint64_t slot, uint64_t how);

#endif
