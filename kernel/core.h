/*
 * A core: what it runs, what waits on it, its descriptor tables. Everything in
 * struct core is touched by its own core alone, except where said.
 */
#ifndef KERNEL_CORE_H
#define KERNEL_CORE_H

#include <object.h>
#include <panic.h>

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct tss { /* APM2 12.2.5 */
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));

enum { IST_NMI = 1, IST_FATAL = 2, TRAP_STUB = 16 /* bytes of each of entry.S's trap_stubs */ };

/*
 * What more than one core touches while none of them holds a lock for it. All other fields of an
 * EC, an SC or a core are for its own core alone; those of an object that others can find do not
 * change while it lives (pd_destroy.c). Of each: who writes it; who reads it; in which order.
 *
 * Accessors. A field that other cores write at any time is SHARED: each access is one load or
 * store. One that only its own core writes is plain there, and other cores read it by once(). Where
 * an order is named here, both sides use an __atomic function. scripts/check-docs holds the fields
 * that are SHARED against these rows.
 *
 * SHARED:
 *   core.doorbell: by who rings; by its core, entry.S, svm_switch.S and vmx_switch.S.
 *       SEQ_CST, before the NMI. Cleared before the core looks: what comes later rings again, so
 *       no wake-up is lost.
 *   core.sync_wanted: by the holder of the graph lock; by its core.
 *       RELEASE and ACQUIRE: after what is to be let go, and after sync_purge, sync_flush, dead[]
 *       and dead_count, which that core reads then.
 *   core.sync_done: by its core; by that holder.
 *       RELEASE and ACQUIRE: after it was let go.
 *   core.inbox: by any core, which pushes; by its core, which takes all.
 *       RELEASE and ACQUIRE: with the EC's fields.
 *   core.owner, core.reclaim: by the holder of the graph lock, then its core; by ring, icr_write.
 *       Without order. core_give waits for all cores after it, so that nobody rings with an
 *       interrupt any more.
 *   ec.inboxed: by any core; by its core.
 *       Exchange: of many posts one goes to the inbox.
 *   ec.woken: by who wakes it; by its core.
 *       Before the post, taken by an exchange.
 *   ec.hazard: by any core, by bits; by its core.
 *       ACQ_REL on both sides, before the post or the NMI. HAZARD_LEAVE: after pd.disengaged,
 *       end_port, end_ports and end_too.
 *   ec.sipi: by a sibling's core in the installed system; by its core.
 *       Written before HAZARD_INIT and the post; it is read while that is set, and once more
 *       after its core has cleared that.
 *   ec.core_mode: by the holder of the graph lock until it has run, then by its core; by icr_write.
 *       RELEASE: CORE_OWNED once the local APIC is the guest's.
 *   pd.sipi: by the core of an AP's sibling; by the AP's core.
 *       Without order: written before the VMM is asked for the recall that makes the AP look.
 *   sm.lock: by any core.
 *       ACQUIRE and RELEASE. It guards the semaphore's other fields, and ec.next of who waits.
 *
 * Written by its own core alone:
 *   core.outside: by its core (entry.inc); by core_sync.
 *       Cleared by a locked instruction before the core reads any object; set by its last store
 *       on the way out.
 *   core.cr3: by its core; by core_users.
 *       After a full fence: the table was changed before, and who loads it later sees the
 *       change.
 *   ec.state, ec.waits, ec.nmi_kept: by its core; by icr_write.
 *       Without order: an old value is one NMI more or less, as if it had come at another moment.
 *   ec.state: also by pd_destroy, sc_create and vcpu_set_cpuid, under the graph lock.
 *       STATE_NEW is left by an SC only, which the lock's holder makes; STATE_IDLE by a call, which
 *       nobody can make of what is dead, after the first rendezvous.
 *
 * Written by who holds a lock, and then handed over:
 *   ec.sm: by whoever has the queue; by sm_leave.
 *       RELEASE and ACQUIRE, then once more under sm.lock.
 *   ec.regs.rax: of who waits, by who takes it from the queue.
 *       Before the post.
 *   ec.regs.rflags: by core_give, while nothing has time on its core.
 *   pd.cores: by vcpu_new; by icr_write.
 *       Without order: the vCPU that is being made runs nothing yet.
 *   pd.sealed: by mr_seal; by the guest's cores.
 *       Without order: each exit reads it anew.
 *   head.type, head.gen: by the holder of the graph lock; by cap_find.
 *       The type is written last, RELEASE, and read first, ACQUIRE (cap.h).
 *   head.dead: by the holder of the graph lock; by cap_find, sm.c.
 *       The rendezvous after it is the fence.
 *
 * And no field: the graph lock (core.c); a struct cap, by one store and one load of 8 bytes;
 * counters, by the core that they count, RELEASE where a value says that something else is there,
 * for root at any time; core_count, by the core that comes up, RELEASE when its struct is complete;
 * core_starting, by core_start and that core, by an exchange.
 */
struct core {
    struct core *self;     /* first: cpu_core() reads it at 0            */
    struct ec *current;    /* NULL while idle                            */
    uint64_t stack_top;    /* entry.S: each entry starts there           */
    uint64_t scratch;      /* entry.S: a register, on the way in         */
    struct ec *loaded;     /* the vCPU whose FPU, XCR0 and debug registers are in the core */
    uint64_t host_vmcb_pa; /* AMD: the kernel's own FS..SYSENTER state, for VMLOAD */
    struct ec *abroad; /* Intel: the vCPU whose MSRs the core has in place of its own; or NULL */
    uint64_t host_cr3; /* Intel: what the current VMCS says of it */
    uint8_t attention; /* call core_attention() before going back to user or guest */
    SHARED uint8_t doorbell; /* the same: another core wants this one; it is set before its NMI is
                         sent. Behind `attention`: read at once */
    uint8_t
        outside; /* in user or guest mode, or idle: it holds no pointer to any object (core_sync) */

    uint8_t launched, refused; /* Intel: the current VMCS was entered; its last entry failed */
    uint8_t number;
    SHARED uint8_t reclaim; /* its owner is dead and out of all queues */
    uint8_t adopted;        /* it came with the installed system's local APIC (core_start) */
    uint32_t apic_id;
    uint64_t cr3;            /* the host space in use                      */
    struct ec *SHARED owner; /* the vCPU whose core this is; its guest has the local APIC. Graph
                                  lock to set */
    struct ec *installed;    /* the vCPU that stands for this core in the installed system */
    uint64_t armed;          /* TSC the local timer is set to; 0: not      */
    uint64_t since;          /* TSC up to which time is accounted          */
    struct sc *sc;           /* whose time it is; NULL while idle          */
    struct sc *ready[PRIORITIES]; /* circular lists; head runs next        */
    uint32_t ready_mask;
    struct timer *timers;    /* sorted by deadline                         */
    struct ec *SHARED inbox; /* any core pushes, this one takes all      */
    SHARED uint32_t sync_wanted,
        sync_done; /* core_sync(): wanted by the holder of the graph lock */

    uint64_t gdt[8];
    struct descriptor_pointer gdt_at;
    struct tss tss;
    uint64_t fatal_stack[128];
    uint64_t nmi_stack[32] __attribute__((aligned(16)));
};

extern struct core cores[MAX_CORES];
extern SHARED uint32_t core_count; /* cores online */

/* The graph lock: one for all calls that change the object graph. Waiting for
   it serves core_sync(), so the holder may wait for every other core. */
void core_lock_graph(void);
void core_unlock_graph(void);

/*
 * Rendezvous. Afterwards no core holds a pointer to an object that it read before: each core that
 * was in the kernel has left it, or has waited for the graph lock. Graph lock. Only the cores that
 * a mask names are interrupted. They take their inbox and leave every user space; those of `purge`
 * drop dead objects from their queues; those of `flush` drop guests' translations (TLB shootdown).
 * IOMMUs drop all translations, too, if something was taken out of a table (iommu_stale). A core
 * that does not answer stops the machine: its TLB may hold what is about to be freed.
 */
void core_sync(uint64_t purge, uint64_t flush);
/* The cores that may hold translations of `pd`'s table, a bit each: those with its vCPUs, or whose
   cr3 it is. To be read after the table was changed: a core that loads the table later sees the
   change. Graph lock. */
uint64_t core_users(const struct pd *pd);
void core_sync_poll(void);

/* Set up this core's descriptor tables, control registers, APIC and virtualization. */
void core_init(struct core *c, uint32_t number, const struct pd *space);

extern uint8_t core_ap_page; /* number of the physical page where other cores start: boot/ */

/* CALL_CORE_START; see docs/abi.md. Needs SYS_CORE. INIT for the first call with this ID, a
   start-up IPI for each further one; the caller waits in between (MP specification B.4). One core
   at a time: another ID gives up the one asked before. BUSY: that has its stack. Graph lock. */
uint64_t core_start(struct pd *self, uint64_t sys, uint64_t apic_id);

/* What SYSCALL and SWAPGS use, as the kernel has it. Own core. */
void core_set_syscall(void);
/* Control registers, EFER and all other MSRs of the core that executes, as the kernel has them. At
 * its start, interrupts off. */
void core_init_registers(struct core *c);
/* The interrupt descriptor table of all cores. */
uint64_t core_idt(void);
/* Is there an SC on core `number`, or has the core an owner? Graph lock. */
bool core_busy(uint8_t number);
/* The vCPU `ec` gets its core, on which nothing has time. Graph lock. */
void core_give(struct ec *ec);
/* Load the kernel's own space, and drop the TLB's entries of every other. Own core. */
void core_leave_space(struct core *c);
extern char boot_pml4[]; /* boot/start.S: physical */
/* Does this core's local APIC belong to a guest, or did it until reclaim() is done? Then reach the
 * core by NMI. Any core. */
static inline bool core_owned(const struct core *c) { return c->owner || c->reclaim || c->adopted; }
/* COME_IN of entry.inc, for an interrupt of an idle core, which comes without it. Own core. */
static inline void core_come_in(void)
{
    __atomic_exchange_n(&cpu_core()->outside, 0, __ATOMIC_SEQ_CST);
}

/* Have `ec`'s core look at it: wake it, or take its hazards. Any core. */
void core_post(struct ec *ec);
/* Take everything from the inbox. Own core. */
void core_take_inbox(void);

/* entry.S calls this when `attention` is set, with interrupts off. Sets `current`. */
void core_attention(void);

#endif
