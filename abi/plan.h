/*
 * The compiled plan: fixed records that `hairline` (the host tool) writes and
 * root reads. All checks on text were made by the tool; root checks ranges
 * again before it acts on them. Little-endian, packed by construction.
 */
#ifndef ABI_PLAN_H
#define ABI_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#define PLAN_MAGIC          0x6e616c706c68ull /* "hlplan" */
#define PLAN_VERSION        10
#define PLAN_VMS            64
#define PLAN_DISKS          4
#define PLAN_VCPUS          64
#define PLAN_MEMORY_MAX     (1ull << 40) /* bytes of a VM */
#define PLAN_LANS           4
#define PLAN_MTU            1500 /* of a LAN, bytes: the usual, */
#define PLAN_MTU_MAX        9000 /* and the largest */
#define PLAN_DEVICES        4
#define PLAN_CMDLINE        2048 /* with its end: what Linux takes */
#define PLAN_CMDLINE_SEALED 40   /* of those, for what the VMM adds in a sealed VM */
#define PLAN_NO_FILE        0xffffffffu

/* What a VM gets if its plan does not say; the only ones of a dedicated VM, which has its cores for
 * good. */
#define PLAN_PRIORITY  8
#define PLAN_BUDGET_US 10000
/* Bounds of what it may say. */
#define PLAN_PRIORITY_MAX 24
#define PLAN_TIME_MIN_US  100
#define PLAN_TIME_MAX_US  10000000
#define PLAN_DEVICE_INDEX 255          /* the last one */
#define PLAN_SPARE_MAX    (1ull << 40) /* bytes for all VMs that are created */
#define PLAN_UPLOAD_STEP  (1ull << 20) /* of the disk for uploads, */
#define PLAN_UPLOAD_MAX   (1ull << 30) /* and the largest */
#define PLAN_SECTOR       512          /* a disk is whole ones */

enum plan_flag {
    PLAN_BATCH = 1,          /* no console input; reset the machine when every VM is off */
    PLAN_PROBE = 2,          /* only tell what the machine has, then reset it; may have no VMs */
    PLAN_SHARE_SIBLINGS = 4, /* two VMs may have threads of one processor core */
    PLAN_SMALL_PAGES = 8,    /* what a guest can execute is in nested pages of 4 KiB */
};
/* MODE_HOST: the system that the machine's firmware starts, which owns all that no other VM and
 * root have. One VM at most, the last; of its record only name and control say anything, the rest
 * is as the tool writes it: 1 vCPU, no cores, memory or files, DISENGAGE_AUTO, AFTER_QUIET,
 * EXIT_OFF. */
enum plan_mode { MODE_SHARED, MODE_DEDICATED, MODE_HOST };
enum plan_disengage { DISENGAGE_AUTO, DISENGAGE_GUEST, DISENGAGE_NEVER };
enum plan_on_exit { EXIT_OFF, EXIT_RESTART };
/* The VM's control line to root: none; it sees and commands itself, or all VMs. */
enum plan_control { CONTROL_NONE, CONTROL_OWN, CONTROL_ALL };
/* Who has the VM's console beside the operator: nobody; or those that command it, to read, or to
 * type there, too. */
enum plan_console { CONSOLE_PRIVATE, CONSOLE_SHOWN, CONSOLE_OPEN };
enum plan_kernel { KERNEL_BZIMAGE, KERNEL_PVH, KERNEL_MULTIBOOT };
enum plan_disk_flag {
    DISK_READONLY = 1,
    DISK_VOLATILE = 2, /* writes go to a copy in memory */
    DISK_VOLUME = 4,   /* its blocks are its service VM's: no file */
    DISK_UPLOAD = 8,   /* blank memory: a VM to be created comes by it (struct upload) */
};

struct plan_disk {
    uint32_t file;   /* module "fN"; PLAN_NO_FILE: a volume, or for uploads */
    uint32_t flags;  /* exactly one of enum plan_disk_flag */
    char volume[32]; /* its name, [a-z0-9-]+, zero-terminated; a file has none */
};

/* The links of a VM to LANs: its own, and the one that carries volumes. */
enum plan_link { LINK_LAN, LINK_STORE, LINKS };

/* A PCI function: by address (bus << 8 | device << 3 | function), or the index-th of a class, real
 * or virtual ones. */
enum plan_device_by { DEVICE_ADDRESS, DEVICE_CLASS, DEVICE_VF };
struct plan_device {
    uint32_t by;    /* enum plan_device_by                                     */
    uint32_t rid;   /* DEVICE_ADDRESS                                          */
    uint32_t class; /* else: class << 8 | subclass (PCI code and ID assignment) */
    uint32_t index; /* from 0, in the order of addresses                       */
};

struct plan_vm {
    char name[32];     /* [a-z0-9-]+, unique, zero-terminated           */
    uint32_t mode;     /* enum plan_mode                                */
    uint32_t vcpus;    /* 1..PLAN_VCPUS                                 */
    uint64_t memory;   /* bytes, multiple of 2 MiB                      */
    uint64_t cores;    /* bit mask of core numbers its vCPUs may share; vCPU i runs on the
                          i-th set bit, wrapping around; MODE_DEDICATED: one for each
                          vCPU, and nobody else's                       */
    uint32_t priority; /* 1..PLAN_PRIORITY_MAX                          */
    uint32_t budget_us, period_us; /* period 0: round robin with time slice `budget_us` */
    uint32_t on_exit;              /* enum plan_on_exit                             */
    uint32_t exit_port;            /* 0: none; else a guest's write there powers it off */
    uint32_t kernel_type;          /* enum plan_kernel                              */
    uint32_t kernel, initrd;       /* modules "fN"; initrd may be PLAN_NO_FILE       */
    uint32_t disks;
    uint32_t lan; /* 0: none, else LAN 1..lans                     */
    struct plan_disk disk[PLAN_DISKS];
    uint32_t disengage, after; /* MODE_DEDICATED: enum plan_disengage, enum after */
    uint32_t sealed;           /* 1: its RAM is nobody else's                      */
    uint32_t devices;
    uint32_t control, console; /* enum plan_control; enum plan_console */
    struct plan_device device[PLAN_DEVICES];
    uint8_t mac[6];
    uint16_t
        mtu; /* of its LAN, the same for all its VMs: PLAN_MTU..PLAN_MTU_MAX; 0 without a LAN */
    /* Volumes: the LAN that carries them, 1..lans, 0: it neither has nor serves any; and the VM,
       1..vms, that serves them. Its own number: it is that one. */
    uint32_t store, server;
    char cmdline[PLAN_CMDLINE];
};

struct plan {
    uint64_t magic;
    uint32_t version, flags;
    uint32_t vms, lans, files;
    uint32_t tpm; /* the VM that has the machine's TPM, 1..vms; 0: none */
    /* For VMs that are created later: cores that no VM of the plan has, a bit each; bytes of memory
       for all of them, a multiple of 2 MiB; bytes of the one disk for uploads, a multiple of
       PLAN_UPLOAD_STEP. */
    uint64_t spare_cores, spare_memory, upload;
    uint64_t held; /* VMs that start at a command only, not with the machine, a bit each */
    struct plan_vm vm[PLAN_VMS];
};

/* What a VM writes to its disk for uploads before it says `create`: this, and the files, each at a
 * multiple of the page size. In `vm`, "fN" is the N-th of them. */
#define UPLOAD_MAGIC 0x64616f6c7075ull /* "upload" */
#define UPLOAD_FILES (2 + PLAN_DISKS)  /* kernel, initrd, disks */
struct upload {
    uint64_t magic;
    uint32_t version, files; /* PLAN_VERSION; 1..UPLOAD_FILES */
    struct {
        uint64_t offset, size; /* bytes */
    } file[UPLOAD_FILES];
    struct plan_vm vm;
};

/* Is there a VM in this record? One that was destroyed leaves a blank one. */
static inline bool plan_is_vm(const struct plan_vm *vm) { return vm->vcpus != 0; }

/* The VM of MODE_HOST, from 0; plan->vms: there is none. */
static inline uint32_t plan_host_vm(const struct plan *plan)
{
    uint32_t i = 0;
    while (i < plan->vms && plan->vm[i].mode != MODE_HOST)
        i++;
    return i;
}

/* The disk of `vm` for uploads; PLAN_DISKS: none. */
static inline uint32_t plan_upload_disk(const struct plan_vm *vm)
{
    for (uint32_t i = 0; i < vm->disks && i < PLAN_DISKS; i++)
        if (vm->disk[i].flags == DISK_UPLOAD)
            return i;
    return PLAN_DISKS;
}

/* Has it virtual devices (console, network, disks, control line)? They are a VMM's, which must be
 * there to stay, and see the guest's memory. */
static inline bool plan_has_virtual(const struct plan_vm *vm)
{
    return vm->mode == MODE_SHARED || (vm->disengage == DISENGAGE_NEVER && !vm->sealed);
}

/* The LAN of a link, 0: none; and its MTU. */
static inline uint32_t plan_lan(const struct plan_vm *vm, uint32_t link)
{
    return link == LINK_STORE ? vm->store : vm->lan;
}
static inline uint32_t plan_mtu(const struct plan_vm *vm, uint32_t link)
{
    return link == LINK_STORE ? PLAN_MTU_MAX : vm->mtu;
}
static inline bool plan_is_on(const struct plan_vm *vm, uint32_t lan)
{
    return vm->lan == lan || vm->store == lan;
}

/* The number of the VM, from 0: the last byte of its address. A volume is shelf.slot on its LAN
 * (ATA over Ethernet): this number plus 1, and the disk's. */
static inline uint32_t plan_index(const struct plan_vm *vm) { return vm->mac[5] - 1u; }

/* The address of VM `vm` (from 0) on LAN `lan`, 0: it is on none: one that is administered locally.
 */
static inline uint8_t plan_mac_byte(uint32_t vm, uint32_t lan, uint32_t i)
{
    const uint8_t mac[6] = {0x02, 0x68, 0x6c, 0x00, (uint8_t)lan, (uint8_t)(vm + 1)};
    return mac[i];
}

#endif
