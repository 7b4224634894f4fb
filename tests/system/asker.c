/*
 * Writes blocks of its first disk and reads them again, one at a time, and tells how far it got:
 * `asked COUNT errors COUNT wrong COUNT at TICKS` after each EVERY ticks, COUNT being requests that
 * were answered, those that failed, and reads that gave something else than was written. It goes on
 * telling while it waits for an answer.
 */
#include <guest/bare/bare.h>
#include <guest/bare/virtio.h>

#define EVERY   (1ull << 27) /* TSC ticks */
#define BLOCK   4096u
#define BLOCKS  64u
#define SECTORS (BLOCK / 512)

enum { IN = 0, OUT = 1 };

static struct virtio_device disk;
static struct virtio_ring ring;
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} header;
static _Alignas(BLOCK) uint64_t data[BLOCK / 8];
static volatile uint8_t status;
static uint64_t asked, errors, wrong, start, told;

static void tell(void)
{
    uint64_t now = rdtsc();
    if (now - told < EVERY)
        return;
    told = now;
    guest_print("asked %lu errors %lu wrong %lu at %lu\n", asked, errors, wrong, now - start);
}

static bool request(uint32_t type, uint64_t block)
{
    header.type = type;
    header.sector = block * SECTORS;
    status = 0x77;
    ring.desc[1].flags = DESC_NEXT | (type == IN ? DESC_WRITE : 0);
    virtio_offer(&disk, &ring, 0);
    while (ring.used.index != ring.avail.index)
        tell();
    asked++;
    errors += status != 0;
    return status == 0;
}

static void fill(uint64_t seed)
{
    for (uint32_t i = 0; i < BLOCK / 8; i++)
        data[i] = seed << 32 | i;
}

static bool is_filled(uint64_t seed)
{
    for (uint32_t i = 0; i < BLOCK / 8; i++)
        if (data[i] != (seed << 32 | i))
            return false;
    return true;
}

void guest_main(void)
{
    if (!virtio_find(VIRTIO_BLK, &disk) || !virtio_start(&disk, &ring, 0)) {
        guest_print("asker: no disk\n");
        guest_exit(1);
    }
    ring.desc[0].address = (uintptr_t)&header;
    ring.desc[0].size = sizeof header;
    ring.desc[0].flags = DESC_NEXT;
    ring.desc[0].next = 1;
    ring.desc[1].address = (uintptr_t)data;
    ring.desc[1].size = BLOCK;
    ring.desc[1].next = 2;
    ring.desc[2].address = (uintptr_t)&status;
    ring.desc[2].size = 1;
    ring.desc[2].flags = DESC_WRITE;
    start = told = rdtsc();
    for (uint64_t turn = 1;; turn++) {
        fill(turn);
        bool written = request(OUT, turn % BLOCKS);
        fill(0);
        if (request(IN, turn % BLOCKS) && written)
            wrong += !is_filled(turn);
        tell();
    }
}
