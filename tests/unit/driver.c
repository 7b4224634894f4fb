#include "driver.h"
#include <string.h>

struct driver_ring *ring(uint32_t q)
{
    return (struct driver_ring *)(void *)(fake.ram + 0x1000 * (q + 1));
}
uint64_t ring_gpa(uint32_t q, size_t offset) { return 0x1000ull * (q + 1) + offset; }

static struct vring_used *used(uint32_t q)
{
    return (struct vring_used *)(void *)ring(q)->used_space;
}

uint16_t used_idx(uint32_t q) { return used(q)->idx; }
struct vring_used_elem used_elem(uint32_t q, uint32_t i) { return used(q)->ring[i]; }
uint16_t *used_event(uint32_t q) { return &ring(q)->avail[QSIZE]; }
uint16_t *avail_event(uint32_t q) { return (uint16_t *)(void *)&used(q)->ring[QSIZE]; }

void driver_reset(uint32_t slot)
{
    virtio_out(slot, R_STATUS, 1, 0);
    memset(fake.ram, 0, FAKE_RAM);
}

void driver_features(uint32_t slot, uint64_t features)
{
    features |= VIRTIO_F_VERSION_1;
    virtio_out(slot, R_STATUS, 1, 3);
    for (uint32_t half = 0; half < 2; half++) {
        virtio_out(slot, 0x08, 4, half);
        virtio_out(slot, 0x0c, 4, (uint32_t)(features >> 32 * half));
    }
    virtio_out(slot, R_STATUS, 1, 0x0b);
}

static void out64(uint32_t slot, uint32_t offset, uint64_t value)
{
    virtio_out(slot, offset, 4, (uint32_t)value);
    virtio_out(slot, offset + 4, 4, (uint32_t)(value >> 32));
}

void driver_queue(uint32_t slot, uint32_t q, uint32_t size)
{
    virtio_out(slot, R_SELECT, 2, q);
    virtio_out(slot, R_SIZE, 2, size);
    virtio_out(slot, R_VECTOR, 2, 1 + q);
    out64(slot, R_DESC, ring_gpa(q, 0));
    out64(slot, R_AVAIL, ring_gpa(q, offsetof(struct driver_ring, avail_flags)));
    out64(slot, R_USED, ring_gpa(q, offsetof(struct driver_ring, used_space)));
}

void driver_start(uint32_t slot, uint64_t features)
{
    driver_reset(slot);
    driver_features(slot, features);
    virtio_out(slot, 0x10, 2, 0);
    for (uint32_t v = 0; v < VIRTIO_VECTORS; v++) {
        uint32_t entry[4] = {0xfee00000, 0, slot << 8 | v, 0};
        memcpy(fake.msix + PAGE_SIZE * slot + 16 * v, entry, sizeof entry);
    }
    for (uint32_t q = 0; q < VIRTIO_QUEUES && q < virtio_in(slot, 0x12, 2); q++) {
        driver_queue(slot, q, QSIZE);
        virtio_out(slot, R_ENABLE, 2, 1);
    }
    virtio_out(slot, R_STATUS, 1, S_READY);
}

void driver_desc(uint32_t q, uint32_t i, uint64_t address, uint32_t size, uint32_t flags,
                 uint32_t next)
{
    ring(q)->desc[i] = (struct vring_desc){address, size, (uint16_t)flags, (uint16_t)next};
}

void driver_offer(uint32_t q, uint32_t head)
{
    struct driver_ring *r = ring(q);
    r->avail[r->avail_idx % QSIZE] = (uint16_t)head;
    r->avail_idx++;
}

void driver_notify(uint32_t slot, uint32_t q) { virtio_out(slot, R_NOTIFY, 2, q); }
bool driver_broken(uint32_t slot) { return virtio_in(slot, R_STATUS, 1) & S_BROKEN; }
