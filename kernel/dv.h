/* Device functions behind IOMMUs. Graph lock. */
#ifndef KERNEL_DV_H
#define KERNEL_DV_H

#include <object.h>

/*
 * The calls; see docs/abi.md. The value goes to *value. Each checks everything before it changes
 * anything.
 */
/* Needs SYS_DEVICE, and PD_CREATE to a guest PD without sealed memory. The function's DMA reaches
   what the guest's own nested table maps, with the same rights, and nothing else. Its interrupts
   stay blocked. */
uint64_t dv_create(struct pd *self, uint64_t who, uint64_t function);
/* Needs DV_IRQ, and EC_RECALL to a vCPU of the same PD that owns its core. One interrupt of the
   function reaches that core, by a vector from 32 up. */
uint64_t dv_irq(struct pd *self, uint64_t who, uint64_t interrupt, uint64_t *value);

/* Block the function's DMA and interrupts for good, from the next core_sync() on. */
void dv_detach(struct dv *dv);
/* Block all interrupts to a vCPU whose time ends, and with it its hold on a core; from the next
 * core_sync() on. */
void dv_forget(const struct ec *vcpu);

#endif
