/*
 * Hostile rings (virtio 1.1, 2.6): after each, the device must answer an
 * honest request again, once it was reset.
 */
#include "attack.h"

#define HIGH_ADDRESS 0xfffffffffffff000ull
#define NO_MEMORY    0xf0000000ull
#define NOTIFIES     2000u
#define LAST         (VIRTIO_QUEUE - 1)

struct kind {
    enum virtio_type type;
    const char *name;
    uint16_t queue;      /* one to which the driver gives data to send */
    uint32_t head_bytes; /* of zeros that start an honest request      */
};

static const struct kind kinds[] = {
    {VIRTIO_NET, "net", 1, 12 + 60}, {VIRTIO_BLK, "blk", 0, 16}, {VIRTIO_CONSOLE, "console", 1, 1},
    {VIRTIO_INPUT, "input", 1, 8},   {VIRTIO_RNG, "rng", 0, 1},
};

static struct virtio_ring ring;
static uint8_t head[4096], data[4096], status[16];

static void set(uint16_t i, uint64_t address, uint32_t size, uint32_t flags, uint16_t next)
{
    ring.desc[i].address = address;
    ring.desc[i].size = size;
    ring.desc[i].flags = (uint16_t)flags;
    ring.desc[i].next = next;
}

static uint64_t at(const volatile void *p) { return (uintptr_t)p; }

/* Descriptors 0..2: send head_bytes of zeros; for blk: read sector 0 into `data`, answer in
 * `status`. */
static void honest(const struct kind *k)
{
    bool block = k->type == VIRTIO_BLK;
    set(0, at(head), k->head_bytes, block ? DESC_NEXT : 0, 1);
    set(1, at(data), 512, DESC_WRITE | DESC_NEXT, 2);
    set(2, at(status), 1, DESC_WRITE, 0);
    status[0] = 0xff;
}

/* ---- the attacks: each spoils the honest chain, then offers it ------------- */

static void desc_loop(void) { set(0, at(head), 16, DESC_NEXT, 0); }

static void long_loop(void)
{
    for (uint16_t i = 0; i < VIRTIO_QUEUE; i++)
        set(i, at(data), 4096, DESC_NEXT | (i ? DESC_WRITE : 0),
            (uint16_t)((i + 1) % VIRTIO_QUEUE));
}

static void wild_address(void)
{
    ring.desc[0].address = HIGH_ADDRESS;
    ring.desc[1].address = NO_MEMORY;
}

static void wild_data(void) { ring.desc[1].address = HIGH_ADDRESS; }
static void wrap_address(void) { ring.desc[0].address = ~0ull - 3; }
static void wild_status(void) { ring.desc[2].address = NO_MEMORY; }

static void long_size(void)
{
    ring.desc[0].size = 0xffffffff;
    ring.desc[1].size = 0xfffffe00;
}

static void no_size(void)
{
    ring.desc[0].size = 0;
    ring.desc[1].size = 0;
    ring.desc[2].size = 0;
}

static void odd_size(void) { ring.desc[1].size = 511; }
static void next_out_of_range(void) { set(0, at(head), 16, DESC_NEXT, VIRTIO_QUEUE); }
static void next_far(void) { set(0, at(head), 16, DESC_NEXT, 0xffff); }
static void indirect_self(void) { set(0, at(ring.desc), sizeof(ring.desc), DESC_INDIRECT, 0); }
static void all_write(void) { ring.desc[0].flags = (uint16_t)(ring.desc[0].flags | DESC_WRITE); }
static void none_write(void) { set(1, at(data), 512, DESC_NEXT, 2), set(2, at(status), 1, 0, 0); }
static void ring_as_data(void)
{
    ring.desc[1].address = at(&ring.avail), ring.desc[2].address = at(ring.desc);
}
static void far_sector(void) { *(volatile uint64_t *)(head + 8) = ~0ull / 512; }
static void bad_request(void) { *(volatile uint32_t *)head = 0x7fffffff; }
static void index_jump(void) { ring.avail.index = (uint16_t)(ring.avail.index + 3 * VIRTIO_QUEUE); }
static void index_back(void) { ring.avail.index = (uint16_t)(ring.avail.index - 2); }

static void bad_heads(void)
{
    for (uint16_t i = 0; i < VIRTIO_QUEUE; i++)
        ring.avail.entry[i] = (uint16_t)(VIRTIO_QUEUE + i * 997);
    ring.avail.index = LAST;
}

static const struct {
    const char *name;
    void (*spoil)(void);
} chains[] = {
    {"desc-loop", desc_loop},       {"long-loop", long_loop},
    {"wild-address", wild_address}, {"wild-data", wild_data},
    {"wrap-address", wrap_address}, {"wild-status", wild_status},
    {"long-size", long_size},       {"no-size", no_size},
    {"odd-size", odd_size},         {"next-out-of-range", next_out_of_range},
    {"next-far", next_far},         {"indirect-self", indirect_self},
    {"all-write", all_write},       {"none-write", none_write},
    {"ring-as-data", ring_as_data}, {"far-sector", far_sector},
    {"bad-request", bad_request},   {"index-jump", index_jump},
    {"index-back", index_back},     {"bad-heads", bad_heads},
};

/* ---- register attacks -------------------------------------------------------- */

static void bad_queue_size(const struct virtio_device *d)
{
    static const uint16_t sizes[] = {0, 3, 0x7fff, 0x8000, 0xffff};
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        virtio_write(d, VC_QUEUE_ENABLE, 2, 0);
        virtio_write(d, VC_QUEUE_SIZE, 2, sizes[i]);
        virtio_write(d, VC_QUEUE_ENABLE, 2, 1);
        virtio_offer(d, &ring, 0);
    }
}

static void bad_ring_address(const struct virtio_device *d)
{
    static const uint64_t addresses[] = {NO_MEMORY, HIGH_ADDRESS, ~0ull, 1, 0x8000000000000000ull};
    for (uint32_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
        for (uint32_t field = VC_QUEUE_DESC; field <= VC_QUEUE_USED; field += 8) {
            virtio_write64(d, field, addresses[i]);
            virtio_write(d, VC_QUEUE_ENABLE, 2, 1);
            virtio_offer(d, &ring, 0);
            virtio_write(d, VC_STATUS, 1, 0);
        }
}

static void reset_midway(const struct virtio_device *d)
{
    virtio_offer(d, &ring, 0);
    virtio_write(d, VC_STATUS, 1, 0);
    virtio_notify(d, &ring);
    virtio_write(d, VC_STATUS, 1, 0xff);
    virtio_notify(d, &ring);
}

static void notify_storm(const struct virtio_device *d)
{
    for (uint32_t i = 0; i < NOTIFIES; i++)
        virtio_notify(d, &ring);
}

static void wild_queue(const struct virtio_device *d)
{
    for (uint32_t i = 0; i < 0x10000; i += 4095) {
        virtio_write(d, VC_QUEUE_SELECT, 2, i);
        virtio_write(d, VC_QUEUE_SIZE, 2, 16);
        virtio_write64(d, VC_QUEUE_DESC, i);
        virtio_write(d, VC_QUEUE_ENABLE, 2, 1);
        ring.queue = (uint16_t)i;
        virtio_notify(d, &ring);
    }
}

static const struct {
    const char *name;
    void (*run)(const struct virtio_device *d);
} registers[] = {
    {"bad-queue-size", bad_queue_size}, {"bad-ring-address", bad_ring_address},
    {"reset-midway", reset_midway},     {"notify-storm", notify_storm},
    {"wild-queue", wild_queue},
};

/* ---- the run ------------------------------------------------------------------- */

static void begin(const struct virtio_device *d, const struct kind *k)
{
    for (uint32_t i = 0; i < sizeof(head); i++)
        head[i] = 0;
    if (!virtio_start(d, &ring, k->queue))
        attack_fail("the device does not start");
    honest(k);
}

static void check_alive(const struct virtio_device *d, const struct kind *k, const char *after)
{
    begin(d, k);
    virtio_offer(d, &ring, 0);
    bool alive = virtio_await(&ring, 1) && (k->type != VIRTIO_BLK || status[0] == 0);
    guest_print("attack %s %s: %s\n", k->name, after, alive ? "ok" : "no answer");
    if (!alive)
        attack_fail(after);
}

static void attack_device(const struct virtio_device *d, const struct kind *k)
{
    check_alive(d, k, "honest");
    for (uint32_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        begin(d, k);
        chains[i].spoil();
        virtio_offer(d, &ring, 0);
        virtio_notify(d, &ring);
        check_alive(d, k, chains[i].name);
    }
    for (uint32_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        begin(d, k);
        registers[i].run(d);
        check_alive(d, k, registers[i].name);
    }
}

void attack_rings(void)
{
    struct virtio_device d;
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (virtio_find(kinds[i].type, &d))
            attack_device(&d, &kinds[i]);
        else
            guest_print("attack rings: no %s device\n", kinds[i].name);
}
