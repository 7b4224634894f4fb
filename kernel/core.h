/*
 * A core: what it runs, what waits on it, its descriptor tables. Everything in
 * struct core is touched by its own core alone, except where said.
 */
#ifndef KERNEL_CORE_H
#define KERNEL_CORE_H

#include <object.h>

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct tss { /* APM2 12.2.5 */
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));

enum { IST_NMI = 1, IST_FATAL = 2 };

struct core {
    /* entry.S knows these offsets */
    struct core *self;     /* 0                                          */
    struct ec *current;    /* 8: NULL while idle                         */
    uint64_t stack_top;    /* 16                                         */
    uint64_t scratch;      /* 24                                         */
    struct ec *loaded;     /* 32: the vCPU whose FPU, XCR0 and debug registers are in the core */
    uint64_t host_vmcb_pa; /* 40: the kernel's own FS..SYSENTER state, for VMLOAD */
    uint8_t attention;     /* 48: call core_attention() before going back to user or guest */
    uint8_t doorbell;      /* 49: the same: another core wants this one; it is set before its NMI is sent */
    uint8_t outside;       /* 50: in user or guest mode, or idle: it holds no pointer to any object (core_sync) */

    uint8_t number;
    volatile uint8_t reclaim; /* its owner is dead and out of all queues */
    uint32_t apic_id;
    uint64_t cr3;                 /* the host space in use                      */
    struct ec *volatile owner;    /* the vCPU whose core this is; its guest has the local APIC. Graph lock to set */
    uint64_t armed;               /* TSC the local timer is set to; 0: not      */
    uint64_t since;               /* TSC up to which time is accounted          */
    struct sc *sc;                /* whose time it is; NULL while idle          */
    struct sc *ready[PRIORITIES]; /* circular lists; head runs next        */
    uint32_t ready_mask;
    struct timer *timers;                     /* sorted by deadline                         */
    struct ec *volatile inbox;                /* any core pushes, this one takes all      */
    volatile uint32_t sync_wanted, sync_done; /* core_sync(): wanted by the holder of the graph lock */

    uint64_t gdt[8];
    struct tss tss;
    uint64_t fatal_stack[128];
    uint64_t nmi_stack[32] __attribute__((aligned(16)));
};

extern struct core cores[MAX_CORES];
extern volatile uint32_t core_count; /* cores online; graph lock to change */

/* The graph lock: one for all calls that change the object graph. Waiting for
   it serves core_sync(), so the holder may wait for every other core. */
void graph_lock(void);
void graph_unlock(void);

#define SYNC_HOST (1u << 31) /* a flush mask that names no core, but the IOMMUs */

/* After it no core holds a pointer that it read before: each that was in the kernel has left it or has waited for the
   graph lock. Only the cores that a mask names are interrupted: they take their inbox, leave every user space, and
   `purge`: drop what is dead from their queues; `flush`: drop guests' translations. With SYNC_HOST the IOMMUs drop
   all of theirs, too. A core that does not answer ends the machine with a word: its TLB may still hold what is to be
   freed. Graph lock. */
void core_sync(uint32_t purge, uint32_t flush);
/* The cores that may hold translations of `pd`'s table, a bit each: a guest's vCPUs are there, or a host space is in
   use. After the table was changed: who loads it from now on sees the change. Graph lock. */
uint32_t core_users(const struct pd *pd);
void core_sync_poll(void);

/* Set up this core's descriptor tables, control registers, APIC and SVM. */
void core_init(struct core *c, uint32_t number, const struct pd *space);

/* CALL_CORE_START; see docs/abi.md. Graph lock. */
uint64_t core_start(struct pd *self, uint64_t sys, uint64_t apic_id);

/* Has anything time on core `number`? Graph lock. */
bool core_busy(uint8_t number);
/* The vCPU `ec` gets its core, on which nothing has time. Graph lock. */
void core_give(struct ec *ec);
/* Back to the kernel's own space, without a translation of another. Own core. */
void core_leave_space(struct core *c);
/* Are this core's interrupts a guest's, or were they one's until now? Any core. */
static inline bool core_owned(const struct core *c) { return c->owner || c->reclaim; }
/* What entry.S does on each way in, for an interrupt of an idle core. Own core. */
static inline void core_come_in(void) { __atomic_exchange_n(&cpu_core()->outside, 0, __ATOMIC_SEQ_CST); }

/* Have `ec`'s core look at it: wake it, or take its hazards. Any core. */
void core_post(struct ec *ec);
/* Take everything from the inbox. Own core. */
void core_take_inbox(void);

/* entry.S calls this when `attention` is set, with interrupts off. Sets `current`. */
void core_attention(void);

/* A last word on the serial line, then the machine is reset: no VM may go on beside a kernel that does not. */
void kernel_panic(const char *what, uint64_t vector, uint64_t rip) __attribute__((noreturn));

#endif
