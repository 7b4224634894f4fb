/* A guest's virtio driver, as small as the tests need it; it can also do everything wrong. */
#ifndef TESTS_DRIVER_H
#define TESTS_DRIVER_H

#include <vmm/virtio/virtio.h>

enum { CONSOLE = 1, NET, DISK, DISK_RO, BUTTON = SLOT_INPUT, RNG = SLOT_RNG }; /* slots */
enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 }; /* descriptor flags */
enum {
    R_STATUS = 0x14,
    R_SELECT = 0x16,
    R_SIZE = 0x18,
    R_VECTOR = 0x1a,
    R_ENABLE = 0x1c,
    R_DESC = 0x20,
    R_AVAIL = 0x28,
    R_USED = 0x30
};
enum { R_NOTIFY = 0x40, R_ISR = 0x44, R_CONFIG = 0x80 };
enum { S_READY = 0x0f, S_BROKEN = 0x40 };

#define QSIZE 8u /* entries of each queue, unless a test says otherwise */
/* Guest memory that no ring uses, i = 0..7. */
#define BUFFER(i)              (0x8000u + 0x1000u * (i))
#define CONFIG_MESSAGE(slot)   ((slot) << 8)
#define QUEUE_MESSAGE(slot, q) ((slot) << 8 | (1 + (q)))

/* The rings of queue `q`, in guest memory. */
struct driver_ring {
    struct vring_desc desc[VIRTQUEUE_MAX];
    uint16_t avail_flags, avail_idx, avail[VIRTQUEUE_MAX], used_event_max;
    uint16_t pad;
    struct vring_used_elem used_space[VIRTQUEUE_MAX + 2];
};
struct driver_ring *ring(uint32_t q);
uint64_t ring_gpa(uint32_t q, size_t offset);
uint16_t used_idx(uint32_t q);
struct vring_used_elem used_elem(uint32_t q, uint32_t i);
uint16_t *used_event(uint32_t q);  /* for a queue of QSIZE entries */
uint16_t *avail_event(uint32_t q); /* likewise                     */

void driver_reset(uint32_t slot);
/* Negotiate `features` | VERSION_1; write the registers of one queue; both queues with QSIZE and
 * DRIVER_OK. */
void driver_features(uint32_t slot, uint64_t features);
void driver_queue(uint32_t slot, uint32_t q, uint32_t size);
void driver_start(uint32_t slot, uint64_t features);

void driver_desc(uint32_t q, uint32_t i, uint64_t address, uint32_t size, uint32_t flags,
                 uint32_t next);
void driver_offer(uint32_t q, uint32_t head); /* make a chain available */
void driver_notify(uint32_t slot, uint32_t q);
bool driver_broken(uint32_t slot);

#endif
