/*
 * The UTCB: one page per thread, shared with the kernel, in which messages
 * travel. A plain portal call carries words; an exit of a vCPU or a fault of a
 * thread carries struct exit_state, of which only the groups named by the
 * portal's `mtd` (message transfer descriptor) are filled in. The reply's
 * `mtd` says which groups are written back.
 */
#ifndef ABI_UTCB_H
#define ABI_UTCB_H

#include <abi/call.h>

#define UTCB_WORDS 64

/* Groups of a message transfer descriptor. */
enum mtd {
    MTD_ACDB = 1 << 0,     /* rax rcx rdx rbx                                  */
    MTD_REST = 1 << 1,     /* rsi rdi rbp r8..r15                              */
    MTD_RIP = 1 << 2,      /* rip; in: next_rip                                */
    MTD_FLAGS = 1 << 3,    /* rflags rsp                                       */
    MTD_INFO = 1 << 4,     /* in only: info                                    */
    MTD_INJECT = 1 << 5,   /* inject, intr, shadow                             */
    MTD_TIMER = 1 << 6,    /* deadline                                         */
    MTD_HALT = 1 << 7,     /* out only: block until recalled or the deadline   */
    MTD_CONTROL = 1 << 8,  /* cr0 cr2 cr3 cr4 xcr0 dr6 dr7                */
    MTD_SEGS = 1 << 9,     /* es cs ss ds fs gs gdtr ldtr idtr tr, cpl         */
    MTD_SYSCALL = 1 << 10, /* star lstar cstar sfmask kernel_gs sysenter_* pat */
    MTD_KILL = 1 << 11,    /* out only: never run again                        */
    MTD_EFER = 1 << 12,    /* efer                                             */
    MTD_APIC = 1 << 13, /* out only, dedicated vCPUs: write apic_value to register apic_reg of its
                           core's local APIC */
    MTD_TSC = 1 << 14,  /* out only: tsc_offset                                */
    MTD_CR8 = 1 << 15,  /* cr8 */
};

struct segment {
    uint16_t selector, attrib; /* attrib: descriptor bits 40-47 in 0-7, 52-55 in 8-11; of GDTR and
                                  IDTR it means nothing */
    uint32_t limit;
    uint64_t base;
};

enum segment_index {
    SEG_ES,
    SEG_CS,
    SEG_SS,
    SEG_DS,
    SEG_FS,
    SEG_GS,
    SEG_GDTR,
    SEG_LDTR,
    SEG_IDTR,
    SEG_TR,
    SEG_COUNT
};

#define INTR_PENDING (1ull << 31) /* exit_state.intr: this vector is on offer, not yet taken */
/* exit_state.inject: the vector in bits 7..0, its type, and */
#define INJECT_VALID     (1ull << 31) /* there is something to deliver  */
#define INJECT_ERROR     (1ull << 11) /* bits 63..32 hold an error code */
#define INJECT_EXCEPTION (3ull << 8)
#define INJECT_NMI       (2ull << 8)
#define INJECT_TYPE      (7ull << 8)

/* What is held back: interrupts by STI or MOV SS; NMIs from one that the VMM injected to its
   handler's IRET, at which a recall comes. */
enum shadow { SHADOW_INTR = 1, SHADOW_NMI = 2 };

/* What an exit says beside registers: by event, the fields that its line names.
 *
 *   EVENT_PORT       number: the port. size: bytes, 1, 2 or 4. flags: READ (IN) or WRITE, STRING
 *   EVENT_MSR        number: the MSR. flags: READ or WRITE
 *   EVENT_MEMORY     address: guest-physical. flags: READ, WRITE or EXECUTE
 *   EVENT_EXCEPTION  number: the vector. flags: ERROR, and then error: its error code
 *   a thread's fault number: the vector. error: its error code. address: CR2, of a page fault
 */
struct exit_info {
    uint32_t number, error;
    uint8_t size, flags; /* enum exit_flag */
    uint8_t unused[6];
    uint64_t address;
};
enum exit_flag {
    EXIT_READ = 1,
    EXIT_WRITE = 2,
    EXIT_STRING = 4,
    EXIT_EXECUTE = 8,
    EXIT_ERROR = 16
};

/* The exception that an exit tells of, as exit_state.inject. */
static inline uint64_t exit_exception(const struct exit_info *i)
{
    uint64_t error = i->flags & EXIT_ERROR ? INJECT_ERROR | (uint64_t)i->error << 32 : 0;
    return INJECT_VALID | INJECT_EXCEPTION | i->number | error;
}

struct exit_state {
    uint64_t rax, rcx, rdx, rbx;                                  /* MTD_ACDB  */
    uint64_t rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15; /* MTD_REST */
    uint64_t rip,
        next_rip; /* MTD_RIP; next_rip: of the instruction that exited, where known, else 0 */
    uint64_t rflags, rsp;  /* MTD_FLAGS                                  */
    struct exit_info info; /* MTD_INFO                                   */
    uint64_t inject;       /* MTD_INJECT: out: event for the next entry  */
    uint64_t intr;     /* vector | INTR_PENDING: delivered by hardware once the guest can take it.
                          In: INTR_PENDING still set if it was not taken yet. Out: 0 withdraws it */
    uint64_t shadow;   /* enum shadow                                */
    uint64_t deadline; /* MTD_TIMER: absolute TSC at which the vCPU is recalled; 0: none */
    uint64_t cr0, cr2, cr3, cr4, xcr0, dr6, dr7; /* MTD_CONTROL */
    uint64_t efer;                               /* MTD_EFER */
    uint64_t cr8;                                /* MTD_CR8: bits 3..0 */
    uint64_t cpl;                                /* MTD_SEGS  */
    struct segment seg[SEG_COUNT];
    uint64_t star, lstar, cstar, sfmask, kernel_gs; /* MTD_SYSCALL */
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, pat;
    uint64_t tsc_offset;           /* MTD_TSC: what the guest's TSC is ahead */
    uint64_t apic_reg, apic_value; /* MTD_APIC: reg = MSR - 800h: 33h..37h (LVT: fixed or NMI), 3Eh
                                      (divider), 3Fh (an IPI to itself) */
};

/* One row of a vCPU's CPUID table; the rows of a leaf follow each other, and
   the first that fits the subleaf answers. Leaves are G + 0..31 for G = 0,
   40000000h, 80000000h, C0000000h. What is not in the table answers zeros. */
struct cpuid_row {
    uint32_t leaf, subleaf; /* subleaf: CPUID_ANY where ECX does not matter */
    uint32_t flags;
    uint32_t eax, ebx, ecx, edx;
};
#define CPUID_ANY     0xffffffffu
#define CPUID_OSXSAVE 1u /* flag: ECX bit 27 follows the guest's CR4.OSXSAVE */
#define CPUID_ROWS    120

struct utcb {
    uint64_t mtd;
    uint64_t rows; /* CALL_VCPU_CPUID: rows in `cpuid`, 1..CPUID_ROWS */
    union {
        uint64_t word[UTCB_WORDS];
        struct exit_state exit;
        struct cpuid_row cpuid[CPUID_ROWS];
    };
};

_Static_assert(sizeof(struct utcb) <= PAGE_SIZE, "a UTCB is one page");

/* Events of a vCPU: the portal for event E is in slot `events` + E of the
   guest PD's table. A thread has one fault portal, in slot `events` of its own
   PD's table. Where the slot is empty, the EC stops for good. */
enum event {
    EVENT_START,  /* before the first instruction: set the state          */
    EVENT_RECALL, /* EC_RECALL, or the deadline passed                    */
    EVENT_PORT,   /* IN, OUT                                              */
    EVENT_MSR,    /* RDMSR, WRMSR                                         */
    EVENT_HLT,
    EVENT_VMCALL,   /* VMMCALL, or what the processor has in its place      */
    EVENT_MEMORY,   /* nothing is mapped there, or not for that             */
    EVENT_SHUTDOWN, /* triple fault                                         */
    EVENT_INVALID,  /* the state set by the VMM cannot be run               */
    EVENT_OPCODE,   /* an instruction of virtualization, INVD, RSM and the like */
    EVENT_XSETBV,
    EVENT_EXCEPTION, /* #DB, #AC, #MC that the kernel watches for           */
    EVENT_COUNT,
    /* These never leave the kernel; they are only counted. */
    CAUSE_CPUID = EVENT_COUNT,
    CAUSE_INTR,
    CAUSE_NMI,
    CAUSE_ICR,  /* a dedicated vCPU's write to its interrupt command register */
    CAUSE_STEP, /* the kernel had the guest run one instruction */
    CAUSE_COUNT
};

#define MAX_VCPUS 256 /* of the whole machine */
/* Of VMs beside an installed system: the rest is kept for its processors. */
#define MAX_VCPUS_BESIDE (MAX_VCPUS - MAX_CORES)

/* The page(s) of counters behind SLOT_ROOT_STAT, mapped read-only, written by
   the kernel alone; readable at any time without a call. */
struct vcpu_stat {
    uint64_t exits[CAUSE_COUNT];
    uint64_t time;                 /* TSC ticks that its scheduling context ran (guest + VMM) */
    uint64_t first;                /* TSC at its first entry; 0: none yet                  */
    uint64_t disengaged;           /* TSC at which it disengaged; 0: it has a VMM          */
    uint64_t engaged[CAUSE_COUNT]; /* exits until then                        */
    /* How a disengaged vCPU ended. */
    uint64_t end_event;        /* enum event + 1; 0: it lives              */
    struct exit_info end_info; /* what that exit said                      */
    uint64_t end_code;         /* the processor's own code, for the record */
    uint64_t end_rax, end_rip, end_cr3;
};

struct core_stat {
    uint32_t online, apic_id;
    uint64_t idle; /* TSC ticks */
};

struct kernel_stat {
    uint32_t frames, frames_free; /* the kernel's pool, pages              */
    uint32_t objects, objects_free;
    uint32_t table_frames; /* frames of the pool that are page tables */
    uint32_t image_bytes;  /* text, data and bss of the kernel without the pool */
    uint64_t apic_per_tsc; /* ticks of a local APIC's timer, undivided, in a TSC tick; 32.32 fixed
                              point */
    struct core_stat core[MAX_CORES];
    struct vcpu_stat vcpu[MAX_VCPUS];  /* EC_CREATE of a vCPU returns its index */
} __attribute__((aligned(PAGE_SIZE))); /* whole pages: root reads no more than this */

#endif
