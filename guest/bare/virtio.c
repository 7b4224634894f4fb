/* The polled virtio driver. */
#include "virtio.h"

#define CAP_COMMON        1u
#define CAP_NOTIFY        2u
#define VIRTIO_ID         0x10401af4u     /* device 1040h + type, vendor 1AF4h */
#define FEATURE_VERSION_1 1u              /* bit 32 */
#define PATIENCE          200000000000ull /* TSC ticks */

static struct virtio_area bar_area(uint32_t slot, uint32_t bar, uint32_t offset)
{
    struct virtio_area area;
    area.base = pci_bar(slot, bar, &area.memory) + offset;
    return area;
}

/* Vendor capability: id, next, length, type; bar; offset; length; notify's multiplier
 * (virtio 4.1.4). */
static void read_capability(struct virtio_device *d, uint32_t cap)
{
    uint32_t type = pci_read(d->slot, cap) >> 24;
    struct virtio_area area =
        bar_area(d->slot, pci_read(d->slot, cap + 4) & 0xff, pci_read(d->slot, cap + 8));
    if (type == CAP_COMMON)
        d->common = area;
    if (type != CAP_NOTIFY)
        return;
    d->notify = area;
    d->multiplier = pci_read(d->slot, cap + 16);
}

static void read_capabilities(struct virtio_device *d)
{
    uint32_t cap = pci_capability(d->slot, CAP_VENDOR, 0);
    for (uint32_t i = 0; cap && i < PCI_CHAINED; i++) {
        read_capability(d, cap);
        cap = pci_capability(d->slot, CAP_VENDOR, cap);
    }
}

bool virtio_find(enum virtio_type type, struct virtio_device *d)
{
    for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
        if (pci_read(slot, 0) != VIRTIO_ID + ((uint32_t)type << 16))
            continue;
        *d = (struct virtio_device){.slot = slot};
        pci_write(slot, PCI_COMMAND, 7);
        read_capabilities(d);
        return d->common.base && d->notify.base;
    }
    return false;
}

static uint32_t memory_read(uint64_t at, uint32_t size)
{
    if (size == 1)
        return *(volatile uint8_t *)at;
    if (size == 2)
        return *(volatile uint16_t *)at;
    return *(volatile uint32_t *)at;
}

static uint32_t port_read(uint16_t port, uint32_t size)
{
    if (size == 1)
        return in8(port);
    if (size == 2)
        return in16(port);
    return in32(port);
}

static uint32_t area_read(const struct virtio_area *a, uint32_t offset, uint32_t size)
{
    uint64_t at = a->base + offset;
    return a->memory ? memory_read(at, size) : port_read((uint16_t)at, size);
}

static void port_write(uint16_t port, uint32_t size, uint32_t value)
{
    if (size == 1)
        out8(port, (uint8_t)value);
    else if (size == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
}

static void area_write(const struct virtio_area *a, uint32_t offset, uint32_t size, uint32_t value)
{
    uint64_t at = a->base + offset;
    if (!a->memory)
        port_write((uint16_t)at, size, value);
    else if (size == 1)
        *(volatile uint8_t *)at = (uint8_t)value;
    else if (size == 2)
        *(volatile uint16_t *)at = (uint16_t)value;
    else
        *(volatile uint32_t *)at = value;
}

uint32_t virtio_read(const struct virtio_device *d, uint32_t offset, uint32_t size)
{
    return area_read(&d->common, offset, size);
}

void virtio_write(const struct virtio_device *d, uint32_t offset, uint32_t size, uint32_t value)
{
    area_write(&d->common, offset, size, value);
}

void virtio_write64(const struct virtio_device *d, uint32_t offset, uint64_t value)
{
    virtio_write(d, offset, 4, (uint32_t)value);
    virtio_write(d, offset + 4, 4, (uint32_t)(value >> 32));
}

static bool negotiate(const struct virtio_device *d)
{
    virtio_write(d, VC_STATUS, 1, 0);
    for (uint64_t end = rdtsc() + PATIENCE; virtio_read(d, VC_STATUS, 1) && rdtsc() < end;)
        ;
    virtio_write(d, VC_STATUS, 1, 1 | 2); /* ACKNOWLEDGE, DRIVER */
    virtio_write(d, VC_DRIVER_SELECT, 4, 0);
    virtio_write(d, VC_DRIVER, 4, 0);
    virtio_write(d, VC_DRIVER_SELECT, 4, 1);
    virtio_write(d, VC_DRIVER, 4, FEATURE_VERSION_1);
    virtio_write(d, VC_STATUS, 1, 1 | 2 | 8); /* FEATURES_OK */
    return virtio_read(d, VC_STATUS, 1) & 8;
}

bool virtio_start(const struct virtio_device *d, struct virtio_ring *ring, uint16_t queue)
{
    if (!negotiate(d))
        return false;
    ring->queue = queue;
    ring->avail.flags = 1; /* no interrupts: polled */
    ring->avail.index = ring->used.index = 0;
    virtio_write(d, VC_QUEUE_SELECT, 2, queue);
    if (virtio_read(d, VC_QUEUE_SIZE, 2) < VIRTIO_QUEUE)
        return false;
    virtio_write(d, VC_QUEUE_SIZE, 2, VIRTIO_QUEUE);
    virtio_write64(d, VC_QUEUE_DESC, (uintptr_t)ring->desc);
    virtio_write64(d, VC_QUEUE_AVAIL, (uintptr_t)&ring->avail);
    virtio_write64(d, VC_QUEUE_USED, (uintptr_t)&ring->used);
    virtio_write(d, VC_QUEUE_ENABLE, 2, 1);
    ring->notify_offset = (uint16_t)virtio_read(d, VC_QUEUE_NOTIFY, 2);
    virtio_write(d, VC_STATUS, 1, 1 | 2 | 8 | VIRTIO_DRIVER_OK);
    return !(virtio_read(d, VC_STATUS, 1) & VIRTIO_FAILED);
}

void virtio_notify(const struct virtio_device *d, const struct virtio_ring *ring)
{
    area_write(&d->notify, ring->notify_offset * d->multiplier, 2, ring->queue);
}

void virtio_offer(const struct virtio_device *d, struct virtio_ring *ring, uint16_t head)
{
    ring->avail.entry[ring->avail.index % VIRTIO_QUEUE] = head;
    barrier();
    ring->avail.index++;
    barrier();
    virtio_notify(d, ring);
}

bool virtio_await(const struct virtio_ring *ring, uint16_t count)
{
    for (uint64_t end = rdtsc() + PATIENCE; rdtsc() < end;)
        if ((uint16_t)(ring->used.index - count) < 0x8000)
            return true;
    return false;
}
