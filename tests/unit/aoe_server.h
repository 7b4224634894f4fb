/* A server of volumes by ATA over Ethernet, for tests of the client (vmm/virtio/aoe.c): it takes
   frames out of the client's ring and puts answers into the other, right ones or not. */
#ifndef TESTS_AOE_SERVER_H
#define TESTS_AOE_SERVER_H

#include <lan/lan_ring.h>
#include <vmm/virtio/aoe.h>
#include <string.h>

#define SERVER_SECTORS 128u /* of each volume */
#define SERVER_HEADER  36u

enum { /* offsets in a frame */
       F_FROM = 6,
       F_TYPE = 12,
       F_FLAGS = 14,
       F_SHELF = 16,
       F_SLOT = 18,
       F_COMMAND = 19,
       F_TAG = 20,
       F_ATA_FLAGS = 24,
       F_SECTORS = 26,
       F_ATA = 27,
       F_LBA = 28
};

static uint8_t server_disk[PLAN_DISKS][SERVER_SECTORS * 512];
static uint32_t server_asked; /* frames that came */
/* What it does: volumes below this are there; is it ready; the order of the last writes is kept. */
static uint32_t server_volumes = PLAN_DISKS;
static bool server_ready = true;

static inline uint8_t *server_port(void) { return fake.lan + LINK_STORE * LAN_PORT_STRIDE; }
static inline struct lan_ring *server_in(void) { return lan_to_switch(server_port()); }
static inline struct lan_ring *server_out(void) { return lan_to_vm(server_port(), PLAN_MTU_MAX); }

/* Put a frame into the client's ring; false: that is full. */
static inline bool server_send(const uint8_t *data, uint32_t size)
{
    struct lan_frame *f = lan_ring_free(server_out(), PLAN_MTU_MAX, size);
    if (!f)
        return false;
    memcpy(f->data, data, size);
    f->size = size;
    lan_ring_publish(server_out(), PLAN_MTU_MAX, size);
    return true;
}

/* The oldest frame of the client's, which is taken; its bytes, 0: none. */
static inline uint32_t server_take(uint8_t *data)
{
    const struct lan_frame *f = lan_ring_oldest(server_in(), PLAN_MTU_MAX);
    if (!f)
        return 0;
    uint32_t size = f->size;
    memcpy(data, f->data, size);
    lan_ring_retire(server_in(), PLAN_MTU_MAX, size);
    server_asked++;
    return size;
}

/* Make the right answer of a frame, in its place; its bytes, 0: there is none. */
static inline uint32_t server_answer(uint8_t *f, uint32_t size)
{
    uint8_t mac[6];
    uint32_t shelf = (uint32_t)f[F_SHELF] << 8 | f[F_SHELF + 1], slot = f[F_SLOT],
             bytes = f[F_SECTORS] * 512u;
    uint64_t lba = 0;
    memcpy(&lba, f + F_LBA, 6);
    memcpy(mac, f, 6);
    memcpy(f, f + F_FROM, 6);
    memcpy(f + F_FROM, mac, 6);
    f[F_FLAGS] |= 8;
    uint8_t command = f[F_ATA];
    f[F_ATA] = 0x40;
    if (!(shelf == 255 && server_ready) && !(shelf == 2 && slot < server_volumes))
        return 0;
    if (command == 0xec) {
        uint64_t sectors = SERVER_SECTORS;
        memset(f + SERVER_HEADER, 0, 512);
        memcpy(f + SERVER_HEADER + 200, &sectors, sizeof sectors);
        return SERVER_HEADER + 512;
    }
    if (shelf == 2 && (command == 0x24 || command == 0x34) &&
        lba * 512 + bytes <= sizeof server_disk[0]) {
        uint8_t *at = server_disk[slot % PLAN_DISKS] + lba * 512;
        if (command == 0x34 && size >= SERVER_HEADER + bytes)
            memcpy(at, f + SERVER_HEADER, bytes);
        else if (command == 0x24)
            memcpy(f + SERVER_HEADER, at, bytes);
        return SERVER_HEADER + (command == 0x24 ? bytes : 0);
    }
    if (command != 0xe7)
        f[F_ATA] = 0x41;
    return SERVER_HEADER;
}

/* Answer all that has come, rightly. */
static inline void server_turn(void)
{
    static uint8_t frame[LAN_FRAME(PLAN_MTU_MAX)];
    for (uint32_t size = server_take(frame); size; size = server_take(frame)) {
        uint32_t answer = server_answer(frame, size);
        if (answer)
            server_send(frame, answer);
    }
}

#endif
