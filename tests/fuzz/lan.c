/*
 * A LAN of three ports. Two are hostile: the input writes their rings' indices,
 * sizes, addresses, headers, and what they leave to a card, at will. The third looks
 * at what it gets: each frame has a possible size, a source that is its sender's, and
 * nothing is left to its driver that it does not take, or that no card does.
 */
#include "fuzz.h"
#include <lan/lan_ring.h>
#include <lan/switch.h>
#include <stdlib.h>

enum { HOSTILE_A, HOSTILE_B, HONEST, PORTS };
#define TURNS   64u /* at most so many until all rings are empty */
#define HEADERS 60u /* bytes of a frame that the input chooses, but the mark of its sender */
#define MARK    15u /* IP has nothing there that the switch looks at */

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
        memset(slot(r, n), 0, sizeof(struct lan_frame) + HEADERS);
}

static void begin(void)
{
    struct lan_config config = {.ports = PORTS, .mtu = mtu};
    for (uint32_t i = 0; i < PORTS; i++) {
        mac(config.mac[i], (uint8_t)(0xa0 + i));
        clear(to_lan(i));
        clear(to_vm(i));
        for (uint32_t n = 0; n < LAN_SLOTS; n++)
            slot(to_lan(i), n)->data[MARK] = (uint8_t)i; /* who sends it, nobody can lie */
    }
    switch_init(&lan, &config, rings);
}

/* A TCP segment to be cut that is right, but for a few bytes. */
static void offer_segment(struct feed *f, struct lan_frame *frame, uint8_t kind)
{
    static const uint8_t four[] = {8, 0, 0x45, 0}, six[] = {0x86, 0xdd, 0x60, 0};
    uint32_t tcp = kind & 2 ? 54 : 34;
    memcpy(frame->data + 12, kind & 2 ? six : four, 3);
    frame->data[kind & 2 ? 20 : 23] = 6;
    frame->data[tcp + 12] = 0x50;
    frame->size = (kind & 4 ? 3000 : 66) + feed_8(f) * 256u;
    frame->offload = (struct lan_offload){.flags = 1,
                                          .gso_type = kind & 2 ? 4 : 1,
                                          .gso_size = (uint16_t)(feed_8(f) * 6),
                                          .csum_start = (uint16_t)tcp,
                                          .csum_offset = 16};
    if (kind & 8)
        feed_bytes(f, (uint8_t *)&frame->offload + feed_8(f) % 10, 2);
    if (kind & 16)
        feed_bytes(f, frame->data + MARK + 1 + feed_8(f) % (HEADERS - MARK - 1), 1);
}

static void offer(struct feed *f, uint32_t from)
{
    struct lan_ring *r = to_lan(from);
    struct lan_frame *frame = slot(r, r->head);
    mac(frame->data, feed_8(f));
    mac(frame->data + 6, feed_8(f));
    frame->size = feed_8(f) & 1 ? 60 : (uint32_t)feed_value(f);
    uint8_t kind = feed_8(f);
    if (kind & 1)
        offer_segment(f, frame, kind);
    r->head += lan_frame_slots(frame->size <= LAN_FRAME_MAX ? frame->size : 0, mtu);
    slot(r, r->head)->data[MARK] = (uint8_t)from; /* a frame of several slots went over it */
}

/* Its own memory, all that the switch may look at but the mark of the sender. */
static void spoil(struct feed *f, uint32_t who)
{
    struct lan_ring *r = feed_8(f) & 1 ? to_lan(who) : to_vm(who);
    uint32_t value = (uint32_t)feed_value(f), n = feed_8(f) % LAN_SLOTS;
    switch (feed_8(f) % 6) {
    case 0: r->head = value; break;
    case 1: r->tail = value; break;
    case 2: slot(r, n)->size = value; break;
    case 3: feed_bytes(f, (uint8_t *)&slot(r, n)->offload, sizeof(struct lan_offload)); break;
    case 4: to_vm(HONEST)->takes = value; break;
    default: feed_bytes(f, slot(r, n)->data, 12);
    }
}

/* Features by their bits: the checksum 1, TSO of IPv4 7, of IPv6 8, with ECN 9. */
static void look_at_offload(const struct lan_offload *o, uint32_t size, uint32_t takes)
{
    fuzz_must(size >= LAN_FRAME_MIN && size <= (o->gso_type ? LAN_FRAME_MAX : LAN_FRAME(mtu)),
              "a frame has a possible size");
    fuzz_must(o->flags <= 1 && o->buffers == 0, "nothing else is left to a driver");
    if (o->flags) {
        fuzz_must(takes >> 1 & 1, "it takes checksums");
        fuzz_must(o->csum_start >= 14 && (uint32_t)o->csum_start + o->csum_offset + 2 <= size,
                  "a checksum lies in its frame");
    }
    if (o->gso_type) {
        uint32_t kind = o->gso_type & 0x7f;
        fuzz_must(kind == 1 || kind == 4, "TCP alone is cut");
        fuzz_must(takes >> (kind == 1 ? 7 : 8) & 1, "it takes such segments");
        fuzz_must(!(o->gso_type & 0x80) || takes >> 9 & 1, "and such with ECN");
        fuzz_must(o->flags && o->csum_offset == 16, "a segment has a checksum");
        fuzz_must(o->hdr_len >= o->csum_start + 20 && o->hdr_len <= o->csum_start + 60 &&
                      o->hdr_len < size,
                  "its headers lie in its frame");
        fuzz_must(o->gso_size >= 64 && o->gso_size + o->hdr_len - 18u <= mtu, "its parts fit");
    }
}

static void look(void)
{
    struct lan_ring *r = to_vm(HONEST);
    fuzz_must(r->head - r->tail <= LAN_SLOTS, "no more frames than slots");
    for (; r->tail != r->head; r->tail += lan_frame_slots(slot(r, r->tail)->size, mtu)) {
        const struct lan_frame *frame = slot(r, r->tail);
        uint8_t source = frame->data[11], sender = frame->data[MARK];
        look_at_offload(&frame->offload, frame->size, r->takes);
        fuzz_must(!(frame->data[6] & 1), "no group sends");
        static const uint8_t ours[5] = {2, 2, 2, 2, 2};
        bool planned =
            memcmp(frame->data + 6, ours, 5) == 0 && source >= 0xa0 && source < 0xa0 + PORTS;
        fuzz_must(frame->size <= MARK || !planned || source == 0xa0 + sender || sender >= PORTS,
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
