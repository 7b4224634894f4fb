/*
 * One virtual machine as root sees it: its memory, which it keeps for ever, its
 * two domains, which live from a start to an end, and how it fares.
 *
 * How root fails (decision 45). A function that can fail returns a status, OK or
 * why not, and is WARN_UNUSED. Whoever finds the reason out tells it, once:
 * for the machine on the console, for a VM by vm_fail(), whose first step and
 * status end the life and stand in its record. A bool is the answer to a
 * question. A pointer is NULL where there is nothing. A sentence (const char *)
 * is a judgement on something, such as a PCI function; NULL: nothing is wrong.
 */
#ifndef ROOT_VM_H
#define ROOT_VM_H

#include <root/console/console.h>
#include <root/hardware/clock.h>
#include <root/memory.h>
#include <root/vm/image.h>
#include <abi/utcb.h>
#include <lib/call.h>
#include <lib/sha256.h>

/*
 * A VM's life, in root's turns (life.c). A plan that says so, or the operator, begins it.
 *
 *   OFF, WAITING --> COPYING --> EQUIPPING --> STARTING --> RUNNING --> LEAVING --> ALONE
 *        ^                                         |           |           |          |
 *        |                                         v           v           v          v
 *        +---------------------------------------------- ENDING <---------------------+
 *
 * `stop` takes COPYING, EQUIPPING and WAITING to OFF at once: there is nothing to end yet. After
 * ENDING comes WAITING if it is to start again, else OFF.
 */
enum life {
    LIFE_OFF,       /* no domains; stays so until told otherwise          */
    LIFE_WAITING,   /* no domains; starts again when `due`                */
    LIFE_COPYING,   /* no domains; its volatile disks are made new        */
    LIFE_EQUIPPING, /* no domains; its devices are not ready, looks again when `due` */
    LIFE_STARTING,  /* its VMM sets it up, until `due`; its vCPUs have no time yet */
    LIFE_RUNNING,
    LIFE_LEAVING, /* dedicated: disengaged; its VMM goes as soon as every vCPU has left it */
    LIFE_ALONE,   /* dedicated: without a VMM                             */
    LIFE_ENDING,  /* no domains any more; its last output is on its way */
};

/* What is to follow the end of a life. */
enum wish { WISH_PLAN, WISH_OFF, WISH_AGAIN };

/* Pieces of a VM's store: the memory beside its RAM. */
enum piece {
    PIECE_CONFIG,
    PIECE_CONTROL,
    PIECE_MSIX,
    PIECE_STACKS,
    PIECE_LAN, /* + enum plan_link */
    PIECE_STORE,
    PIECE_CHIPSET, /* the guest's alone */
    PIECE_LOG,     /* root's: the last CONSOLE_LOG bytes on its console, if the plan shows it */
    PIECE_DATA,
    PIECE_FILE, /* + FILE_*: copies of files */
    PIECES = PIECE_FILE + UPLOAD_FILES
};

/* A file in the VMM's space. */
enum { FILE_KERNEL, FILE_INITRD, FILE_DISK, FILES = UPLOAD_FILES };
struct file {
    uint64_t source;   /* physical address of the module; 0: blank memory */
    uint64_t base;     /* of what is mapped: the module or a copy */
    uint64_t size, va; /* bytes; size 0: there is none            */
};

/* How a life ended, and what it took. */
struct end {
    uint32_t reason; /* enum vm_reason */
    uint64_t value, rip, cr3, ports, msrs;
    /* Frames on its LAN, by its VMM and the switch; both may lie */
    uint64_t lost_sent, lost_received;
    uint64_t time, first; /* TSC ticks: run by its vCPUs; from the start to the first guest
                             instruction, 0: none */
    uint64_t left;        /* TSC ticks from the start to the moment its VMM left; 0: it did not */
    uint64_t exits[CAUSE_COUNT], engaged[CAUSE_COUNT]; /* all, and those until then */
    char message[96];
};

struct vm {
    const struct plan_vm *plan;
    uint32_t index;
    bool created;                  /* after the machine started, by another VM */
    uint32_t first_vcpu;           /* of its vCPUs among the machine's */
    const struct boot_info *files; /* the modules that its record names */
    enum life life;
    enum wish wish;
    uint32_t restarts; /* since the machine started                     */
    uint32_t quick;    /* lives in a row that ended at once             */
    uint64_t started, due;
    /* Dedicated: the sum of its exits last changed then, to this */
    uint64_t quiet_since, quiet_exits;
    uint64_t left_since; /* its last vCPU left its VMM then */
    uint64_t copied;     /* bytes of its files */
    uint64_t dirty;      /* bytes of its RAM that have what another VM left */
    struct region ram, store;
    uint64_t offset[PIECES], size[PIECES]; /* of the pieces, bytes in the store */
    struct file file[FILES];
    uint32_t counters[PLAN_VCPUS]; /* indices in kernel_stat.vcpu       */
    const char *failed;            /* the first step of its building that failed */
    uint64_t failed_status;        /* OK: none */
    uint32_t seal;                 /* how far its memory is (seal.c) */
    struct vm_boot boot;
    struct sha256 sha;
    uint64_t measured; /* bytes */
    uint8_t hash[32];
    struct console_line line;
    uint64_t logged; /* bytes that it said on its console, in all its lives */
    struct end end;
    uint64_t seen_tsc, seen_time, seen_exits[CAUSE_COUNT]; /* at the last `list` */
};

/* What all VMs are built with; set by main. */
struct machine {
    const struct boot_info *info;
    const struct plan *plan;
    struct acpi acpi;
    struct clock clock;
    struct image vmm, lan;
    uint32_t cores;
    uint8_t thread_of[MAX_CORES]; /* of each core the first one of its threads */
    uint32_t vms;
    uint64_t turn_began;   /* TSC */
    bool heavy;            /* this turn has had its heavy step */
    uint64_t longest_turn; /* TSC ticks */
    struct vm vm[PLAN_VMS];
};
extern struct machine machine;
/* Is core `number` online? Wait for that, `ms` milliseconds at most. */
bool machine_core_comes(uint32_t number, uint64_t ms);

/* A turn of root's, at a priority above all VMs', is at most half a millisecond. In each there is
   one heavy step at most: a VM is built, or ends. Work that can be cut stops after such a step, or
   after TURN_WORK_US, and goes on in the next turn. */
enum { TURN_WORK_US = 250 };
static inline bool turn_heavy(void) { return machine.heavy; }
static inline bool turn_over(void)
{
    return machine.heavy ||
           tsc() - machine.turn_began >= TURN_WORK_US * machine.clock.tsc_hz / 1000000;
}

static inline const struct kernel_stat *kernel_stat(void)
{
    return (const struct kernel_stat *)ROOT_STAT;
}
/* Has it a guest's domain? A VMM's, too, but in LIFE_ALONE. */
static inline bool vm_lives(const struct vm *vm)
{
    return vm->life >= LIFE_STARTING && vm->life <= LIFE_ALONE;
}
/* Is the VMM that is built the loader of a sealed VM (seal.c)? */
static inline bool vm_loads(const struct vm *vm) { return vm->life == LIFE_COPYING; }
static inline uint64_t vm_slot(const struct vm *vm, uint64_t slot)
{
    return SLOT_VM + VM_SLOTS * vm->index + slot;
}

/* Address of a piece in root's own space; the store must be open. */
static inline void *vm_piece(const struct vm *vm, enum piece piece)
{
    return (void *)(ROOT_PHYS + vm->store.base + vm->offset[piece]);
}
static inline struct vm_control *vm_control(const struct vm *vm)
{
    return vm_piece(vm, PIECE_CONTROL);
}

/* Create both domains with all in them, and give the VMM time; a heavy step. The guest gets the
   VM's RAM, chipset's pages and devices. The VMM gets its store, the RAM unless that is sealed, and
   capabilities of this VM only: its own PD without PD_GRANT, the guest's with PD_GRANT alone, so it
   can make portals but map nothing. The status is that of the first step that failed in this life
   (vm_fail); steps after it do no harm, and vm_destroy takes all back. Where the VM loads: the
   VMM's domain alone, with the RAM, and no guest. */
uint64_t vm_build(struct vm *vm) WARN_UNUSED;
/* Unless `status` is OK, note step and status, if they are the first of this life. */
void vm_fail(struct vm *vm, const char *step, uint64_t status);
/* The VMM is ready: give the vCPUs time, to a dedicated VM its cores. The status: as above. */
uint64_t vm_run(struct vm *vm) WARN_UNUSED;
/* Destroy both domains, as far as they are there; a heavy step. When it returns, no core, TLB or
   IOMMU has a way to the VM's memory, and its devices are quiet. */
void vm_destroy(struct vm *vm);
/* The core of thread or vCPU `i`: the i-th of the plan's cores, wrapping around. */
uint32_t vm_core(const struct vm *vm, uint32_t i);
/* Does the plan give it the machine's TPM? */
bool vm_has_tpm(const struct vm *vm);
/* All that its threads are on, a bit each: its vCPUs' and its worker's. Its domains are held to
 * them. */
uint64_t vm_cores(const struct vm *vm);
/* The exits of a dedicated VM are the kernel's from now on, for good; each vCPU leaves its VMM
 * before it next runs guest code. A failure leaves all as it was; BAD_ARG: one has not begun. */
uint64_t vm_disengage(struct vm *vm) WARN_UNUSED;
/* Have all vCPUs that ever ran left their VMM? */
bool vm_has_left(const struct vm *vm);
/* Destroy its VMM's domain; a heavy step. The guest stays. */
void vm_drop_vmm(struct vm *vm);
/* The counters of the first vCPU that ended without a VMM, or NULL. */
const struct vcpu_stat *vm_ended(const struct vm *vm);
/* The thread of a VMM's worker or of a LAN's switch, in the PD in slot `pd` on `core`, with its
   time: above the VMs of `priority` that it serves. Its fault portals are there (fault_watch). All
   such helpers of one core together get half of it, so that no flood of frames can keep a VM from
   running. */
uint64_t vm_help(uint64_t pd, uint32_t core, uint64_t utcb, uint64_t entry, uint64_t sp,
                 uint64_t priority) WARN_UNUSED;
/* What it has, TSC ticks, of each `vm_help_period()`. */
uint64_t vm_help_budget(uint32_t core);
uint64_t vm_help_period(void);
/* Where the VMM's worker runs. */
uint32_t vm_worker_core(const struct vm *vm);
/* Fill in `sums` of this life until now: time, exits, first, left; zeros if it was not built. */
void vm_count(const struct vm *vm, struct end *sums);

#endif
