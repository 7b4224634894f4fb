/* Three ports of a switch, one byte per MAC, for tests/unit/test_lan*.c. */
#ifndef TEST_LAN_PORTS_H
#define TEST_LAN_PORTS_H

#include "test.h"
#include <lan/lan_ring.h>
#include <lan/switch.h>
#include <stdlib.h>

#define PORTS     3u
#define BROADCAST 0xff
enum { A, B, C };
enum { MAC_A = 0xa0, MAC_B = 0xb0, MAC_C = 0xc0, MAC_NEW = 0x10 };

static struct lan_switch lan;
static uint8_t *rings;

static inline struct lan_ring *to_lan(uint32_t i)
{
    return lan_to_switch(rings + i * LAN_PORT_STRIDE);
}
static inline struct lan_ring *to_vm(uint32_t i)
{
    return lan_to_vm(rings + i * LAN_PORT_STRIDE, lan.mtu);
}
static inline struct lan_frame *slot(struct lan_ring *r, uint32_t index)
{
    return lan_ring_slot(r, lan.mtu, index);
}

static inline void mac(uint8_t *at, uint8_t byte)
{
    memset(at, byte == BROADCAST ? 0xff : 0, 6);
    at[5] = byte;
}

static inline int setup_mtu(uint32_t mtu)
{
    static const uint8_t own[PORTS] = {MAC_A, MAC_B, MAC_C};
    struct lan_config config = {.ports = PORTS, .mtu = mtu};
    for (uint32_t i = 0; i < PORTS; i++)
        mac(config.mac[i], own[i]);
    rings = calloc(1, (PORTS - 1) * LAN_PORT_STRIDE + LAN_PORT_BYTES(mtu));
    memset(&fake, 0, sizeof fake);
    switch_init(&lan, &config, rings);
    return 0;
}

static inline int setup(void **state)
{
    (void)state;
    return setup_mtu(PLAN_MTU);
}

static inline int teardown(void **state)
{
    (void)state;
    free(rings);
    return 0;
}

static inline void put_sized(uint32_t from, uint8_t to_mac, uint8_t from_mac, uint32_t size)
{
    struct lan_ring *r = to_lan(from);
    struct lan_frame *f = slot(r, r->head);
    mac(f->data, to_mac);
    mac(f->data + 6, from_mac);
    memset(f->data + 12, 0x42, 48);
    f->size = size;
    r->head += lan_frame_slots(size <= LAN_FRAME_MAX ? size : 0, lan.mtu);
}

static inline void put(uint32_t from, uint8_t to_mac, uint8_t from_mac)
{
    put_sized(from, to_mac, from_mac, 60);
}

static inline void run(void)
{
    while (switch_turn(&lan))
        ;
}

/* Frames that port `i` got since it last looked. */
static inline uint32_t got(uint32_t i)
{
    struct lan_ring *r = to_vm(i);
    uint32_t n = r->head - r->tail;
    r->tail = r->head;
    return n;
}

static inline void assert_got(uint32_t a, uint32_t b, uint32_t c)
{
    run();
    assert_int_equal(got(A), a);
    assert_int_equal(got(B), b);
    assert_int_equal(got(C), c);
}

#endif
