/*
 * A polled driver for virtio 1.x devices on PCI bus 0 (virtio 1.1, 4.1),
 * whose registers may lie behind an I/O or a memory BAR. Just enough to use
 * a device, and to misuse it.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "pci.h"

enum virtio_type {
    VIRTIO_NET = 1,
    VIRTIO_BLK = 2,
    VIRTIO_CONSOLE = 3,
    VIRTIO_RNG = 4,
    VIRTIO_INPUT = 18
};
#define VIRTIO_FAILED    0x80u
#define VIRTIO_DRIVER_OK 4u
#define VIRTIO_QUEUE     64u /* entries of the rings below */

/* Common configuration, byte offsets (4.1.4.3). */
enum virtio_common {
    VC_FEATURE_SELECT = 0,
    VC_FEATURE = 4,
    VC_DRIVER_SELECT = 8,
    VC_DRIVER = 12,
    VC_STATUS = 20,
    VC_QUEUE_SELECT = 22,
    VC_QUEUE_SIZE = 24,
    VC_QUEUE_ENABLE = 28,
    VC_QUEUE_NOTIFY = 30,
    VC_QUEUE_DESC = 32,
    VC_QUEUE_AVAIL = 40,
    VC_QUEUE_USED = 48,
};

struct virtio_area {
    bool memory;   /* else ports */
    uint64_t base; /* address of the structure */
};

struct virtio_device {
    struct virtio_area common, notify;
    uint32_t multiplier; /* of notify offsets */
    uint32_t slot;
};

/* Split ring (2.6). */
struct virtio_desc {
    uint64_t address;
    uint32_t size;
    uint16_t flags, next;
};
#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

struct virtio_ring {
    _Alignas(4096) volatile struct virtio_desc desc[VIRTIO_QUEUE];
    _Alignas(4096) volatile struct {
        uint16_t flags, index, entry[VIRTIO_QUEUE];
    } avail;
    _Alignas(4096) volatile struct {
        uint16_t flags, index;
        struct {
            uint32_t id, size;
        } entry[VIRTIO_QUEUE];
    } used;
    uint16_t queue;
    uint16_t notify_offset;
};

/* The first device of that type on bus 0; false: there is none. */
bool virtio_find(enum virtio_type type, struct virtio_device *d);
/* size: 1, 2 or 4 bytes at a common-configuration offset. */
uint32_t virtio_read(const struct virtio_device *d, uint32_t offset, uint32_t size);
void virtio_write(const struct virtio_device *d, uint32_t offset, uint32_t size, uint32_t value);
void virtio_write64(const struct virtio_device *d, uint32_t offset, uint64_t value);
/* Reset, accept VERSION_1 alone, enable `queue` on the empty `ring`; false: the device refuses. */
bool virtio_start(const struct virtio_device *d, struct virtio_ring *ring, uint16_t queue);
/* Offer the chain that starts at descriptor `head`, and ring the bell. */
void virtio_offer(const struct virtio_device *d, struct virtio_ring *ring, uint16_t head);
void virtio_notify(const struct virtio_device *d, const struct virtio_ring *ring);
/* Wait until `count` chains in all came back since the start; false: too long. */
bool virtio_await(const struct virtio_ring *ring, uint16_t count);

#endif
