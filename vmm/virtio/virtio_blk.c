/* Block devices (virtio 1.2, 5.2): files in the VMM's memory, where a request is a copy, in steps;
   and volumes, whose blocks are a service VM's (aoe.h). */
#include <lib/string.h>
#include <vmm/virtio/aoe.h>

#define SECTOR  512u
#define ID_SIZE 20u
#define STEP    0x20000u /* bytes */

enum { BLK_SEG_MAX = 1 << 2, BLK_RO = 1 << 5, BLK_FLUSH = 1 << 9 };    /* features, 5.2.3 */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH_CACHE = 4, BLK_GET_ID = 8 }; /* types, 5.2.6    */
/* 5.2.6; the last two are no status of virtio's: there is more to copy, or to wait for. */
enum { BLK_OK, BLK_IOERR, BLK_UNSUPP, BLK_PART, BLK_WAIT };

struct blk_config {    /* 5.2.4 */
    uint64_t capacity; /* sectors */
    uint32_t size_max, seg_max;
};

struct blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};
_Static_assert(sizeof(struct blk_header) == AOE_WRITE_AT, "what a volume writes is behind it");

/* The bytes [sector, + size) of the disk; NULL where they are not whole sectors of it. */
static uint8_t *blk_range(const struct vm_file *disk, uint64_t sector, uint64_t size)
{
    uint64_t sectors = disk->size / SECTOR, count = size / SECTOR;
    if (size % SECTOR || count > sectors || sector > sectors - count)
        return NULL;
    return (uint8_t *)disk->address + sector * SECTOR;
}

/* Bytes of the next step of a copy of `size` bytes. TOCTOU: the guest may have changed the chain
 * since the last step, so `progress` may be beyond `size`. */
static uint64_t blk_step(const struct virtio_device *d, uint64_t size)
{
    uint64_t left = d->progress < size ? size - d->progress : 0;
    return left < STEP ? left : STEP;
}

/* `*data`: the bytes of the request that are in the chain once it is done. */
static uint8_t blk_read(struct virtio_device *d, const struct chain *c, uint64_t sector,
                        uint64_t *data)
{
    uint64_t size = c->write_size - 1;
    const uint8_t *from = blk_range(d->disk, sector, size);
    if (!from)
        return BLK_IOERR;
    d->progress += virtqueue_write(c, d->progress, from + d->progress, blk_step(d, size));
    *data = size;
    return d->progress < size ? BLK_PART : BLK_OK;
}

static uint8_t blk_write(struct virtio_device *d, const struct chain *c, uint64_t sector)
{
    uint64_t size = c->read_size - sizeof(struct blk_header);
    uint8_t *to = d->offered & BLK_RO ? NULL : blk_range(d->disk, sector, size);
    if (!to)
        return BLK_IOERR;
    d->progress += virtqueue_read(c, sizeof(struct blk_header) + d->progress, to + d->progress,
                                  blk_step(d, size));
    return d->progress < size ? BLK_PART : BLK_OK;
}

static bool is_volume(const struct virtio_device *d) { return d->disk->address == 0; }
static uint32_t disk_number(const struct virtio_device *d)
{
    return (uint32_t)(d->disk - config()->disk);
}

static bool moves(const struct blk_header *h)
{
    return h->type == BLK_IN || h->type == BLK_OUT || h->type == BLK_FLUSH_CACHE;
}

/* Begin a request of a volume. The guest may change header and chain while it is under way: what
   it is about is what they say now. False: it is none of the volume's. */
static bool volume_begin(const struct virtio_device *d, const struct chain *c)
{
    struct blk_header h;
    uint64_t size = 0, sectors = aoe_sectors(disk_number(d));
    enum aoe_command command = AOE_FLUSH;
    if (virtqueue_read(c, 0, &h, sizeof h) != sizeof h || c->write_size == 0 || !moves(&h))
        return false;
    if (h.type != BLK_FLUSH_CACHE) {
        command = h.type == BLK_IN ? AOE_READ : AOE_WRITE;
        size = command == AOE_READ ? c->write_size - 1 : c->read_size - sizeof h;
        if (size % SECTOR || size / SECTOR > sectors || h.sector > sectors - size / SECTOR)
            return false;
    }
    aoe_begin(disk_number(d), command, h.sector, size);
    return true;
}

/* Begin what the driver has added behind the requests under way. */
static void volume_begin_more(const struct virtio_device *d)
{
    struct chain c;
    for (uint32_t n = aoe_begun(disk_number(d)); n < AOE_REQUESTS; n++)
        if (virtqueue_peek(&d->queue[0], n, &c) != VQ_OK || !volume_begin(d, &c))
            return;
}

/* Read, write and flush of a volume. */
static uint8_t volume_serve(const struct virtio_device *d, const struct chain *c,
                            const struct blk_header *h, uint64_t *data)
{
    if (!aoe_begun(disk_number(d)) && !volume_begin(d, c))
        return BLK_IOERR;
    volume_begin_more(d);
    switch (aoe_go(disk_number(d), &d->queue[0], c)) {
    case AOE_DONE: *data = h->type == BLK_IN ? c->write_size - 1 : 0; return BLK_OK;
    case AOE_FAILED: return BLK_IOERR;
    case AOE_MORE: return BLK_PART;
    default: return BLK_WAIT;
    }
}

static void blk_forget(struct virtio_device *d)
{
    if (d->disk && is_volume(d)) /* it has its disk once it was added */
        aoe_drop(disk_number(d));
}

static uint8_t blk_get_id(const struct virtio_device *d, const struct chain *c, uint64_t *data)
{
    uint32_t number = disk_number(d);
    char id[ID_SIZE] = "hairline-disk-0";
    id[14] = (char)('0' + number);
    if (config()->plan.disk[number].flags & DISK_UPLOAD)
        memcpy(id, "hairline-upload", sizeof("hairline-upload"));
    if (c->write_size - 1 < ID_SIZE)
        return BLK_IOERR;
    *data = virtqueue_write(c, 0, id, ID_SIZE);
    return BLK_OK;
}

static uint8_t request_serve(struct virtio_device *d, const struct chain *c,
                             const struct blk_header *h, uint64_t *data)
{
    if (is_volume(d) && (moves(h) || aoe_begun(disk_number(d))))
        return volume_serve(d, c, h, data);
    switch (h->type) {
    case BLK_IN: return blk_read(d, c, h->sector, data);
    case BLK_OUT: return blk_write(d, c, h->sector);
    case BLK_FLUSH_CACHE: return BLK_OK; /* no cache: a write is done before it is answered */
    case BLK_GET_ID: return blk_get_id(d, c, data);
    default: return BLK_UNSUPP;
    }
}

/* A request is a header and data to read, then data and one status byte to write; how it is cut
   into parts does not matter (2.7.4). */
static enum vq_result blk_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                uint32_t *written)
{
    struct blk_header h;
    uint64_t data = 0;
    (void)queue;
    if (virtqueue_read(c, 0, &h, sizeof h) != sizeof h || c->write_size == 0)
        return VQ_BROKEN;
    uint8_t status = request_serve(d, c, &h, &data);
    if (status >= BLK_PART)
        return status == BLK_PART ? VQ_PART : VQ_WAIT;
    d->progress = 0;
    virtqueue_write(c, c->write_size - 1, &status, 1);
    *written = (uint32_t)data + 1;
    return VQ_OK;
}

static const struct virtio_kind blk_kind = {.id = 2,
                                            .queues = 1,
                                            .pci_class = 0x0180,
                                            .features = BLK_SEG_MAX | BLK_FLUSH,
                                            .forget = blk_forget,
                                            .serve = blk_serve};

void virtio_blk_init(uint32_t slot)
{
    for (uint32_t i = 0; i < config()->plan.disks && i < PLAN_DISKS; i++) {
        bool readonly = config()->plan.disk[i].flags & DISK_READONLY;
        struct virtio_device *d = virtio_add(slot + i, &blk_kind, readonly ? BLK_RO : 0);
        d->disk = &config()->disk[i];
        struct blk_config c = {.capacity = is_volume(d) ? aoe_sectors(i) : d->disk->size / SECTOR,
                               .seg_max = VIRTQUEUE_MAX - 2};
        memcpy(d->config, &c, sizeof c);
    }
}
