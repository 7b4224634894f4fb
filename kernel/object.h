/*
 * Kernel objects. All live in one table of equal slots and are named by index,
 * so a capability is (index, generation, rights) and freeing an object makes
 * every capability to it stale at once.
 *
 * Lock: the graph lock (core.h) guards the table, owners, quotas, MR and MP
 * lists, page tables and capability tables against writers. IPC, exits and
 * scheduling read them without a lock: a slot is freed only after core_sync()
 * has seen every core outside the kernel (destroy.c).
 */
#ifndef KERNEL_OBJECT_H
#define KERNEL_OBJECT_H

#include <config.h>
#include <cpu.h>

#define WARN_UNUSED __attribute__((warn_unused_result))

/* Memory that user mode may change at any time is read once, whatever the compiler would like. */
#define once(lvalue) (*(const volatile __typeof__(lvalue) *)&(lvalue))

struct head {
    uint8_t type;   /* enum object_type; OBJ_NONE: free */
    uint8_t dead;   /* being destroyed: nothing may be started on it */
    uint16_t owner; /* index of the PD that paid */
    uint32_t unused;
    uint64_t gen;
};

struct cap {
    uint64_t gen : 40, rights : 8, index : 16; /* gen 0: empty */
};

/* A place in a core's list of things that wait for a time. */
struct timer {
    uint64_t deadline; /* TSC; 0: not in the list */
    struct timer *next;
};

struct pd {
    struct head head;
    uint8_t kind, ports;                  /* enum pd_kind; threads may use I/O ports */
    uint8_t sealed;                       /* a guest: memory is its own alone, and its VMM a doorman (svm_state.c) */
    uint16_t sipi;                        /* 100h | the page at which it last asked a vCPU to start; 0: it did not yet */
    uint8_t left;                         /* a guest: 1 + enum after since it disengaged, else 0 */
    uint16_t end_port, end_ports;         /* ports that end it, although it left quietly: the first, how many */
    uint16_t end_too;                     /* and one more */
    uint32_t cores;                       /* a guest: where it has vCPUs, a bit each */
    uint32_t allowed;                     /* the cores that its ECs may be on, a bit each */
    uint32_t frames_left, objects_left;   /* quota not yet spent */
    uint32_t frames_given, objects_given; /* taken from the owner at creation */
    uint32_t tables;                      /* frames that are page tables below the top one */
    uint64_t hole[4];                     /* a guest whose table is closed: what is where nothing was, by level */
    uint64_t *table;                      /* level-4 table: host space or nested space */
    uint64_t table_pa;
    struct cap *caps; /* CAP_SLOTS of them, one frame */
};

/* General registers of a thread or a vCPU; entry.S knows the offsets. */
struct regs {
    uint64_t rax, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags, rsp; /* a vCPU's are in its VMCB, as is rax */
};

enum ec_state {
    STATE_NEW,     /* a thread or vCPU without a scheduling context */
    STATE_IDLE,    /* a handler nobody is calling                   */
    STATE_READY,   /* runs when its SC is picked                    */
    STATE_CALLING, /* waits for a handler's reply                   */
    STATE_BLOCKED, /* in a semaphore's queue                        */
    STATE_HALTED,  /* a vCPU that waits for a recall                */
    STATE_STOPPED, /* never runs again                              */
};
enum hazard { /* what a vCPU must do before it runs guest code */
              HAZARD_START = 1,
              HAZARD_RECALL = 2,
              HAZARD_LEAVE = 4,
              HAZARD_NMI = 8,
              HAZARD_END = 16, /* for good: its guest has ended */
};
#define HAZARDS_WAKE (HAZARD_START | HAZARD_RECALL)    /* a halted vCPU runs again for these */
enum way { WAY_SYSRET, WAY_IRET, WAY_GUEST };          /* how entry.S goes back to an EC: IRET restores all registers */
enum own { OWN_NONE, OWN_GIVEN, OWN_READY, OWN_LEFT }; /* a vCPU's core: shared; its own; and its APIC, too; and it has no VMM */
enum call_kind { BY_CALL, BY_EVENT };                  /* why an EC is STATE_CALLING */

struct ec {
    struct head head;
    struct regs regs;
    uint64_t vmcb_pa;        /* entry.S: where VMRUN goes                     */
    volatile uint8_t hazard; /* set by any core, taken by its own           */
    uint8_t kind, core, way, state, call, woken;
    volatile uint8_t inboxed;
    uint16_t events;
    volatile uint8_t own; /* enum own; graph lock to begin, then its own core */
    uint8_t event;        /* enum event: what its handler was last called for */
    uint8_t waits;        /* of a sealed guest: for a start-up IPI; it runs no instruction before */
    uint8_t unused[3];
    struct vcpu *vcpu;
    struct utcb *utcb;
    uint64_t utcb_va, sp; /* a handler's stack pointer at each entry       */
    struct pd *pd;
    struct sc *sc;                /* the time it runs on, its own or donated       */
    struct ec *caller;            /* a handler's                                   */
    struct ec *next, *inbox_next; /* in the semaphore's queue; in the core's inbox */
    struct sm *sm;                /* whose queue it is in                          */
    struct timer timer;
    struct pt *portals; /* a handler's                                   */
    uint64_t fault[3];  /* a thread's last: vector, error code, CR2      */
};

struct sc {
    struct head head;
    uint8_t core, priority, queued;
    struct ec *home, *ec;                     /* the EC it was made for; the end of the donation chain */
    uint64_t budget, period, left, replenish; /* TSC ticks */
    uint64_t *time, spent;                    /* where its running time is counted: a vCPU's in the counters' page */
    struct sc *next, *prev;
    struct timer timer;
};

struct pt {
    struct head head;
    struct ec *ec;
    struct pt *next; /* of the same handler */
    uint64_t entry, id;
    uint32_t mtd;
};

struct sm {
    struct head head;
    volatile uint32_t lock; /* guards count and queue; any core; never held over a wait */
    uint64_t count;
    struct ec *first, *last;
};

struct mr {
    struct head head;
    uint64_t first, frames; /* host frames [first, first + frames) */
    uint32_t kind;          /* enum range_kind                     */
    uint16_t sealed;        /* index of the guest PD that alone may have it; 0: none */
    uint64_t dirty;         /* the first frames of so many are to be cleaned before anybody maps them */
    struct mp *maps;
};

/* One mapping of a region: owned and paid by the PD it is in. */
struct mp {
    struct head head;
    struct mr *mr;
    struct mp *next; /* of the same region */
    uint64_t va, frames;
};

/* A function behind an IOMMU: owned and paid by the guest PD whose table its DMA goes through. */
struct dv {
    struct head head;
    uint16_t rid; /* PCI requester ID: bus << 8 | device << 3 | function */
    uint8_t unit, slot;
    struct ec *vcpu[DV_IRQS]; /* whose core each interrupt goes to; NULL: nowhere */
};

struct object {
    union {
        struct head head;
        struct pd pd;
        struct ec ec;
        struct sc sc;
        struct pt pt;
        struct sm sm;
        struct mr mr;
        struct mp mp;
        struct dv dv;
        uint8_t size[384];
    };
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct object) == 384, "an object slot is 384 bytes");

extern struct object objects[OBJECTS];
extern struct kernel_stat stat; /* page aligned: root reads it */
/* What goes in the CALL_DESTROY under way, by index. Graph lock to write; the cores that it has purge read it. */
extern uint16_t dead[OBJECTS];
extern uint32_t dead_count;

static inline uint16_t object_index(const void *o) { return (uint16_t)((const struct object *)o - objects); }

/* A new object paid by `payer`; NULL when its quota or the table is used up. Graph lock. */
void *object_new(enum object_type type, struct pd *payer);
/* Give the slot back to its owner; every capability to it is stale from now on. Graph lock. */
void object_free(void *object);

#endif
