/*
 * A LAN of three ports. Two are hostile: the input writes their rings' indices,
 * sizes and addresses at will. The third looks at what it gets: each frame has a
 * possible size and a source that is its sender's.
 */
#include "fuzz.h"
#include <lan/lan_ring.h>
#include <lan/switch.h>
#include <stdlib.h>

enum { HOSTILE_A, HOSTILE_B, HONEST, PORTS };
#define TURNS 64u /* at most so many until all rings are empty */

static struct lan_switch lan;
static uint8_t *rings;
static uint32_t bells;

void switch_bell(uint32_t i)
{
    fuzz_must(i < PORTS, "a bell of a port that is there");
    bells++;
}

void switch_pause(void) {}

static uint32_t mtu;

static struct lan_ring *to_lan(uint32_t i) { return lan_to_switch(rings + i * LAN_PORT_STRIDE); }
static struct lan_ring *to_vm(uint32_t i) { return lan_to_vm(rings + i * LAN_PORT_STRIDE, mtu); }
static struct lan_frame *slot(struct lan_ring *r, uint32_t index)
{
    return lan_ring_slot(r, mtu, index);
}

static void mac(uint8_t *at, uint8_t byte)
{
    memset(at, byte == 0xff ? 0xff : 2, 6);
    at[5] = byte;
}

void fuzz_begin(void)
{
    rings = calloc(1, (PORTS - 1) * LAN_PORT_STRIDE + LAN_PORT_BYTES(PLAN_MTU_MAX));
}

static void clear(struct lan_ring *r)
{
    r->head = r->tail = 0;
    for (uint32_t n = 0; n < LAN_SLOTS; n++)
        memset(slot(r, n), 0, 24);
}

static void begin(void)
{
    struct lan_config config = {.ports = PORTS, .mtu = mtu};
    for (uint32_t i = 0; i < PORTS; i++) {
        mac(config.mac[i], (uint8_t)(0xa0 + i));
        clear(to_lan(i));
        clear(to_vm(i));
        for (uint32_t n = 0; n < LAN_SLOTS; n++)
            slot(to_lan(i), n)->data[12] = (uint8_t)i; /* who sends it, nobody can lie */
    }
    switch_init(&lan, &config, rings);
}

static void offer(struct feed *f, uint32_t from)
{
    struct lan_ring *r = to_lan(from);
    struct lan_frame *frame = slot(r, r->head);
    mac(frame->data, feed_8(f));
    mac(frame->data + 6, feed_8(f));
    frame->size = feed_8(f) & 1 ? 60 : (uint32_t)feed_value(f);
    r->head++;
}

/* Its own memory, all that the switch may look at but the mark of the sender. */
static void spoil(struct feed *f, uint32_t who)
{
    struct lan_ring *r = feed_8(f) & 1 ? to_lan(who) : to_vm(who);
    uint32_t value = (uint32_t)feed_value(f), n = feed_8(f) % LAN_SLOTS;
    switch (feed_8(f) % 4) {
    case 0: r->head = value; break;
    case 1: r->tail = value; break;
    case 2: slot(r, n)->size = value; break;
    default: feed_bytes(f, slot(r, n)->data, 12);
    }
}

static void look(void)
{
    struct lan_ring *r = to_vm(HONEST);
    fuzz_must(r->head - r->tail <= LAN_SLOTS, "no more frames than slots");
    for (; r->tail != r->head; r->tail++) {
        const struct lan_frame *frame = slot(r, r->tail);
        uint8_t source = frame->data[11], sender = frame->data[12];
        fuzz_must(frame->size >= LAN_FRAME_MIN && frame->size <= LAN_FRAME(mtu),
                  "a frame has a possible size");
        fuzz_must(!(frame->data[6] & 1), "no group sends");
        static const uint8_t ours[5] = {2, 2, 2, 2, 2};
        bool planned =
            memcmp(frame->data + 6, ours, 5) == 0 && source >= 0xa0 && source < 0xa0 + PORTS;
        fuzz_must(frame->size < 13 + 1u || !planned || source == 0xa0 + sender || sender >= PORTS,
                  "nobody sends as another");
        fuzz_must(!planned || source != 0xa0 + HONEST, "nobody gets frames from itself");
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    mtu = feed_8(&f) & 1 ? PLAN_MTU_MAX : PLAN_MTU;
    begin();
    while (f.left) {
        uint8_t what = feed_8(&f);
        uint32_t who = what >> 4 & 1;
        if (what % 4 == 0)
            spoil(&f, who);
        else if (what % 4 == 1)
            offer(&f, what & 0x80 ? HONEST : who);
        else
            switch_turn(&lan);
        look();
    }
    uint32_t turns = 0;
    for (; turns < TURNS && switch_turn(&lan); turns++)
        look();
    fuzz_must(turns < TURNS, "nobody keeps the switch at work without new frames");
}
