/*
 * Virtio 1.2 devices, as their files share them: split virtqueues, chains of
 * guest memory, and one table per kind of device. Each device is under a lock of
 * its own, which a vCPU's handler takes to touch its registers and the worker to
 * serve its queues; what is static in virtio.c is changed by atomic operations.
 *
 * The guest may change its rings and buffers at any time: every index,
 * descriptor and header is copied once, then checked, then used. A device that
 * finds its rings impossible breaks itself (DEVICE_NEEDS_RESET) and touches no
 * ring again before the driver resets it.
 */
#ifndef VMM_VIRTIO_H
#define VMM_VIRTIO_H

#include <vmm/lock.h>

#define VIRTQUEUE_MAX    128u /* entries of a ring, power of two               */
#define VIRTIO_QUEUES    2u   /* of a device, at most                          */
#define VIRTIO_VECTORS   4u   /* of a device's MSI-X table                     */
#define VIRTIO_CONFIG    32u  /* bytes of device-specific configuration        */
#define VIRTIO_NO_VECTOR 0xffffu

#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)

enum vq_result {
    VQ_OK,     /* a chain was found, or served                                */
    VQ_JOINED, /* served, and the driver is to have it together with the next */
    VQ_PART,   /* a part of it was served: serve it again                     */
    VQ_WAIT,   /* none there, or the device cannot serve it now: it stays     */
    VQ_BROKEN, /* the driver broke the rules of the ring                      */
};

struct vring_desc {
    uint64_t address; /* guest-physical */
    uint32_t size;    /* bytes */
    uint16_t flags, next;
};

struct vring_used_elem {
    uint32_t id, size;
};

struct vring_used {
    uint16_t flags, idx;
    struct vring_used_elem ring[]; /* then le16 avail_event */
};

/* The queue part of the common configuration (virtio 1.2, 4.1.4.3), offset 18h. */
struct virtqueue_regs {
    uint16_t size, vector, enable, notify_off;
    uint64_t desc, avail, used; /* guest-physical */
};
_Static_assert(sizeof(struct virtqueue_regs) == 0x20, "as the driver sees it");

/* Chains are served in order and at once, so one index counts both rings. */
struct virtqueue {
    struct virtqueue_regs regs; /* fixed once `enable` is set */
    const volatile struct vring_desc *desc;
    volatile uint16_t *avail; /* flags, idx, ring[size], used_event (2.7.6)  */
    volatile struct vring_used *used;
    uint16_t index;    /* chains served so far, free-running                 */
    uint16_t shown;    /* of them the driver sees                            */
    uint16_t signaled; /* `shown` when the driver was last told              */
    bool event_idx;
};

/* One request: the parts the device reads, then those it writes. */
struct chain {
    uint16_t head;
    uint32_t parts, readable;       /* parts [0, readable) are to be read           */
    uint64_t read_size, write_size; /* bytes in all */
    struct {
        uint8_t *data;
        uint32_t size;
    } part[VIRTQUEUE_MAX];
};

/* ---- virtqueue.c ------------------------------------------------------------ */
/* Take the rings that `regs` names into use. False: a size or an address is impossible. */
bool virtqueue_enable(struct virtqueue *q, bool event_idx);
/* Copy the descriptors of the chain `ahead` behind the next one into `*c`, without taking it.
 * VQ_OK; VQ_WAIT: it is not there, and the driver notifies of it; VQ_BROKEN: impossible index or
 * descriptor. */
enum vq_result virtqueue_next(struct virtqueue *q, uint32_t ahead, struct chain *c);
/* Likewise, but the driver need not notify. What fails leaves a chain of fewer parts. */
enum vq_result virtqueue_peek(const struct virtqueue *q, uint32_t ahead, struct chain *c);
/* Return chain `head`, into which `written` bytes were written, to the driver, if `tell` with all
 * before it that it has not been told of; the next one's turn. */
void virtqueue_done(struct virtqueue *q, uint16_t head, uint32_t written, bool tell);
/* Does the driver want an interrupt for the chains returned since the last call (2.7.7)? */
bool virtqueue_must_signal(struct virtqueue *q);

/* Copy between `buffer` and the readable or the writable bytes of a chain from byte `offset` on;
   both return the bytes copied, fewer than `size` where the chain ends. */
uint64_t virtqueue_read(const struct chain *c, uint64_t offset, void *buffer, uint64_t size);
uint64_t virtqueue_write(const struct chain *c, uint64_t offset, const void *buffer, uint64_t size);

/* ---- virtio.c --------------------------------------------------------------- */
struct virtio_device;

struct virtio_kind {
    uint16_t id;        /* virtio device ID (section 5)                     */
    uint16_t queues;    /* 1..VIRTIO_QUEUES                                 */
    uint16_t pci_class; /* base class and subclass */
    uint64_t features;  /* beside VERSION_1 and EVENT_IDX                   */
    /* What was begun and is not done is given up: the driver or the device broke off. May be NULL.
     */
    void (*forget)(struct virtio_device *d);
    /* The driver wrote `value` to byte `offset` (0..VIRTIO_CONFIG - 1) of its configuration. NULL:
     * which it only reads. */
    void (*configure)(struct virtio_device *d, uint32_t offset, uint8_t value);
    /* Has nothing come for queue 0, so that the worker need not look at its chains? Without the
     * lock. NULL: it looks. */
    bool (*idle)(const struct virtio_device *d);
    /* Serve one chain of queue `queue`, or a part that takes some 10 microseconds; VQ_OK: done,
     * `*written` bytes (0 before) were written to it. */
    enum vq_result (*serve)(struct virtio_device *d, uint32_t queue, const struct chain *c,
                            uint32_t *written);
};

/* The device part of the common configuration (virtio 1.2, 4.1.4.3), offset 0. */
struct virtio_regs {
    uint32_t device_select, device_feature, driver_select, driver_feature;
    uint16_t config_vector, queues;
    uint8_t status, generation;
    uint16_t queue_select;
};
_Static_assert(sizeof(struct virtio_regs) == 0x18, "as the driver sees it");

struct virtio_device {
    const struct virtio_kind *kind; /* NULL: no device in this slot          */
    uint32_t slot;
    struct lock lock;           /* of all below */
    uint64_t offered, accepted; /* features */
    struct virtio_regs regs;
    uint8_t isr;
    uint32_t pending; /* MSI-X vectors that wait for their mask to open      */
    struct virtqueue queue[VIRTIO_QUEUES];
    uint8_t config[VIRTIO_CONFIG];
    /* the kinds' own: */
    const struct vm_file *disk; /* block: its backing bytes                  */
    uint64_t progress;          /* block, console: bytes of the first chain already moved;
                                   network: bytes of the frame in front that are received;
                                   input: events of a press already told */
    uint32_t link;              /* network: enum plan_link */
    uint32_t frame;             /* network: bytes of the frame in front, with its header */
};

/* Put a device into a slot. `features` are offered beside the kind's own; the caller then fills in
   `config` and what its kind needs. */
struct virtio_device *virtio_add(uint32_t slot, const struct virtio_kind *kind, uint64_t features);

/* ---- virtio_pci.c ----------------------------------------------------------- */
/* Where the structures are: in BAR0, and in BAR1, behind the MSI-X table, the pending bit array. */
enum { BAR_COMMON = 0, BAR_QUEUE = 0x18, BAR_NOTIFY = 0x40, BAR_ISR = 0x44, BAR_DEVICE = 0x80 };
#define BAR_PENDING 0x800u
/* Put a device of that kind on the bus. */
void virtio_pci_add(uint32_t slot, const struct virtio_kind *kind);

/* ---- the kinds; each adds its devices of the plan ---------------------------- */
void virtio_console_init(uint32_t slot);
void virtio_control_init(uint32_t slot);
void virtio_net_init(uint32_t slot, uint32_t link);
void virtio_blk_init(uint32_t slot); /* the first disk's; one slot each */
void virtio_input_init(uint32_t slot);
void virtio_rng_init(uint32_t slot); /* none where the processor has no random words */

#endif
