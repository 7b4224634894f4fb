/*
 * Virtio devices: the input is a script of what a hostile guest and a hostile
 * switch do: register writes, pokes into guest memory and the LAN port, bells.
 * The sanitizers are the oracle.
 */
#include "fuzz.h"
#include <tests/unit/driver.h>

void fuzz_begin(void) {}

struct step {
    uint8_t what, slot, offset, size;
    uint32_t value;
};

static void poke(uint8_t *memory, uint64_t size, uint64_t at, uint32_t value)
{
    at %= size - sizeof value;
    memcpy(memory + at, &value, sizeof value);
}

/* A whole request of a disk, near the end of it and beyond, or a whole frame. */
static void request(uint32_t slot, const struct step *s)
{
    uint32_t length = (s->offset >> 1) * 256u, write = s->offset & 1;
    uint64_t sector = s->value & 0x80000000 ? ~(uint64_t)(s->value & 63) : s->value & 63;
    if (slot == NET) {
        driver_desc(1, 0, BUFFER(0), s->value % 0x4000, 0, 0);
        driver_offer(1, 0);
        driver_notify(slot, 1);
        return;
    }
    memset(fake.ram + BUFFER(0), 0, 16);
    poke(fake.ram, FAKE_RAM, BUFFER(0), write);
    memcpy(fake.ram + BUFFER(0) + 8, &sector, sizeof sector);
    driver_desc(0, 0, BUFFER(0), 16, D_NEXT, 1);
    driver_desc(0, 1, BUFFER(0), length, D_NEXT | (write ? 0 : D_WRITE), 2);
    driver_desc(0, 2, BUFFER(0) + 64, 1 + s->size % 32u, D_WRITE, 0);
    driver_offer(0, 0);
    driver_notify(slot, 0);
}

static void act(const struct step *s)
{
    static const uint32_t slots[] = {0, CONSOLE, NET, DISK, DISK_RO, RNG, BUTTON};
    uint32_t slot = slots[s->slot % 7u];
    if (s->what & 0x40) {
        request(slot, s);
        return;
    }
    switch (s->what % 8u) {
    case 0: virtio_out(slot, s->offset, 1u << s->size % 3, s->value); break;
    case 1: virtio_in(slot, s->offset, 1u << s->size % 3); break;
    case 2: /* the rings of both queues, word by word */
        poke(fake.ram, FAKE_RAM, 0x1000u + ((s->size & 15u) << 8 | s->offset) * 2u, s->value);
        break;
    case 3: poke(fake.ram, FAKE_RAM, (uint64_t)s->size << 8 | s->offset, s->value); break;
    case 4:
        poke(fake.lan, LAN_PORT_BYTES(fake.config->plan.mtu),
             ((uint64_t)s->size << 8 | s->offset) * 4u, s->value);
        break;
    case 5: driver_start(slot, s->value % 2 ? VIRTIO_F_EVENT_IDX : 0); break;
    case 6: { /* a part of a chain that is nearly right, or its first */
        uint32_t q = s->size % 2u, i = s->offset % QSIZE,
                 next = s->offset & 0x80 ? s->value & 0xffff : (i + 1) % (QSIZE + 1);
        driver_desc(q, i, s->value % (FAKE_RAM + 64), s->value >> 20, s->size >> 2, next);
        if (s->size & 2)
            break;
        driver_offer(q, i);
        driver_notify(slot, q);
        break;
    }
    default:
        fake.out_size = 0;
        fake.out_room = s->offset;
        fake.in_size = s->size;
        fake.control->presses += s->value & 1;
        virtio_work(~0ull);
        virtio_poll(NO_VCPU);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    fake_start_lan(size && data[0] & 1 ? PLAN_MTU_MAX : PLAN_MTU);
    fake.has_random = true;
    fake.random = 0x100;
    fake.random_step = 1;
    virtio_rng_init(RNG);
    for (struct step s; size >= sizeof s; data += sizeof s, size -= sizeof s) {
        memcpy(&s, data, sizeof s);
        act(&s);
    }
    driver_reset(RNG); /* the next input's memory is other memory */
    fake_stop();
}
