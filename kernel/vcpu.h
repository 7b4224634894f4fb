/* A vCPU, as threads, calls and the scheduler know it. What its processor does is behind virt.h. */
#ifndef KERNEL_VCPU_H
#define KERNEL_VCPU_H

#include <object.h>

#define CPUID_LEAVES 32u
#define VMX_MSRS     5u

/* Why the kernel has the guest run one instruction and come back. */
enum step { STEP_NONE, STEP_NMI /* the IRET of an NMI's handler */, STEP_CR8 /* a write to CR8 */ };

/* Beside the control block: what the world switch does not switch. One frame. */
struct vcpu {
    uint8_t xsave[1024]
        __attribute__((aligned(64))); /* x87, SSE, AVX: APM1 11.5, 0x340 bytes used */
    uint64_t xcr0, dr[4];
    union {
        struct vmcb *vmcb;
        void *vmcs;
    };
    struct cpuid_row *cpuid; /* one frame; the rows of a leaf follow each other */
    uint32_t cpuid_rows;
    uint8_t cpuid_first[4][CPUID_LEAVES];
    uint8_t step, traced; /* AMD: enum step; the guest itself has set RFLAGS.TF */
    /* Intel */
    uint8_t cr8, offered;      /* the vector on offer, 0: none                        */
    uint64_t inject, dr6, cr2; /* inject: what the next entry delivers, as exit_state's */
    uint64_t msr[VMX_MSRS];    /* what the processor does not switch: vmx_msr.c       */
    struct vcpu_stat *counters;
};

/* Turn virtualization on for this core. */
void vcpu_core_init(struct core *c);
/* Save what the core holds of a vCPU beside the control block; the next entry of any vCPU flushes
 * the guest TLB. Own core. */
void vcpu_unload(struct core *c);
/* All that XCR0 may hold. */
extern uint64_t vcpu_states;
/* Have the core hold `ec`'s. Own core. */
void vcpu_load_core(struct core *c, struct ec *ec);

/* A vCPU that will ask its EVENT_START portal for its state; *index: its counters. NULL: no memory.
 * Graph lock. */
struct ec *vcpu_new(struct pd *pd, uint8_t core, uint64_t *index);
void vcpu_release(struct ec *ec);

/* CALL_VCPU_CPUID: takes the rows from the caller's UTCB. Graph lock. */
uint64_t vcpu_set_cpuid(struct ec *self, uint64_t slot);

/* Was its last event an instruction that can be done for it? Own core. */
static inline bool vcpu_is_instruction(const struct ec *ec)
{
    return (ec->event >= EVENT_PORT && ec->event <= EVENT_VMCALL) || ec->event == EVENT_XSETBV;
}
/* Recall it at TSC `deadline`; 0: never. Own core. */
void vcpu_set_deadline(struct ec *ec, uint64_t deadline);

/* Make a vCPU of this core take EVENT_RECALL before it runs guest code again. */
void vcpu_recall_local(struct ec *ec);

/* What `ec` needs before it can enter its guest. The world switch calls it before an entry if there
 * is a hazard, or another vCPU's state is in the core; never after an exit. Own core. */
void vcpu_prepare(struct ec *ec);

#endif
