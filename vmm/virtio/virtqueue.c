/* Split virtqueues (virtio 1.2, 2.7): the device's side. */
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 }; /* 2.7.5 */
enum { AVAIL_FLAGS, AVAIL_IDX, AVAIL_RING };               /* 16-bit words, 2.7.6 */
enum { AVAIL_NO_INTERRUPT = 1 };

static void *ring_memory(uint64_t gpa, uint64_t size, uint64_t align)
{
    return gpa % align ? NULL : guest_memory(gpa, size);
}

bool virtqueue_enable(struct virtqueue *q, bool event_idx)
{
    const struct virtqueue_regs *r = &q->regs;
    if (r->size == 0 || r->size > VIRTQUEUE_MAX || (r->size & (r->size - 1)))
        return false;
    q->desc = ring_memory(r->desc, sizeof(struct vring_desc) * r->size, 16);
    q->avail = ring_memory(r->avail, 6 + 2ull * r->size, 2);
    q->used = ring_memory(r->used, 6 + sizeof(struct vring_used_elem) * r->size, 4);
    q->index = q->shown = q->signaled = 0;
    q->event_idx = event_idx;
    return q->desc && q->avail && q->used;
}

static uint16_t avail_word(const struct virtqueue *q, uint32_t word)
{
    return __atomic_load_n(&q->avail[word], __ATOMIC_ACQUIRE);
}

/* Follow the chain from `head`; each descriptor is copied once. */
static enum vq_result chain_load(const struct virtqueue *q, uint16_t head, struct chain *c)
{
    struct vring_desc d = {.flags = DESC_NEXT, .next = head};
    c->head = head;
    while (d.flags & DESC_NEXT) {
        if (d.next >= q->regs.size || c->parts == q->regs.size)
            return VQ_BROKEN;
        d = q->desc[d.next];
        uint8_t *data = guest_memory(d.address, d.size);
        bool write = d.flags & DESC_WRITE;
        if (!data || d.flags & DESC_INDIRECT || (!write && c->parts > c->readable))
            return VQ_BROKEN;
        c->part[c->parts].data = data;
        c->part[c->parts++].size = d.size;
        c->readable += !write;
        *(write ? &c->write_size : &c->read_size) += d.size;
    }
    return VQ_OK;
}

/* Ask for a notification at the chain `ahead` (2.7.10); without EVENT_IDX one comes for each.

   Lost wake-up: the driver can add a chain after the ring was seen empty and before avail_event
   says that it is wanted; it then does not notify. So the caller looks at the ring once more, and
   the fence keeps that look behind the write. */
static void virtqueue_arm(const struct virtqueue *q, uint32_t ahead)
{
    if (q->event_idx)
        *(volatile uint16_t *)&q->used->ring[q->regs.size] = (uint16_t)(q->index + ahead);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

enum vq_result virtqueue_peek(const struct virtqueue *q, uint32_t ahead, struct chain *c)
{
    uint32_t ready = (uint16_t)(avail_word(q, AVAIL_IDX) - q->index);
    c->parts = c->readable = 0;
    c->read_size = c->write_size = 0;
    if (ready > q->regs.size)
        return VQ_BROKEN;
    if (ahead >= ready)
        return VQ_WAIT;
    return chain_load(q, avail_word(q, AVAIL_RING + (q->index + ahead) % q->regs.size), c);
}

enum vq_result virtqueue_next(struct virtqueue *q, uint32_t ahead, struct chain *c)
{
    enum vq_result r = virtqueue_peek(q, ahead, c);
    if (r == VQ_WAIT) {
        virtqueue_arm(q, ahead);
        r = virtqueue_peek(q, ahead, c);
    }
    return r;
}

void virtqueue_done(struct virtqueue *q, uint16_t head, uint32_t written, bool tell)
{
    volatile struct vring_used_elem *e = &q->used->ring[q->index % q->regs.size];
    e->id = head;
    e->size = written;
    q->index++;
    if (tell)
        q->shown = q->index;
    __atomic_store_n(&q->used->idx, q->shown, __ATOMIC_RELEASE);
}

bool virtqueue_must_signal(struct virtqueue *q)
{
    uint16_t count = (uint16_t)(q->shown - q->signaled);
    if (count == 0)
        return false;
    /* Lost wake-up: used.idx is written before used_event is read. The driver does the reverse: one
       of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t event = avail_word(q, AVAIL_RING + q->regs.size);
    q->signaled = q->shown;
    if (q->event_idx)
        return (uint16_t)(q->shown - event - 1) < count;
    return !(avail_word(q, AVAIL_FLAGS) & AVAIL_NO_INTERRUPT);
}

/* Copy chain bytes of parts [first, end) from `offset` on: to `to`, or from `from` where `to` is
 * NULL. */
static uint64_t chain_copy(const struct chain *c, uint32_t first, uint32_t end, uint64_t offset,
                           uint8_t *to, const uint8_t *from, uint64_t size)
{
    uint64_t done = 0;
    for (uint32_t i = first; i < end && done < size; i++) {
        if (offset >= c->part[i].size) {
            offset -= c->part[i].size;
            continue;
        }
        uint64_t n =
            c->part[i].size - offset < size - done ? c->part[i].size - offset : size - done;
        uint8_t *guest = c->part[i].data + offset;
        memcpy(to ? to + done : guest, to ? guest : from + done, n);
        done += n;
        offset = 0;
    }
    return done;
}

uint64_t virtqueue_read(const struct chain *c, uint64_t offset, void *buffer, uint64_t size)
{
    return chain_copy(c, 0, c->readable, offset, buffer, NULL, size);
}

uint64_t virtqueue_write(const struct chain *c, uint64_t offset, const void *buffer, uint64_t size)
{
    return chain_copy(c, c->readable, c->parts, offset, NULL, buffer, size);
}
