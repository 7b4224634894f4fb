/* IOMMU units and device functions behind them. Graph lock. */
#ifndef KERNEL_DV_H
#define KERNEL_DV_H

#include <object.h>

/* The calls; see docs/abi.md. The value goes to *value. */
uint64_t iommu_start(struct pd *self, uint64_t who, uint64_t kind, uint64_t buses, uint64_t *value);
uint64_t iommu_fault(struct pd *self, uint64_t sys, uint64_t unit, uint64_t *value);
uint64_t dv_create(struct pd *self, uint64_t who, uint64_t function);
uint64_t dv_irq(struct pd *self, uint64_t who, uint64_t interrupt, uint64_t *value);

/* No translation, table entry or interrupt of before is used by any unit any more, and no access with one is under way. */
void iommu_flush(void);

/* Block the function's DMA and interrupts for good. What core_sync() is to flush. */
uint32_t dv_detach(struct dv *dv);
/* Block all interrupts to a vCPU whose time ends, and with it its hold on a core. What core_sync() is to flush; 0: there were none. */
uint32_t dv_forget(const struct ec *vcpu);

#endif
