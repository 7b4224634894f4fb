/* Block devices (virtio 1.2, 5.2): files in the VMM's memory. A request is a copy, in steps. */
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

#define SECTOR  512u
#define ID_SIZE 20u
#define STEP    0x20000u /* bytes */

enum { BLK_SEG_MAX = 1 << 2, BLK_RO = 1 << 5, BLK_FLUSH = 1 << 9 };    /* features, 5.2.3 */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH_CACHE = 4, BLK_GET_ID = 8 }; /* types, 5.2.6    */
enum {
    BLK_OK,
    BLK_IOERR,
    BLK_UNSUPP,
    BLK_PART
}; /* 5.2.6; the last is no status of virtio's: there is more to copy */

struct blk_config {    /* 5.2.4 */
    uint64_t capacity; /* sectors */
    uint32_t size_max, seg_max;
};

struct blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};

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

static uint8_t blk_get_id(const struct virtio_device *d, const struct chain *c, uint64_t *data)
{
    char id[ID_SIZE] = "hairline-disk-0";
    id[14] = (char)('0' + (d->disk - config()->disk));
    if (c->write_size - 1 < ID_SIZE)
        return BLK_IOERR;
    *data = virtqueue_write(c, 0, id, ID_SIZE);
    return BLK_OK;
}

/* A request is a header and data to read, then data and one status byte to write; how it is cut
   into parts does not matter (2.7.4). */
static enum vq_result blk_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                uint32_t *written)
{
    struct blk_header h;
    uint64_t data = 0;
    uint8_t status = BLK_OK;
    (void)queue;
    if (virtqueue_read(c, 0, &h, sizeof h) != sizeof h || c->write_size == 0)
        return VQ_BROKEN;
    switch (h.type) {
    case BLK_IN: status = blk_read(d, c, h.sector, &data); break;
    case BLK_OUT: status = blk_write(d, c, h.sector); break;
    case BLK_FLUSH_CACHE: break; /* no cache: a write is done before it is answered */
    case BLK_GET_ID: status = blk_get_id(d, c, &data); break;
    default: status = BLK_UNSUPP;
    }
    if (status == BLK_PART)
        return VQ_PART;
    d->progress = 0;
    virtqueue_write(c, c->write_size - 1, &status, 1);
    *written = (uint32_t)data + 1;
    return VQ_OK;
}

static const struct virtio_kind blk_kind = {.id = 2,
                                            .queues = 1,
                                            .pci_class = 0x0180,
                                            .features = BLK_SEG_MAX | BLK_FLUSH,
                                            .serve = blk_serve};

void virtio_blk_init(uint32_t slot)
{
    for (uint32_t i = 0; i < config()->plan.disks && i < PLAN_DISKS; i++) {
        bool readonly = config()->plan.disk[i].flags & DISK_READONLY;
        struct virtio_device *d = virtio_add(slot + i, &blk_kind, readonly ? BLK_RO : 0);
        d->disk = &config()->disk[i];
        struct blk_config c = {.capacity = d->disk->size / SECTOR, .seg_max = VIRTQUEUE_MAX - 2};
        memcpy(d->config, &c, sizeof c);
    }
}
