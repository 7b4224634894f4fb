/*
 * Kernel objects. All live in one table of equal slots and are named by index,
 * so a capability is (index, generation, rights) and freeing an object makes
 * every capability to it stale at once.
 *
 * Lock: the graph lock (core.h) guards the table, owners, quotas, MR and MP
 * lists, page tables and capability tables against writers. IPC, exits and
 * scheduling read them without a lock: a slot is freed only after core_sync()
 * has seen every core outside the kernel (pd_destroy.c).
 */
#ifndef KERNEL_OBJECT_H
#define KERNEL_OBJECT_H

#include <check.h>
#include <config.h>
#include <cpu.h>

#define WARN_UNUSED __attribute__((warn_unused_result))
/* A function beside a frequent path, which else would save registers for it (decision 44). */
#define RARE __attribute__((noinline, cold))

/* Memory that user mode may change at any time is read once, whatever the compiler would like. */
#define once(lvalue) (*(const volatile __typeof__(lvalue) *)&(lvalue))

/* A field that other cores write; core.h has the table. Each access is one load or store. It is by
   an __atomic function where its order matters. */
#define SHARED volatile

struct head {
    uint8_t type;        /* enum object_type; OBJ_NONE: free */
    uint8_t dead;        /* being destroyed: nothing may be started on it */
    uint16_t owner;      /* index of the PD that paid */
    uint16_t next, prev; /* in the owner's list; of a free slot: the next free one. 0: none */
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
    uint8_t kind, ports; /* enum pd_kind; threads may use I/O ports; a guest: it is the installed
                            system */
    uint8_t sealed;      /* a guest: memory is its own alone, its VMM a doorman (vcpu_state.h) */
    SHARED uint16_t
        sipi; /* 100h | the page at which it last asked a vCPU to start; 0: it did not yet */
    uint8_t disengaged; /* a guest without a VMM: 1 + enum after; else 0 */
    uint16_t end_port,
        end_ports;    /* ports that end it, although it left quietly: the first, how many. The
                         installed system: PM1 control, and the value that ends it there */
    uint16_t end_too; /* and one more. The installed system: whose writes vanish, too */
    uint16_t owned;   /* the first of the objects that it paid; 0: none */
    uint64_t cores;   /* a guest: where it has vCPUs, a bit each */
    uint64_t allowed; /* the cores that its ECs may be on, a bit each */
    uint32_t frames_left, objects_left;   /* quota not yet spent */
    uint32_t frames_given, objects_given; /* taken from the owner at creation */
    uint32_t tables;                      /* frames that are page tables below the top one */
    uint64_t hole[4]; /* a guest whose table is closed: what is where nothing was, by level */
    uint64_t *table;  /* level-4 table: host space or nested space */
    uint64_t table_pa;
    struct cap *caps; /* its capabilities: */
    uint64_t slots;   /* a power of two   */
};

/* General registers of a thread or a vCPU; entry.S has the offsets by offsets.c. */
struct regs {
    uint64_t rax, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags, rsp; /* a vCPU's are in its control block, as is rax */
};

/*
 * What an EC waits for. CALL_EC_CREATE sets the first state: IDLE for a handler, else NEW. Every
 * later change is by the EC's own core.
 *
 *   NEW ------ CALL_SC_CREATE ---------------------------------> READY
 *   READY ---- CALL_SM_DOWN -----------------------------------> BLOCKED
 *   BLOCKED -- CALL_SM_UP, time-out, end of semaphore or SC ---> READY
 *   READY ---- CALL_PT_CALL, exit, fault ----------------------> CALLING
 *   CALLING -- reply; of a call also: end of handler or SC ----> READY
 *   CALLING -- reply with MTD_HALT, of a vCPU -----------------> HALTED
 *   HALTED --- recall, timer, CALL_SC_CREATE ------------------> READY
 *   READY ---- exit or fault that no handler takes ------------> STOPPED
 *   CALLING -- reply with MTD_KILL; of an exit or fault
 *              also: end of its handler -----------------------> STOPPED
 *
 * A handler, whose time is its caller's:
 *
 *   IDLE ----- call or event of one of its portals ------------> READY
 *   READY ---- CALL_PT_REPLY ----------------------------------> IDLE
 *   READY, BLOCKED, CALLING -- end of the time that it has ----> IDLE
 */
enum ec_state {
    STATE_NEW,     /* a thread or vCPU that has had no scheduling context yet */
    STATE_IDLE,    /* a handler nobody is calling                   */
    STATE_READY,   /* runs when its SC is picked                    */
    STATE_CALLING, /* waits for a handler's reply                   */
    STATE_BLOCKED, /* in a semaphore's queue                        */
    STATE_HALTED,  /* a vCPU that waits for a recall                */
    STATE_STOPPED, /* never runs again                              */
};
/* What a vCPU must do before it runs guest code, the lowest bit first. */
enum hazard {
    HAZARD_START = 1,  /* ask its VMM for its first state */
    HAZARD_RECALL = 2, /* call its VMM                    */
    HAZARD_LEAVE = 4,  /* go on without a VMM             */
    HAZARD_NMI = 8,    /* take an NMI of a sibling's      */
    HAZARD_END = 16,   /* nothing, for good: its guest has ended */
    HAZARD_INIT = 32,  /* of the installed system: wait for a start-up IPI (ec.sipi) */
};
#define HAZARDS_WAKE                                                                               \
    (HAZARD_START | HAZARD_RECALL | HAZARD_INIT) /* a halted vCPU runs again for these */

/* How entry.S goes back to an EC: in this order, with which one compare finds the frequent two. */
enum way {
    WAY_VMX,    /* a vCPU: by vmx_enter       */
    WAY_IRET,   /* with all its registers     */
    WAY_SYSRET, /* behind its system call     */
    WAY_SVM,    /* a vCPU: by svm_enter       */
};

/*
 * Whose the core of a vCPU is. A mode is never left but for the next one:
 *
 *   CORE_SHARED ------ CALL_SC_CREATE, SC_WHOLE_CORE -----> CORE_GIVEN
 *   CORE_GIVEN ------- its first entry: HAZARD_START -----> CORE_OWNED
 *   CORE_OWNED ------- CALL_DISENGAGE: HAZARD_LEAVE ------> CORE_DISENGAGED
 *
 * and ends with the vCPU, whose core is an ordinary one again (core.c, reclaim).
 */
enum core_mode {
    CORE_SHARED,     /* others run there, too; interrupts are the kernel's            */
    CORE_GIVEN,      /* nobody else runs there                                        */
    CORE_OWNED,      /* interrupts and the local APIC are the guest's                 */
    CORE_DISENGAGED, /* and there is no VMM: the kernel answers or ends what exits    */
};
enum call_kind { BY_CALL, BY_EVENT }; /* why an EC is STATE_CALLING */

struct ec {
    struct head head;
    struct regs regs;
    uint64_t vmcb_pa;      /* its control block's frame: for VMRUN, VMPTRLD     */
    SHARED uint8_t hazard; /* set by any core, taken by its own           */
    SHARED uint8_t woken, inboxed;
    uint8_t kind, core, way, state, call;
    uint16_t events;
    SHARED uint8_t core_mode; /* graph lock to begin, then its own core */
    uint8_t event;            /* enum event: what its handler was last called for */
    uint8_t waits;        /* of a sealed guest: for a start-up IPI; it runs no instruction before */
    uint8_t nmi_kept;     /* an NMI came while its guest was in an NMI's handler: one more after
                             that's IRET */
    SHARED uint16_t sipi; /* of the installed system: 100h | where a start-up IPI has it begin */
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
    struct ec *home, *ec; /* the EC it was made for; the end of the donation chain */
    uint64_t budget, period, remaining, replenish; /* TSC ticks */
    uint64_t *time, spent; /* where its running time is counted: a vCPU's in the counters' page */
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
    SHARED uint32_t lock; /* guards count and queue; any core; never held over a wait */
    uint64_t count;
    struct ec *first, *last;
};

struct mr {
    struct head head;
    uint64_t first, frames; /* host frames [first, first + frames) */
    uint32_t kind;          /* enum range_kind                     */
    uint16_t sealed;        /* index of the guest PD that alone may have it; 0: none */
    uint64_t dirty; /* the first frames of so many are to be cleaned before anybody maps them */
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
        uint8_t size[320]; /* of a slot: the largest object, an EC, up to whole cache lines */
    };
} __attribute__((aligned(64)));

extern struct object objects[OBJECTS];
/* No slot from here on was ever used. Graph lock to write; the cores that it has purge read it. */
extern uint32_t objects_end;
_Static_assert(sizeof *objects == sizeof objects->size, "object_new() zeroes just size[]");
extern struct kernel_stat counters; /* page aligned: root reads it */
/* What goes in the CALL_DESTROY under way, by index. Graph lock to write; the cores that it has
 * purge read it. */
extern uint16_t dead[OBJECTS];
extern uint32_t dead_count;

static inline uint16_t object_index(const void *o)
{
    return (uint16_t)((const struct object *)o - objects);
}

/* A new object paid by `payer`; NULL when its quota or the table is used up. Graph lock. */
void *object_new(enum object_type type, struct pd *payer);
/* Give the slot back to its owner; every capability to it is stale from now on. Graph lock. */
void object_free(void *object);

#endif
