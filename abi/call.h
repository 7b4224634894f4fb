/*
 * System calls, statuses, object types and rights: the whole contract between
 * the kernel and any user-mode domain. docs/abi.md explains each call.
 *
 * Convention (SYSCALL, APM2 6.1.1): rax = call, rdi rsi rdx r10 r8 = a1..a5.
 * Back: rax = status (low 8 bits) | number of the wrong argument << 8,
 * rdx = value. rcx, r11 and the argument registers are clobbered; rbx, rbp,
 * rsp and r12..r15 are kept.
 */
#ifndef ABI_CALL_H
#define ABI_CALL_H

#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u

enum call {
    CALL_NOP,        /* ()                                                    */
    CALL_PT_CALL,    /* (pt, words)                  call a portal            */
    CALL_PT_REPLY,   /* (words)                      answer, wait for the next */
    CALL_SM_UP,      /* (sm)                                                  */
    CALL_SM_DOWN,    /* (sm, deadline)               deadline in TSC ticks, 0 = none */
    CALL_EC_RECALL,  /* (ec)                         make a vCPU exit soon    */
    CALL_PD_CREATE,  /* (dst|payer<<16|sys<<32, kind|flags<<8, frames, objects, cores) */
    CALL_EC_CREATE,  /* (dst|pd<<16|core<<32|kind<<48, utcb, events, entry, sp) */
    CALL_SC_CREATE,  /* (dst|sys<<16|ec<<32, priority, budget, period)        */
    CALL_PT_CREATE,  /* (dst|payer<<16|ec<<32, entry, mtd, id)                */
    CALL_SM_CREATE,  /* (dst|payer<<16, count)                                */
    CALL_MR_SPLIT,   /* (dst|payer<<16|mr<<32, frame)                         */
    CALL_MR_MAP,     /* (mr|pd<<16|perm<<32, va, first frame, frames)         */
    CALL_MR_UNMAP,   /* (mr|pd<<16)                  pd 0: everywhere         */
    CALL_DELEGATE,   /* (src pd|slot<<16, dst pd|slot<<16, rights mask)       */
    CALL_REVOKE,     /* (pd|slot<<16)                empty one slot           */
    CALL_DESTROY,    /* (slot)                       end the object itself    */
    CALL_VCPU_CPUID, /* (vcpu)                       table from the UTCB      */
    CALL_CORE_START, /* (sys, APIC ID)                                        */
    CALL_MR_SEAL,    /* (mr|pd<<16)                  only that guest keeps it */
    CALL_MR_SCRUB,   /* (mr)                         clean the next part of what a dead guest had
                        sealed */
    CALL_DISENGAGE,  /* (pd, after|port<<16|ports<<32) the guest PD's exits end in the kernel; those
                        ports always end it */
    CALL_IOMMU_START, /* (sys|mr<<16, kind, buses)   value: the unit's number */
    CALL_IOMMU_FAULT, /* (sys, unit)                 value: the oldest thing it blocked */
    CALL_DV_CREATE, /* (dst|pd<<16|sys<<32, rid|unit<<16) assign a device function to a guest PD */
    CALL_DV_IRQ, /* (dv|ec<<16, index|vector<<16) value: what the function's message must carry */
    CALL_COUNT
};

enum status {
    OK,
    BAD_CALL,  /* no such call                                              */
    BAD_CAP,   /* the slot is out of range, empty, stale or of another type */
    BAD_RIGHT, /* the capability lacks a right that the call needs          */
    BAD_ARG,   /* a number out of range, misaligned or in conflict          */
    BAD_CORE,  /* caller and handler are on different cores                 */
    NO_MEMORY, /* the payer's quota of frames or objects is used up         */
    BUSY,      /* taken: slot, handler, address, region, time; or too late   */
    TIMEOUT,   /* the deadline passed before the semaphore was upped        */
    ABORTED,   /* the other side was destroyed                              */
    AGAIN,     /* a part of long work is done: call again                   */
};

/* Which argument was wrong (1..5); 0 where the status says it all. */
#define STATUS_CODE(s) ((enum status)((s)&0xff))
#define STATUS_ARG(s)  (((s) >> 8) & 0xff)

enum object_type {
    OBJ_NONE,
    OBJ_PD,
    OBJ_EC,
    OBJ_SC,
    OBJ_PT,
    OBJ_SM,
    OBJ_MR,
    OBJ_MP,
    OBJ_SYS,
    OBJ_DV,
    OBJ_COUNT
};

/* Rights. A copy of a capability has the source's rights AND a mask. */
enum right {
    RIGHT_DESTROY = 0x80, /* any object: end it                          */
    PD_CREATE = 0x01,     /* create objects that this PD owns and pays   */
    PD_MAP = 0x02,        /* map regions into this PD's space            */
    PD_TAKE = 0x04,       /* copy capabilities out of its table          */
    PD_GRANT = 0x08,      /* put capabilities into its table, empty slots */
    PD_DISENGAGE = 0x10,  /* take its VMM away                           */
    EC_RECALL = 0x01,     /* make the vCPU exit                          */
    EC_BIND = 0x02,       /* give it time (SC) or a portal (PT)          */
    EC_SETUP = 0x04,      /* set its CPUID table                         */
    PT_CALL = 0x01,
    SM_UP = 0x01,
    SM_DOWN = 0x02,
    MR_READ = 0x01, /* map for reading                             */
    MR_WRITE = 0x02,
    MR_EXEC = 0x04,
    MR_SPLIT = 0x08,   /* cut the region in two                       */
    MR_UNMAP = 0x10,   /* take it out of a PD, or of all              */
    MR_SEAL = 0x20,    /* give it to one guest alone; scrub it after  */
    DV_IRQ = 0x01,     /* say where its interrupts go                 */
    SYS_TIME = 0x01,   /* create SCs                                  */
    SYS_CORE = 0x02,   /* start cores; give a whole core to a vCPU    */
    SYS_PORTS = 0x04,  /* create PDs whose threads reach I/O ports    */
    SYS_GUEST = 0x08,  /* create guest PDs: their vCPUs take counters */
    SYS_DEVICE = 0x10, /* start IOMMUs, assign device functions       */
    RIGHT_ALL = 0xff,
};

#define CAP_SLOTS 512u /* slots in each frame of a PD's table; slot 0 stays empty */

enum pd_kind { PD_HOST, PD_GUEST };
/* All I/O ports; needs a SYS capability with SYS_PORTS. A guest with it is the machine's installed
   system: it has the machine's MSRs, too, but for a few. */
enum pd_flag { PD_PORTS = 1 };
/* Beside the flags: its table has CAP_SLOTS << order slots. */
#define PD_TABLE(order)       ((order) << 8)
#define PD_TABLE_ORDER(flags) ((flags) >> 8 & 0xff)
#define PD_TABLE_MAX          3
#define ROOT_TABLE            2 /* root's order */
#define ROOT_SLOTS            (CAP_SLOTS << ROOT_TABLE)

/* Beside an APIC ID: the core comes by itself; its local APIC stays as the installed system has it.
 */
#define CORE_COMES      (1ull << 32)
#define CORE_KEEPS_APIC (1ull << 33)
/* In place of a function behind a unit: all of them, for the installed system. */
#define DV_ALL (1ull << 32)

enum ec_kind {
    EC_THREAD,  /* runs on a scheduling context of its own, from `entry`     */
    EC_HANDLER, /* runs only when a portal bound to it is called             */
    EC_VCPU,    /* in a guest PD                                             */
};

/* SC_CREATE's budget: the vCPU gets its core for good: no timer, no other SC there; interrupts are
   the guest's own. Needs SYS_CORE beside SYS_TIME. */
#define SC_WHOLE_CORE (~0ull)

/* What a disengaged guest's port, MSR and memory accesses outside its own do. AFTER_LEAVE: of the
   installed system, which may take its cores back (BOOT_LEAVE_AT). */
enum after {
    AFTER_STRICT, /* end it */
    AFTER_QUIET,  /* read as all ones, vanish when written */
    AFTER_LEAVE
};
#define BOOT_LEAVE_AT 0x8800

enum iommu_kind { IOMMU_NONE, IOMMU_VTD, IOMMU_AMDVI };
#define MAX_IOMMUS 32
#define DV_IRQS    16u /* interrupts of one function: index 0..15 */

#define MAX_CORES          64
#define PRIORITIES         32               /* 0 (lowest) .. 31                          */
#define ROOT_PRIORITY      (PRIORITIES - 2) /* of the thread that the kernel starts root with */
#define MAX_FRAMES_PER_MAP (1u << 29)       /* 2 TiB                               */
#define MAX_LEAVES_PER_MAP 4096u            /* page-table entries one MR_MAP may write  */

/* What root finds in its table when it starts. RAM and MMIO regions follow
   from SLOT_ROOT_MR on, one for each boot_info range, in that order. */
enum root_slot {
    SLOT_ROOT_PD = 1,
    SLOT_ROOT_SYS = 2,
    SLOT_ROOT_STAT = 3,
    SLOT_ROOT_EC = 4,
    SLOT_ROOT_FAULT = 5 /* empty: for a portal */,
    SLOT_ROOT_MR = 8
};

#endif
