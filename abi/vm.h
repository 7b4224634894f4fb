/*
 * What root and a VMM (and the LAN switch) share: the capability slots root
 * fills, the addresses it maps things at, the configuration page, and rings.
 */
#ifndef ABI_VM_H
#define ABI_VM_H

#include <abi/plan.h>
#include <abi/utcb.h>

/* ---- slots of a VMM's capability table, filled by root -------------------- */
enum vmm_slot {
    VMM_PD = 1,     /* its own PD: PD_CREATE | PD_TAKE                       */
    VMM_GUEST,      /* the guest PD: PD_GRANT                               */
    VMM_SM_ROOT,    /* SM_UP: tell root (state change, console output)      */
    VMM_SM_WORK,    /* SM_UP | SM_DOWN: the worker's bell: root and the LAN ring it */
    VMM_SM_LAN,     /* + enum plan_link: SM_UP: tell the LAN's switch, if there is one */
    VMM_SM_STORE,   /* which this is for volumes */
    VMM_SM_NAP,     /* SM_DOWN, count 0, nobody ups it: to sleep on         */
    VMM_DV = 8,     /* + device: DV_IRQ                                     */
    VMM_FAULT = 64, /* + core: root's portal for faults of its threads, on each core that it uses */
    VMM_HANDLER = 128, /* + vCPU: handler thread on that vCPU's core: EC_BIND  */
    VMM_VCPU = 192,    /* + vCPU: EC_RECALL | EC_SETUP                         */
    VMM_PCI = 256,     /* + core: portal of root for configuration writes, see below */
    VMM_FREE = 320,    /* from here on the VMM's own                           */
};
_Static_assert(VMM_SM_NAP < VMM_DV && VMM_DV + PLAN_DEVICES <= VMM_FAULT &&
                   VMM_FAULT + MAX_CORES <= VMM_HANDLER && VMM_HANDLER + PLAN_VCPUS <= VMM_VCPU &&
                   VMM_VCPU + PLAN_VCPUS <= VMM_PCI && VMM_PCI + MAX_CORES <= VMM_FREE,
               "each slot is one thing's");
/* The portals of vCPU i are in slots GUEST_EVENTS(i) + event of the guest PD. */
#define EVENT_STRIDE    16u
#define GUEST_EVENTS(i) (EVENT_STRIDE * ((i) + 1u))
_Static_assert(EVENT_COUNT <= EVENT_STRIDE, "the portals of a vCPU fit");
/* Slots that both tables must have for so many vCPUs. */
#define VM_SLOTS_OF(vcpus) (VMM_FREE + EVENT_STRIDE * (vcpus))
_Static_assert(VM_SLOTS_OF(PLAN_VCPUS) <= CAP_SLOTS << PD_TABLE_MAX &&
                   GUEST_EVENTS(PLAN_VCPUS) <= VM_SLOTS_OF(PLAN_VCPUS),
               "and those of all");

/* ---- addresses in a VMM's space ------------------------------------------- */
#define VMM_CONFIG   0x10000000ull                     /* struct vm_config, read-only             */
#define VMM_CONTROL  0x10010000ull                     /* struct vm_control, shared with root     */
#define VMM_UTCB     0x10200000ull                     /* the worker's UTCB                       */
#define VMM_HUTCB(i) (0x10201000ull + 0x1000ull * (i)) /* handler i's UTCB     */
#define VMM_STACKS   0x10280000ull /* worker's stack, then handlers'; VMM_STACK bytes each */
#define VMM_STACK    0x4000ull
#define VMM_STACK_TOP(i)                                                                           \
    (VMM_STACKS + VMM_STACK * ((i) + 1ull)) /* i = 0: worker, 1 + v: handler v */
#define VMM_FILES 0x4000000000ull           /* kernel, initrd and disks, at vm_config's addresses */
#define VMM_RAM   0x8000000000ull /* guest-physical 0, read-write: RAM as the guest has it */
#define VMM_MSIX                                                                                   \
    0x10400000ull /* VMM_MSIX_PAGES pages that the guest sees at GUEST_MSIX: RAM behind memory     \
                     BARs */
#define VMM_MSIX_PAGES 20u /* one per PCI slot, and one per device of the VM's own */
#define VMM_LANPORT                                                                                \
    0x10800000ull /* + link * LAN_PORT_STRIDE: LAN_PORT_BYTES, shared with the switch */
#define GUEST_MSIX 0xe0000000ull
/* RAM begins at 0. What would not end below GUEST_MSIX goes on at GUEST_HIGH, and its lower part
   ends at GUEST_LOW, so that both can have pages of 1 GiB. */
#define GUEST_LOW  0xc0000000ull
#define GUEST_HIGH 0x100000000ull
/* Bytes of `memory` that are below GUEST_HIGH; and where what is not below ends. */
static inline uint64_t guest_low(uint64_t memory)
{
    return memory <= GUEST_MSIX ? memory : GUEST_LOW;
}
static inline uint64_t guest_end(uint64_t memory)
{
    return GUEST_HIGH + memory - guest_low(memory);
}
/* The registers of an AMD chipset (FCH), which Linux touches when it sees the processor, without
   asking whether they are there: RAM that starts as zeros. */
#define GUEST_CHIPSET       0xfed80000ull
#define GUEST_CHIPSET_PAGES 2u
/* Devices of its own: device i's configuration page (PCIe ECAM, read-only; the guest's SR-IOV
   virtual functions have none), and the page of registers with its MSI-X table. */
#define VMM_ECAM(i)  (0x10420000ull + 0x1000ull * (i))
#define VMM_TABLE(i) (0x10430000ull + 0x1000ull * (i))
/* Memory BARs of devices are mapped in the guest from here up to GUEST_DEVICES_END, those of 64
   bits that are larger than GUEST_BAR_LOW from guest_end() on. But for the page with the MSI-X
   table: there the guest has page DEVICE_MSIX_PAGE(i) of VMM_MSIX, RAM that the VMM keeps the table
   in step with. */
#define GUEST_DEVICES     0xe1000000ull
#define GUEST_DEVICES_END 0xf0000000ull
#define GUEST_BAR_LOW     0x1000000ull /* bytes */
#define GUEST_BITS        46u          /* of an address that a BAR may have, at most */
/* Where they are on the guest's PCI bus 0, and which page of VMM_MSIX they have: the VMM's own have
 * the page of their slot. */
#define GUEST_DEVICE_SLOT   8u /* + device */
#define DEVICE_MSIX_PAGE(i) (VMM_MSIX_PAGES - 1 - (i))
_Static_assert(VMM_MSIX + VMM_MSIX_PAGES * 4096ull <= VMM_ECAM(0), "and they fit their place");

/* The machine's TPM, which one VM may have: the page of its locality 0, at the same address in the
   guest (TCG PC Client Platform TPM Profile 6.3); and how commands come to it, as ACPI's TPM2 table
   has it (start methods, TCG ACPI 8): by a FIFO, or by a buffer with a control area. */
#define TPM_PAGE    0xfed40000ul
#define TPM_FIFO    6u
#define TPM_CRB     7u
#define TPM_CONTROL 0xfed40040ul /* with TPM_CRB */

struct vm_file {
    uint64_t address, size; /* bytes; address in the VMM's space, page aligned, 0: none */
};

struct vm_bar {
    uint64_t address, size; /* guest-physical, bytes (0: none) */
    uint32_t flags,
        reserved; /* bits 3..0 as in the register; of a BAR of 64 bits the next is none */
};
/* A PCI function of the VM's own, as root found it. */
struct vm_device {
    uint16_t rid;   /* on the machine, and at once */
    uint16_t devfn; /* in the guest, on bus 0 */
    uint32_t id;    /* vendor | device << 16: a virtual function's own say nothing */
    struct vm_bar bar[6];
    uint16_t
        msix; /* offset of the capability, 0: none; only entries of the table's first page count */
    uint16_t msix_bar;
    uint32_t msix_offset; /* of the table in its BAR */
    uint16_t sriov;       /* offset of the extended capability, 0: none */
    uint16_t vf_offset, vf_stride, vf_total;
    uint32_t vf_bar_size[6]; /* bytes of one virtual function's; 0: none */
};

/* A call to VMM_PCI: word 0 device, 1 offset, 2 size (1, 2, 4), 3 value. Root writes what it lets
 * pass, no answer. */

/* Registers with which a guest starts; long_mode 0: 32-bit protected mode without paging. `gdt`:
 * where its table is. */
struct vm_boot {
    uint64_t long_mode, rip, rax, rbx, rsi, cr3, gdt;
};

struct vm_config {
    struct plan_vm plan;
    uint32_t load; /* 1: fill the RAM of a sealed VM, set vm_control.boot and no more; else such a
                      VM's VMM has no RAM */
    struct vm_boot boot;     /* of a sealed VM, from its loader */
    uint32_t tpm, reserved;  /* TPM_FIFO, TPM_CRB: it has the machine's TPM */
    uint32_t iommu, devices; /* enum iommu_kind */
    struct vm_device device[PLAN_DEVICES];
    uint32_t apic_id[PLAN_VCPUS];          /* MODE_DEDICATED: of each vCPU's core */
    uint64_t tsc_hz, apic_per_tsc;         /* the latter as in kernel_stat */
    uint64_t worker_budget, worker_period; /* TSC ticks: what the worker has of its core */
    uint64_t wall_ns;                      /* UTC, ns since 1970, at TSC = wall_tsc */
    uint64_t wall_tsc;
    struct vm_file kernel, initrd,
        disk[PLAN_DISKS]; /* volatile disks: writable, already a private copy */
};

/* ---- ports of the flat PC that root knows, too: what a disengaged guest writes there is no fault
 * ------- */
enum {
    PORT_SLEEP = 0x600, /* ACPI 4.8.3.7: SLEEP_S5 powers off */
    PORT_STATUS,
    PORT_RESET, /* RESET_NOW resets */
    PORT_MODE =
        0x610, /* read: 1: dedicated, and its VMM is there; 0: shared. Write 1: the VMM may leave */
};
/* eax: enum plan_mode, and the bytes "HairlineHair" in ebx, ecx, edx: the guest has a VMM, or it is
 * a shared one. */
#define CPUID_HAIRLINE 0x4000001fu
#define SLEEP_S5       0x34u
#define RESET_NOW      6u

/* ---- rings: one writer, one reader, either may be hostile ------------------ */
#define CONSOLE_OUT    16384u /* powers of two */
#define CONSOLE_IN     1024u
#define CONTROL_ASK    256u  /* of the control line: requests, */
#define CONTROL_ANSWER 4096u /* and root's answers and events */

enum vm_state { VM_STARTING, VM_RUNNING, VM_OFF, VM_WAITING /* as the first; for its volumes */ };
enum vm_reason {
    REASON_NONE,
    REASON_POWEROFF,  /* ACPI S5                                             */
    REASON_EXIT_PORT, /* value = what was written                            */
    REASON_REBOOT,    /* reset register, keyboard-less reboot                */
    REASON_TRIPLE,    /* triple fault                                        */
    REASON_MEMORY,    /* touched an address that is not there; value = GPA   */
    REASON_INVALID,   /* impossible processor state                          */
    REASON_OPCODE,    /* an instruction the platform does not have           */
    REASON_LOADER,    /* the kernel image could not be loaded                */
    REASON_VMM,       /* its VMM died (set by root); value = vector          */
    REASON_STOPPED,   /* by the operator (set by root)                       */
    REASON_PORT,      /* disengaged: touched a port; value = its number           */
    REASON_MSR,       /* disengaged: touched an MSR; value = its number                          */
    REASON_FAULT,     /* disengaged: #MC, impossible exit; value = the processor's code */
    REASON_COUNT
};

struct vm_control {
    /* written by the VMM, then VMM_SM_ROOT is upped */
    uint32_t state, reason;
    uint64_t value, rip, cr3;
    uint64_t unclaimed_ports, unclaimed_msrs; /* counters */
    struct vm_boot boot;                      /* by a loader */
    uint32_t leave;                           /* 1: the guest asks that its VMM leave (PORT_MODE) */
    char message[96];                         /* one line for the operator; may be empty */
    volatile uint32_t presses;                /* by root: of the power button, free-running */
    /* free-running indices; used bytes = head - tail; bytes at index % size */
    volatile uint32_t out_head; /* VMM   */
    volatile uint32_t out_tail; /* root  */
    volatile uint32_t in_head;  /* root  */
    volatile uint32_t in_tail;  /* VMM   */
    char out[CONSOLE_OUT];
    char in[CONSOLE_IN];
    /* The control line (docs/abi.md section 14), if the plan gives the VM one. */
    volatile uint32_t ask_head;    /* VMM  */
    volatile uint32_t ask_tail;    /* root */
    volatile uint32_t answer_head; /* root */
    volatile uint32_t answer_tail; /* VMM  */
    char ask[CONTROL_ASK];
    char answer[CONTROL_ANSWER];
};
#define VM_CONTROL_PAGES 6u
_Static_assert(sizeof(struct vm_control) <= VM_CONTROL_PAGES * 4096u, "fits its pages");

/* ---- LAN: two rings of frames for each port, laid out by the LAN's MTU (lan/lan_ring.h)
 * -------------------- */
#define LAN_SLOTS 64u /* of a ring, power of two                                         */
#define LAN_FRAME(mtu)                                                                             \
    ((mtu) + 36u)            /* largest frame, bytes: the MTU, an Ethernet header, tags, spare  */
#define LAN_FRAME_MIN 14u    /* an Ethernet header, bytes */
#define LAN_FRAME_MAX 65664u /* and of one that its receiver, or the switch, cuts in segments */
#define LAN_SLOT(mtu)                                                                              \
    ((LAN_FRAME(mtu) + 23u) & ~7u) /* bytes from one struct lan_frame to the next     */

/* What a sender left to the network card (virtio 1.2, 5.1.6, struct virtio_net_hdr). */
struct lan_offload {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
    uint16_t buffers; /* of no meaning on a ring */
};
_Static_assert(sizeof(struct lan_offload) == 12, "as the driver has it");

/* A frame lies in one piece, whatever its size. It takes as many slots as its bytes need; behind
   the last slot there is room for one that begins there. */
struct lan_frame {
    uint32_t size; /* bytes of `data`: 14..LAN_FRAME; with `gso_type` up to LAN_FRAME_MAX */
    struct lan_offload offload;
    uint8_t data[];
};
_Static_assert(sizeof(struct lan_frame) == 16, "its data is aligned");
struct lan_ring {
    volatile uint32_t head;   /* writer */
    volatile uint32_t waits;  /* writer: 1: it found no room, and wants its bell rung */
    volatile uint64_t unsent; /* writer: frames that it could not put here: of an impossible size,
                                 or the ring was full */
    uint32_t pad1[12];
    volatile uint32_t tail;  /* reader */
    volatile uint32_t takes; /* reader: the features that its driver accepted (virtio 1.2, 5.1.3) */
    volatile uint64_t unread; /* reader: frames that it took and threw away: of an impossible size
                                 or sender, or no room for it */
    uint32_t pad3[12];
    uint8_t slots[]; /* LAN_SLOTS of LAN_SLOT(mtu) bytes, and LAN_FRAME_MAX bytes */
};
#define LAN_RING_BYTES(mtu)                                                                        \
    ((uint64_t)sizeof(struct lan_ring) + LAN_SLOTS * LAN_SLOT(mtu) + LAN_FRAME_MAX)
/* A port: the ring to the switch, and behind it the one to the VM. */
#define LAN_PORT_BYTES(mtu) (2 * LAN_RING_BYTES(mtu))

/* The switch's own domain. */
enum lan_slot {
    LAN_SM = 1,        /* SM_DOWN: its bell                     */
    LAN_SM_NAP,        /* as VMM_SM_NAP                         */
    LAN_FAULT = 64,    /* as VMM_FAULT                          */
    LAN_SM_PORT = 128, /* + port: SM_UP, that VMM's bell        */
};
_Static_assert(LAN_SM_NAP < LAN_FAULT && LAN_FAULT + MAX_CORES <= LAN_SM_PORT &&
                   LAN_SM_PORT + PLAN_VMS <= CAP_SLOTS,
               "each slot is one thing's");
#define LAN_CONFIG      0x10000000ull /* struct lan_config, read-only */
#define LAN_UTCB        0x10001000ull
#define LAN_STACK_TOP   0x10010000ull /* one VMM_STACK below */
#define LAN_PORTS       0x10200000ull /* + port * LAN_PORT_STRIDE: LAN_PORT_BYTES */
#define LAN_PORT_STRIDE 0x200000ull
_Static_assert(LAN_PORT_BYTES(PLAN_MTU_MAX) <= LAN_PORT_STRIDE, "fits its place");
struct lan_config {
    uint32_t ports, mtu;
    uint32_t hub; /* a port + 1: all others hear that one only, and it alone hears them; 0: none */
    uint32_t reserved;
    uint8_t mac[PLAN_VMS][6];        /* the MAC each port must send from */
    uint64_t tsc_hz, budget, period; /* TSC ticks: what the switch has of its core */
};

#endif
