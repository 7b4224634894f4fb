/*
 * Virtio over PCI (virtio 1.2, 4.1) without a register in memory: all four
 * structures are in an I/O BAR, and the MSI-X table is a page of plain RAM that
 * the guest writes without exits and we read when there is something to say.
 */
#include <lib/hw/msix.h>
#include <lib/string.h>
#include <vmm/virtio/aoe.h>

enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };
enum { FEATURES_OK = 8, DRIVER_OK = 4, NEEDS_RESET = 0x40 }; /* 2.1 */

#define QUEUES (PCI_SLOTS * VIRTIO_QUEUES)
_Static_assert(QUEUES == 32, "bits of a word");
#define RUN_MAX  64u /* chains served in one go */
#define RUN_STEP 16  /* 1/2^16 of a second: half a step of the worker's (lib/pace.h) */

static struct virtio_device devices[PCI_SLOTS];
static uint32_t waiting; /* bits of the slots with a pending vector; atomic */
static uint32_t stalled; /* bits of the queues, slot by slot, with chains that wait; atomic */
static bool called;      /* the worker's bell was rung since it began its last round; atomic */
static bool watching;    /* the worker looks again soon, unasked; atomic */

static void call_worker(void)
{
    if (!__atomic_exchange_n(&called, true, __ATOMIC_SEQ_CST))
        bell_ring(VMM_SM_WORK);
}

struct lock *virtio_lock(uint32_t slot) { return &devices[slot % PCI_SLOTS].lock; }

static struct virtio_device *device_at(uint32_t slot)
{
    return slot < PCI_SLOTS && devices[slot].kind ? &devices[slot] : NULL;
}

/* ---- interrupts --------------------------------------------------------------- */

/* The MSI-X table in the page where the guest has put BAR1; NULL: no page of GUEST_MSIX is there.
 */
static volatile struct msix_entry *msix_table(uint32_t slot)
{
    uint32_t offset = pci_memory(slot) - (uint32_t)GUEST_MSIX;
    return offset < VMM_MSIX_PAGES * PAGE_SIZE ? (volatile struct msix_entry *)(VMM_MSIX + offset)
                                               : NULL;
}

/* Copy an entry. False: it is masked, or another vCPU is rewriting it: a driver masks it before
 * (PCI 3.0 6.8.2), but need not. */
static bool msix_read(volatile const struct msix_entry *e, struct msix_entry *copy)
{
    *copy = *e;
    return !((copy->control | e->control) & MSIX_ENTRY_MASKED) && e->address == copy->address &&
           e->data == copy->data;
}

/* Send the pending messages whose entries are not masked; show the rest in the pending bit array.
 * Under the device's lock. */
static void msix_send(struct virtio_device *d)
{
    volatile struct msix_entry *table = msix_table(d->slot);
    struct msix_entry entry;
    uint32_t open = table && !pci_msix_masked(d->slot) ? d->pending : 0;
    for (; open; open &= open - 1) {
        uint32_t v = (uint32_t)__builtin_ctz(open);
        if (!msix_read(&table[v], &entry))
            continue;
        d->pending &= ~(1u << v);
        apic_send_msi(entry.address, entry.data, d->lock.holder);
    }
    if (table)
        table[BAR_PENDING / sizeof *table].address = d->pending;
    if (d->pending)
        __atomic_fetch_or(&waiting, 1u << d->slot, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&waiting, ~(1u << d->slot), __ATOMIC_SEQ_CST);
}

static void virtio_signal(struct virtio_device *d, uint16_t vector, uint8_t isr)
{
    if (!pci_msix_enabled(d->slot)) {
        d->isr |= isr; /* for drivers that poll; INTx does not exist here */
        return;
    }
    if (vector < VIRTIO_VECTORS) {
        d->pending |= 1u << vector;
        msix_send(d);
        /* Lost wake-up: the guest unmasks an entry by a plain write, which does not exit. The
           worker looks again until no message is pending (WORK_LATER), and so does each access to a
           device. */
        if (d->pending)
            call_worker();
    }
}

/* A device whose lock is taken is left to the worker, which looks again. */
void virtio_poll(uint32_t self)
{
    for (uint32_t slots = __atomic_load_n(&waiting, __ATOMIC_RELAXED); slots; slots &= slots - 1) {
        struct virtio_device *d = &devices[__builtin_ctz(slots)];
        if (!lock_try(&d->lock, self))
            continue;
        msix_send(d);
        lock_give(&d->lock);
    }
}

/* ---- queues -------------------------------------------------------------------- */

static void virtio_forget(struct virtio_device *d)
{
    d->progress = 0;
    if (d->kind->forget)
        d->kind->forget(d);
}

static void virtio_break(struct virtio_device *d)
{
    virtio_forget(d);
    d->regs.status |= NEEDS_RESET;
    virtio_signal(d, d->regs.config_vector, ISR_CONFIG);
}

/* Note whether chains of a queue wait for the device. Under its lock. */
static void stall(const struct virtio_device *d, uint32_t index, bool stalls)
{
    uint32_t bit = 1u << (d->slot * VIRTIO_QUEUES + index);
    if (stalls == !(__atomic_load_n(&stalled, __ATOMIC_RELAXED) & bit))
        __atomic_fetch_xor(&stalled, bit, __ATOMIC_SEQ_CST);
}

static bool is_idle(const struct virtio_device *d, uint32_t index)
{
    return index == 0 && d->kind->idle && d->kind->idle(d);
}

/* Serve chains of queue `index` until it is empty or the device has to wait, the TSC reaches
   `limit`, or RUN_MAX are done. True: there is more. */
static bool virtio_serve(struct virtio_device *d, uint32_t index, uint64_t limit)
{
    struct virtqueue *q = &d->queue[index];
    struct chain c;
    enum vq_result r = VQ_OK;
    bool chains = false, up = (d->regs.status & (DRIVER_OK | NEEDS_RESET)) == DRIVER_OK;
    uint32_t done = 0;
    /* Lost wake-up: set before the device is looked at. What comes for it from then on rings the
       worker's bell; the worker sees this, and then the lock taken. */
    stall(d, index, true);
    while (up && q->regs.enable && done < RUN_MAX && !(done && is_idle(d, index))) {
        r = virtqueue_next(q, 0, &c);
        chains = r == VQ_OK;
        if (!chains)
            break;
        uint32_t written = 0;
        r = d->kind->serve(d, index, &c, &written);
        if (r <= VQ_JOINED) {
            virtqueue_done(q, c.head, written, r == VQ_OK);
            done++;
        }
        if (r > VQ_PART || tsc() >= limit)
            break;
    }
    if (!chains)
        stall(d, index, false);
    if (done && virtqueue_must_signal(q))
        virtio_signal(d, q->regs.vector, ISR_QUEUE);
    if (r == VQ_BROKEN)
        virtio_break(d);
    return chains && r <= VQ_PART && !is_idle(d, index);
}

/* Serve a queue in a vCPU's exit, on the guest's own time, for a short while: the exit may have
 * waited for two of the worker's steps, and is to be over within 100 microseconds. The worker goes
 * on with what is more. */
static void virtio_run(struct virtio_device *d, uint32_t index)
{
    bool more = virtio_serve(d, index, tsc() + (config()->tsc_hz >> RUN_STEP));
    /* Lost frame: only the worker sends again, so it must not sleep without a limit. */
    if (more || (aoe_waits() && !__atomic_load_n(&watching, __ATOMIC_SEQ_CST)))
        call_worker();
}

static void virtio_run_all(struct virtio_device *d)
{
    for (uint32_t i = 0; i < d->kind->queues; i++)
        virtio_run(d, i);
}

/* The worker's round of one queue. True: there is more. If a vCPU has the device's lock, it rings
 * the worker's bell when it gives that back. */
static bool queue_work(struct virtio_device *d, uint32_t index, uint64_t limit)
{
    if (is_idle(d, index) || !lock_try_or_note(&d->lock))
        return false;
    bool more = virtio_serve(d, index, limit);
    lock_give(&d->lock);
    return more;
}

enum work virtio_work(uint64_t limit)
{
    static uint32_t turn; /* the queue to begin with: fairness */
    bool more = false, waited = aoe_waits();
    /* Lost wake-up: cleared before the queues are looked at. A call from now on rings again. */
    __atomic_store_n(&called, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&watching, false, __ATOMIC_SEQ_CST);
    uint32_t queues = __atomic_load_n(&stalled, __ATOMIC_SEQ_CST);
    while (queues && !(more && tsc() >= limit)) {
        uint32_t ahead = queues & ~0u << turn;
        uint32_t queue = (uint32_t)__builtin_ctz(ahead ? ahead : queues);
        more |= queue_work(&devices[queue / VIRTIO_QUEUES], queue % VIRTIO_QUEUES, limit);
        queues &= ~(1u << queue);
        turn = (queue + 1) % QUEUES;
    }
    virtio_poll(NO_VCPU);
    if (more)
        return WORK_MORE;
    /* Whoever asks a volume again and again need not ring each time: a round more than needed. */
    bool later = waited || __atomic_load_n(&waiting, __ATOMIC_RELAXED) || aoe_waits();
    __atomic_store_n(&watching, later, __ATOMIC_SEQ_CST);
    return later ? WORK_LATER : WORK_NONE;
}

/* ---- registers (4.1.4.3) -------------------------------------------------------- */

static void virtio_reset(struct virtio_device *d)
{
    memset(&d->regs, 0, sizeof d->regs);
    memset(d->queue, 0, sizeof d->queue);
    d->regs.queues = d->kind->queues;
    d->regs.config_vector = VIRTIO_NO_VECTOR;
    for (uint32_t i = 0; i < d->kind->queues; i++) {
        d->queue[i].regs.size = VIRTQUEUE_MAX;
        d->queue[i].regs.vector = VIRTIO_NO_VECTOR;
    }
    virtio_forget(d);
    d->accepted = d->isr = 0;
    d->pending = 0;
    __atomic_fetch_and(&waiting, ~(1u << d->slot), __ATOMIC_SEQ_CST);
}

/* The driver writes device_status (3.1.1). */
static void status_write(struct virtio_device *d, uint8_t status)
{
    if (status == 0) {
        virtio_reset(d);
        return;
    }
    if (d->accepted & ~d->offered || !(d->accepted & VIRTIO_F_VERSION_1))
        status &= (uint8_t) ~(FEATURES_OK | DRIVER_OK);
    d->regs.status = status | (d->regs.status & NEEDS_RESET);
    if (status & DRIVER_OK)
        virtio_run_all(d);
}

static void features_write(struct virtio_device *d)
{
    if (d->regs.driver_select > 1 || d->regs.status & FEATURES_OK)
        return;
    uint32_t shift = 32 * d->regs.driver_select;
    d->accepted = (d->accepted & ~(0xffffffffull << shift)) | (uint64_t)d->regs.driver_feature
                                                                  << shift;
}

static void queue_write(struct virtio_device *d, struct virtqueue *q, uint32_t offset,
                        uint32_t size, uint32_t value)
{
    bool vector = offset == offsetof(struct virtqueue_regs, vector);
    if (q->regs.enable && !vector)
        return;
    memcpy((uint8_t *)&q->regs + offset, &value, size);
    if (q->regs.vector >= VIRTIO_VECTORS)
        q->regs.vector = VIRTIO_NO_VECTOR;
    if (q->regs.enable && !vector && !virtqueue_enable(q, d->accepted & VIRTIO_F_EVENT_IDX))
        virtio_break(d);
}

static struct virtqueue *virtio_selected(struct virtio_device *d)
{
    return d->regs.queue_select < d->kind->queues ? &d->queue[d->regs.queue_select] : NULL;
}

/* A write to the device part of the common configuration, already in `regs`. */
static void common_act(struct virtio_device *d, uint32_t offset)
{
    switch (offset) {
    case offsetof(struct virtio_regs, device_select):
        d->regs.device_feature =
            d->regs.device_select > 1 ? 0 : (uint32_t)(d->offered >> 32 * d->regs.device_select);
        break;
    case offsetof(struct virtio_regs, driver_feature): features_write(d); break;
    case offsetof(struct virtio_regs, config_vector):
        if (d->regs.config_vector >= VIRTIO_VECTORS)
            d->regs.config_vector = VIRTIO_NO_VECTOR;
        break;
    default: break;
    }
}

/* Bytes of each register that the driver may write, at its offset. 64-bit ones are written in
 * halves (4.1.3.1). */
static const uint8_t writable[BAR_NOTIFY] = {
    [0x00] = 4, /* device_feature_select */
    [0x08] = 4, /* driver_feature_select */
    [0x0c] = 4, /* driver_feature        */
    [0x10] = 2, /* config_msix_vector    */
    [0x14] = 1, /* device_status         */
    [0x16] = 2, /* queue_select          */
    [0x18] = 2, /* queue_size            */
    [0x1a] = 2, /* queue_msix_vector     */
    [0x1c] = 2, /* queue_enable          */
    [0x20] = 4, /* queue_desc, low half  */
    [0x24] = 4, /* and high half         */
    [0x28] = 4, /* queue_driver          */
    [0x2c] = 4, /* and high half         */
    [0x30] = 4, /* queue_device          */
    [0x34] = 4, /* and high half         */
};

static void common_write(struct virtio_device *d, uint32_t offset, uint32_t size, uint32_t value)
{
    struct virtqueue *q = virtio_selected(d);
    if (writable[offset] != size)
        return;
    if (offset >= BAR_QUEUE && q) {
        queue_write(d, q, offset - BAR_QUEUE, size, value);
    } else if (offset == offsetof(struct virtio_regs, status)) {
        status_write(d, (uint8_t)value);
    } else if (offset < BAR_QUEUE) {
        memcpy((uint8_t *)&d->regs + offset, &value, size);
        common_act(d, offset);
    }
}

void virtio_out(uint32_t slot, uint32_t offset, uint32_t size, uint32_t value)
{
    struct virtio_device *d = device_at(slot);
    if (!d)
        return;
    if (offset < BAR_NOTIFY)
        common_write(d, offset, size, value);
    else if (offset == BAR_NOTIFY && value < d->kind->queues)
        virtio_run(d, value);
    else if (offset >= BAR_DEVICE && offset - BAR_DEVICE < VIRTIO_CONFIG && size == 1 &&
             d->kind->configure)
        d->kind->configure(d, offset - BAR_DEVICE, (uint8_t)value);
}

/* `size` bytes at `offset` of a structure of `end` bytes; bytes beyond its end read as zeros. */
static uint32_t window(const void *from, uint32_t end, uint32_t offset, uint32_t size)
{
    uint32_t value = 0;
    if (offset < end)
        memcpy(&value, (const uint8_t *)from + offset, size < end - offset ? size : end - offset);
    return value;
}

uint32_t virtio_in(uint32_t slot, uint32_t offset, uint32_t size)
{
    struct virtio_device *d = device_at(slot);
    if (!d)
        return 0xffffffffu;
    if (offset >= BAR_DEVICE)
        return window(d->config, sizeof d->config, offset - BAR_DEVICE, size);
    if (offset < BAR_QUEUE)
        return window(&d->regs, sizeof d->regs, offset, size);
    if (offset < BAR_NOTIFY && virtio_selected(d))
        return window(&virtio_selected(d)->regs, sizeof d->queue[0].regs, offset - BAR_QUEUE, size);
    uint8_t isr = offset == BAR_ISR ? d->isr : 0;
    d->isr &= (uint8_t)~isr; /* reading acknowledges (4.1.4.5) */
    return isr;
}

/* ---- devices --------------------------------------------------------------------- */

struct virtio_device *virtio_add(uint32_t slot, const struct virtio_kind *kind, uint64_t features)
{
    struct virtio_device *d = &devices[slot];
    virtio_pci_add(slot, kind);
    for (uint32_t v = 0; v < VIRTIO_VECTORS; v++)
        msix_table(slot)[v].control = MSIX_ENTRY_MASKED;
    memset(d, 0, sizeof *d);
    d->kind = kind;
    d->slot = slot;
    d->offered = kind->features | features | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX;
    virtio_reset(d);
    return d;
}
