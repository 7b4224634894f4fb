/*
 * One vCPU as its VMM sees it: the local APIC (x2APIC mode only, SDM3 10.12)
 * and why it is not running. Entries of the exit portals.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <vmm/vmm.h>
#include <lib/state.h>

#define NO_RIP (~0ull) /* not canonical */

enum request { REQUEST_INIT = 1, REQUEST_SIPI = 2, REQUEST_NMI = 4 };
enum idle {
    RUNNING,
    IDLE_HLT,  /* until an interrupt can be delivered            */
    IDLE_DEAF, /* HLT with interrupts disabled: until NMI or INIT */
    IDLE_SIPI, /* after INIT: until a start-up IPI               */
};

struct vcpu {
    /* Posted by anybody, atomically; see apic_post and apic_request. */
    uint64_t irr[4];  /* vectors waiting, 64 a word */
    uint32_t request; /* enum request */
    uint32_t sipi;    /* vector of the last start-up IPI */
    /* Its own handler's. */
    uint32_t id;
    uint32_t offer;  /* vector that hardware was told to deliver, 0: none; not in `irr` meanwhile */
    uint64_t isr[4]; /* vectors in service */
    uint32_t reg[64]; /* the APIC's plain registers, by MSR - 800h */
    uint64_t icr;
    volatile uint32_t *eoi_word; /* in guest RAM: 1 = clear it instead of writing EOI (paravirtual);
                                    NULL: not asked for */
    bool eoi_lent;               /* it was set to 1 for the offer */
    uint64_t deadline;           /* of the timer, absolute TSC; 0: not armed */
    uint64_t period;             /* TSC ticks; 0: one-shot or TSC-deadline mode */
    uint64_t count_start; /* dedicated: TSC at which the timer's count was reg[initial count] */
    enum idle idle;
    bool nmi_kept; /* one that came while NMIs were blocked, or something else was to be delivered
                      (APM2 8.1.4) */
    bool nmi_blocked;    /* from one that was injected to its handler's IRET */
    uint64_t nmi_end;    /* RIP of that IRET */
    uint64_t kvmclock;   /* the MSR as written */
    uint64_t tsc_offset; /* what the guest's TSC is ahead of ours: so it reads in TSC_ADJUST */
    uint64_t pat;        /* kept, not used: all that the guest can map is RAM */
};

extern struct vcpu vcpus[PLAN_VCPUS];

static inline uint32_t apic_id(uint32_t vcpu)
{
    return dedicated() ? config()->apic_id[vcpu] : vcpu;
}

/* ---- entries of the portals: one for each event; they end with the reply -------
   A portal's ID is the address of its vCPU. */
void vcpu_start(struct vcpu *v, struct utcb *u);
void vcpu_recall(struct vcpu *v, struct utcb *u);
void vcpu_port(struct vcpu *v, struct utcb *u);
void vcpu_msr(struct vcpu *v, struct utcb *u);
void vcpu_hlt(struct vcpu *v, struct utcb *u);
void vcpu_vmcall(struct vcpu *v, struct utcb *u);
void vcpu_memory(struct vcpu *v, struct utcb *u);
void vcpu_shutdown(struct vcpu *v, struct utcb *u);
void vcpu_invalid(struct vcpu *v, struct utcb *u);
void vcpu_opcode(struct vcpu *v, struct utcb *u);
void vcpu_xsetbv(struct vcpu *v, struct utcb *u);
void vcpu_exception(struct vcpu *v, struct utcb *u);

/* ---- apic.c ----------------------------------------------------------------------- */
void apic_init(void);            /* before the first vCPU runs */
void apic_reset(struct vcpu *v); /* as after INIT (SDM3 10.12.5.1) */
void apic_enter(
    struct vcpu *v,
    const struct exit_state *s); /* first in an exit, if there was an offer: was it taken? */
void apic_leave(struct vcpu *v, struct utcb *u); /* last in an exit: offer the best vector */
void apic_tick(struct vcpu *v, struct utcb *u);  /* has the timer expired? tell the next deadline */
/* The guest may have written its task priority by CR8, which `s` has (MTD_CR8). */
void apic_see_cr8(struct vcpu *v, const struct exit_state *s);
/* Register `reg` = MSR - 800h, 0..3Fh; false: #GP (SDM3 table 10-6). `s` has cr8. */
bool apic_read(struct vcpu *v, const struct exit_state *s, uint32_t reg, uint64_t *value);
bool apic_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value);
/* MSR 4b564d04: GPA of the word | 1, or 0. False: #GP. */
bool apic_eoi_word(struct vcpu *v, uint64_t value);
/* The deadline is in the guest's TSC. */
uint64_t apic_deadline_read(const struct vcpu *v);
void apic_deadline_write(struct vcpu *v, struct utcb *u, uint64_t value);
bool apic_icr(struct vcpu *v, uint64_t icr); /* a write to the interrupt command register */
/* The vCPUs that the destination field of an IPI or message names, a bit each. */
uint64_t apic_targets(uint32_t field, bool logical);
#define APIC_EVERYBODY 0xffffffffu
#define APIC_BASE      0xfee00c00ull /* enabled, x2APIC (SDM3 10.12.1) */

/* From any thread: let `vector` (16..255) wait in the target's IRR; wake it unless it is `self`. */
void apic_post(uint32_t target, uint32_t vector, uint32_t self);
void apic_request(uint32_t target, enum request what);

/* ---- apic_real.c: a dedicated vCPU has its core's local APIC; the few accesses that exit, false:
 * #GP ---------- */
bool apic_real_read(const struct vcpu *v, uint32_t reg, uint64_t *value);
bool apic_real_write(struct vcpu *v, struct utcb *u, uint32_t reg, uint64_t value);

/* ---- msr.c: false: #GP -------------------------------------------------------------- */
bool msr_read(struct vcpu *v, struct utcb *u, uint32_t msr, uint64_t *value);
bool msr_write(struct vcpu *v, struct utcb *u, uint32_t msr, uint64_t value);
void msr_init(void);
extern bool msr_kept_x2apic; /* the guest was refused to leave x2APIC mode */

/* ---- cpuid.c ----------------------------------------------------------------------------- */
bool cpuid_intel(void); /* else it is AMD's, or has what AMD's have */
uint32_t cpuid_table(struct cpuid_row *row,
                     uint32_t vcpu); /* returns the rows filled, 1..CPUID_ROWS */

#endif
