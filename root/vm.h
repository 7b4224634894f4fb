/*
 * One virtual machine as root sees it: its memory, which it keeps for ever, its
 * two domains, which live from a start to an end, and how it fares.
 */
#ifndef ROOT_VM_H
#define ROOT_VM_H

#include <root/clock.h>
#include <root/console.h>
#include <root/image.h>
#include <root/memory.h>
#include <abi/utcb.h>
#include <lib/call.h>
#include <lib/sha256.h>

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
    PIECE_LAN,
    PIECE_CHIPSET, /* the guest's alone */
    PIECE_DATA,
    PIECE_DISK,
    PIECES = PIECE_DISK + PLAN_DISKS
};

/* A file in the VMM's space. */
enum { FILE_KERNEL, FILE_INITRD, FILE_DISK, FILES = FILE_DISK + PLAN_DISKS };
struct file {
    uint64_t source;   /* physical address of the module          */
    uint64_t base;     /* of what is mapped: the module or a copy */
    uint64_t size, va; /* bytes; size 0: there is none            */
};

struct pool {
    uint32_t frames, objects; /* free ones */
};

/* How a life ended, and what it took. */
struct end {
    uint32_t reason; /* enum vm_reason */
    uint64_t value, rip, cr3, ports, msrs;
    uint64_t lost_sent, lost_received; /* frames on its LAN, by its VMM and the switch; both may lie */
    uint64_t time, first;              /* TSC ticks: run by its vCPUs; from the start to the first guest instruction, 0: none */
    uint64_t left;                     /* TSC ticks from the start to the moment its VMM left; 0: it did not */
    uint64_t exits[CAUSE_COUNT], engaged[CAUSE_COUNT]; /* all, and those until then */
    char message[96];
};

struct vm {
    const struct plan_vm *plan;
    uint32_t index;
    enum life life;
    enum wish wish;
    uint32_t restarts; /* since the machine started                     */
    uint32_t quick;    /* lives in a row that ended at once             */
    uint64_t started, due;
    uint64_t quiet_since, quiet_exits; /* dedicated: the sum of its exits last changed then, to this */
    uint64_t copied;                   /* bytes of its volatile disks */
    uint32_t cycles, cycled;           /* by command: so many lives for nothing, and so many of them were */
    struct region ram, store;
    uint64_t offset[PIECES], size[PIECES]; /* of the pieces, bytes in the store */
    struct file file[FILES];
    uint32_t stat[PLAN_VCPUS]; /* indices in kernel_stat.vcpu           */
    const char *failed;        /* the first step of its building that failed */
    uint64_t failed_status;
    struct pool before; /* the kernel's, when it was built              */
    uint32_t changes;   /* and the steps that all VMs had made, with its own since */
    uint32_t seal;      /* how far its memory is (seal.c) */
    bool loading;       /* the VMM that is built is the loader */
    struct vm_boot boot;
    struct sha256 sha;
    uint64_t measured; /* bytes */
    uint8_t hash[32];
    struct console_line line;
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
    uint32_t vms;
    uint64_t turn_began;   /* TSC */
    bool heavy;            /* this turn has had its heavy step */
    uint64_t longest_turn; /* TSC ticks */
    struct vm vm[PLAN_VMS];
};
extern struct machine machine;

/* A turn of root's, at a priority above all VMs', is at most half a millisecond. In each there is one heavy step at most: a
   VM is built, or ends. Work that can be cut stops after such a step, or after TURN_WORK_US, and goes on in the next turn. */
enum { TURN_WORK_US = 250 };
static inline bool turn_heavy(void) { return machine.heavy; }
static inline bool turn_over(void) { return machine.heavy || tsc() - machine.turn_began >= TURN_WORK_US * machine.clock.tsc_hz / 1000000; }

static inline const struct kernel_stat *kernel_stat(void) { return (const struct kernel_stat *)ROOT_STAT; }
/* It has its domains, or at least its guest's. */
static inline bool vm_lives(const struct vm *vm) { return vm->life >= LIFE_STARTING && vm->life <= LIFE_ALONE; }
static inline uint64_t vm_slot(const struct vm *vm, uint64_t slot) { return SLOT_VM + VM_SLOTS * vm->index + slot; }

/* A piece as root sees it; the store must be open. */
static inline void *vm_piece(const struct vm *vm, enum piece piece) { return (void *)(ROOT_PHYS + vm->store.base + vm->offset[piece]); }
static inline struct vm_control *vm_control(const struct vm *vm) { return vm_piece(vm, PIECE_CONTROL); }

/* ---- store.c ---------------------------------------------------------------- */
/* Take the VM's memory. False: the machine has not enough; the console says so. */
bool store_take(struct vm *vm);
/* Map the store into root's own space, for good. */
bool store_open(struct vm *vm);
/* As new: everything but the volatile disks. */
void store_fill(struct vm *vm);
/* Make the volatile disks new, from byte `vm->copied` on: a step, which does not keep others waiting. True: done. */
bool store_copy_disks(struct vm *vm);
/* Frames that it sent, and frames for it, that were lost in this life; it has a LAN, or both are 0. */
void store_lost(const struct vm *vm, uint64_t *sent, uint64_t *received);
/* Map pieces and files into the VMM's PD. A raw status. */
uint64_t store_map(const struct vm *vm);

/* ---- vm.c ------------------------------------------------------------------- */
/* Create both domains with all in them, and give the VMM time. False: vm->failed says what went wrong. */
bool vm_build(struct vm *vm);
/* The loader of a sealed VM. False: as above. */
bool vm_load(struct vm *vm);
/* Remember the first step that failed; those after it do no harm. */
void vm_fail(struct vm *vm, const char *step, uint64_t status);
/* The VMM is ready: give the vCPUs time. False: as above. */
bool vm_run(struct vm *vm);
/* Destroy both domains; checks that the kernel got everything back. */
void vm_destroy(struct vm *vm);
/* The core of thread or vCPU `i`: the i-th of the plan's cores, wrapping around. */
uint32_t vm_core(const struct vm *vm, uint32_t i);
/* All that its threads are on, a bit each: its vCPUs' and its worker's. Its domains are held to them. */
uint64_t vm_cores(const struct vm *vm);
/* The exits of a dedicated VM are the kernel's from now on. A raw status. */
uint64_t vm_disengage(struct vm *vm);
/* Have all vCPUs that ever ran left their VMM? */
bool vm_has_left(const struct vm *vm);
/* Take its VMM away. */
void vm_drop_vmm(struct vm *vm);
/* The counters of the first vCPU that ended without a VMM, or NULL. */
const struct vcpu_stat *vm_ended(const struct vm *vm);
/* Time for a worker or LAN switch in slot `ec` on `core`, above the VMs of `priority` that it serves. All such
   helpers of one core together get half of it, so that no flood of frames can keep a VM from running. */
uint64_t vm_help(uint64_t ec, uint32_t core, uint64_t priority);
/* What it has, TSC ticks, of each `vm_help_period()`. */
uint64_t vm_help_budget(uint32_t core);
uint64_t vm_help_period(void);
/* Where the VMM's worker runs. */
uint32_t vm_worker_core(const struct vm *vm);
/* Counters of this life until now. */
void vm_count(const struct vm *vm, struct end *sums);
/* Something else than a VM changed what the kernel holds. */
void vm_note_change(void);
/* The kernel's free frames and objects. */
struct pool vm_pool(void);

/* ---- life.c ----------------------------------------------------------------- */
void life_start(struct vm *vm);
/* By command: end it, also if it is about to restart; with `again` start it anew, also if it is off. */
void life_stop(struct vm *vm, bool again);
/* Look at every VM; returns the TSC at which to look again, 0: only when the bell rings. */
uint64_t life_turn(uint64_t now);
bool life_all_off(void);

/* ---- output.c --------------------------------------------------------------- */
/* Take console output of all VMs in turn, as much as the line can hold; true: there is more. All but `focus`
   and those that end must wait (NULL: none). */
bool output_turn(const struct vm *focus);
/* All that an ended VM had said is in the queue. */
bool output_done(const struct vm *vm);
/* End lines that have stood unfinished for 100 ms. */
void output_flush(uint64_t now, const struct vm *focus);

#endif
