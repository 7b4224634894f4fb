/*
 * The one interface to the virtualization hardware. svm.c is AMD's side of it;
 * Intel's will be a second file with the same functions.
 */
#ifndef KERNEL_VCPU_H
#define KERNEL_VCPU_H

#include <object.h>

#define CPUID_LEAVES 32u

/* Beside the VMCB: what VMRUN does not switch. One frame. */
struct vcpu {
    uint8_t xsave[1024] __attribute__((aligned(64))); /* x87, SSE, AVX: APM1 11.5, 0x340 bytes used */
    uint64_t xcr0, dr[4];
    struct vmcb *vmcb;
    struct cpuid_row *cpuid; /* one frame; the rows of a leaf follow each other */
    uint32_t cpuid_rows;
    uint8_t cpuid_first[4][CPUID_LEAVES];
    struct vcpu_stat *stat;
};

/* Turn virtualization on for this core. */
void vcpu_core_init(struct core *c);
/* Save what the core holds of a vCPU beside the VMCB; the next entry of any vCPU flushes the guest TLB. Own core. */
void vcpu_unload(struct core *c);
/* Maps that all guests share; once, on the boot core. */
void vcpu_init(void);

/* A vCPU that will ask its EVENT_START portal for its state; *index: its counters. NULL: no memory. Graph lock. */
struct ec *vcpu_new(struct pd *pd, uint8_t core, uint64_t *index);
void vcpu_release(struct ec *ec);

/* CALL_VCPU_CPUID: takes the rows from the caller's UTCB. Graph lock. */
uint64_t vcpu_set_cpuid(struct ec *self, uint64_t slot);

/* `ec` is to have its core for itself: its guest takes the core's interrupts and uses its local APIC. Before it first runs. */
void vcpu_own(struct ec *ec);

/* Make a vCPU of this core take EVENT_RECALL before it runs guest code again. */
void vcpu_recall_local(struct ec *ec);

/* entry.S: after #VMEXIT; and before VMRUN when there is a hazard or another vCPU's state in the core. */
void vcpu_exit(struct ec *ec);
void vcpu_prepare(struct ec *ec);

/* Copy the groups of `mtd` out of and into the vCPU. The latter says what of `mtd` is still to be done. */
void vcpu_store(const struct ec *ec, struct exit_state *x, uint64_t mtd);
uint64_t vcpu_load(struct ec *ec, const struct exit_state *x, uint64_t mtd);

#endif
