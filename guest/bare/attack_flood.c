/*
 * Attacks by ports, and floods of the console and the LAN.
 */
#include "attack.h"

#define STORM     20000u
#define EXIT_PORT 0xf4
#define FLAT_OFF  0x600 /* sleep control, sleep status, reset register */
#define FRAME     1514u
#define NET_HEAD  12u

static struct virtio_ring ring;
static uint8_t frame[NET_HEAD + FRAME];

/* Ports by which a guest means to end itself. */
static bool ending(uint32_t port, uint32_t size)
{
    return (port + size > EXIT_PORT && port < EXIT_PORT + 4) ||
           (port + size > FLAT_OFF && port < FLAT_OFF + 8);
}

static void touch(uint16_t port, uint32_t size, bool write)
{
    uint32_t value = (uint32_t)guest_random();
    if (size == 1)
        write ? out8(port, (uint8_t)value) : (void)in8(port);
    else if (size == 2)
        write ? out16(port, (uint16_t)value) : (void)in16(port);
    else
        write ? out32(port, value) : (void)in32(port);
}

void attack_port_storm(void)
{
    for (uint32_t i = 0; i < STORM; i++) {
        uint64_t r = guest_random();
        uint16_t port =
            (uint16_t)(i % 4 ? r : 0xc000 + r % 0x400); /* the devices' BARs get their share */
        uint32_t size = 1u << (r >> 16) % 3;
        if (!ending(port, size))
            touch(port, size, r >> 32 & 1);
    }
    guest_serial_reset();
}

/* Every register of every function, in every size and at every offset in the data port. */
void attack_pci_storm(void)
{
    for (uint32_t i = 0; i < STORM; i++) {
        uint64_t r = guest_random();
        out32(0xcf8, (uint32_t)(r & 0x1ffff) | (r >> 60 ? 0x80000000u : 0));
        touch((uint16_t)(0xcfc + (r >> 20 & 3)), 1u << (r >> 24) % 3, r >> 32 & 1);
    }
    if (pci_read(0, 0) == 0xffffffff)
        attack_fail("the host bridge is gone");
}

/* String I/O needs decoding: the platform may refuse it by #GP. */
void attack_string_io(void)
{
    static uint8_t buffer[4096];
    uint64_t count = 64;
    void *p = buffer;
    __asm__ volatile(TRY "rep outsb" TRIED : "+c"(count), "+S"(p) : "d"(0x80) : "memory");
    int out = guest_trapped();
    count = 64;
    __asm__ volatile(TRY "rep insb" TRIED : "+c"(count), "+D"(p) : "d"(0x80) : "memory");
    if (guest_trapped() != out || (out >= 0 && out != 13))
        attack_fail("string I/O ends in something other than #GP");
}

void attack_console_flood(void)
{
    for (uint32_t line = 0;; line++)
        guest_print("flood %u: the quick brown fox jumps over the lazy dog, \x1b[2J\x07 and over "
                    "and over\n",
                    line);
}

void attack_lan_flood(void)
{
    struct virtio_device d;
    if (!virtio_find(VIRTIO_NET, &d) || !virtio_start(&d, &ring, 1))
        attack_fail("no network");
    for (uint32_t i = 0; i < 12; i++)
        frame[NET_HEAD + i] = i < 6 ? 0xff : (uint8_t)(0x52 + i); /* to all, from somebody else */
    for (uint16_t i = 0; i < VIRTIO_QUEUE; i++) {
        ring.desc[i].address = (uintptr_t)frame;
        ring.desc[i].size = sizeof(frame);
        ring.desc[i].flags = 0;
    }
    for (uint16_t sent = 0;; sent++) {
        while ((uint16_t)(sent - ring.used.index) >= VIRTIO_QUEUE)
            ;
        virtio_offer(&d, &ring, sent % VIRTIO_QUEUE);
    }
}
