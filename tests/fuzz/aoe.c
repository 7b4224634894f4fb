/*
 * Answers of a hostile server of volumes, and of a hostile switch: the input is
 * a script of requests of the guest's and of frames, right ones, changed ones,
 * and any bytes. No byte beside a request's own changes; its status is one of
 * two; and after all that a right server serves a driver that begins anew.
 */
#include "fuzz.h"
#include <tests/unit/driver.h>
#include <tests/unit/aoe_server.h>

/* Requests that may be under way at once, each in a place of its own. */
#define PLACES    2u
#define HEADER(i) (BUFFER(0) + 128 * (i))
#define STATUS(i) (HEADER(i) + 64)
#define DATA(i)   (BUFFER(1) + ROOM * (i))
#define ROOM      0x3000u /* bytes of a place */
#define UNSET     0x77
#define CANARY    0x5c

static uint8_t frame[LAN_FRAME(PLAN_MTU_MAX)];
static uint8_t untouched[ROOM];
static uint32_t data_size[PLACES]; /* bytes of its last request that the device may write */

void fuzz_begin(void) { memset(untouched, CANARY, sizeof untouched); }

static void begin(uint32_t i, uint32_t type, uint64_t sector, uint32_t size)
{
    memcpy(fake.ram + HEADER(i), &type, 4);
    memcpy(fake.ram + HEADER(i) + 8, &sector, 8);
    fake.ram[STATUS(i)] = UNSET;
    memset(fake.ram + DATA(i), CANARY, ROOM);
    data_size[i] = type == 0 ? size : 0;
    driver_desc(0, 3 * i, HEADER(i), 16, D_NEXT, 3 * i + 1);
    driver_desc(0, 3 * i + 1, DATA(i), size, D_NEXT | (type == 0 ? D_WRITE : 0), 3 * i + 2);
    driver_desc(0, 3 * i + 2, STATUS(i), 1, D_WRITE, 0);
    driver_offer(0, 3 * i);
    driver_notify(DISK, 0);
}

static void any_request(struct feed *f)
{
    static const uint32_t types[] = {0, 1, 4, 0};
    uint8_t byte = feed_8(f);
    uint32_t type = types[byte % 4], i = byte / 4 % PLACES, sectors = feed_8(f) % (ROOM / 512 + 1);
    if (fake.ram[STATUS(i)] != UNSET)
        begin(i, type, feed_8(f) % (SERVER_SECTORS + 2), type == 4 ? 0 : sectors * 512);
}

/* The right answer of a frame that came, changed in some places, and perhaps of another size. */
static void changed_answer(struct feed *f)
{
    uint32_t size = server_take(frame), changes = feed_8(f) % 4u;
    if (!size)
        return;
    size = server_answer(frame, size);
    for (uint32_t i = 0; i < changes; i++)
        frame[feed_8(f) % SERVER_HEADER] = feed_8(f);
    server_send(frame, feed_8(f) & 1 ? size : feed_16(f) % (uint32_t)sizeof frame);
}

static void any_frame(struct feed *f)
{
    uint32_t size = feed_8(f);
    feed_bytes(f, frame, size);
    server_send(frame, feed_8(f) & 1 ? size : (uint32_t)feed_value(f) % (uint32_t)sizeof frame);
}

static void poke_ring(struct feed *f)
{
    struct lan_ring *r = feed_8(f) & 1 ? server_in() : server_out();
    if (r == server_in())
        r->tail = (uint32_t)feed_value(f);
    else
        r->head = (uint32_t)feed_value(f);
}

static void check_memory(void)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        uint8_t status = fake.ram[STATUS(i)];
        fuzz_must(status <= 1 || status == UNSET, "a status is good or an error");
        fuzz_must(!memcmp(fake.ram + DATA(i) + data_size[i], untouched, ROOM - data_size[i]),
                  "only the request's bytes change");
    }
}

/* The driver begins anew; its memory is zeros then. */
static void start(void)
{
    driver_start(DISK, 0);
    memset(fake.ram + DATA(0), CANARY, PLACES * ROOM);
    memset(data_size, 0, sizeof data_size);
}

static void act(struct feed *f)
{
    switch (feed_8(f) % 6) {
    case 0: any_request(f); break;
    case 1: changed_answer(f); break;
    case 2: any_frame(f); break;
    case 3: server_turn(); break;
    case 4: poke_ring(f); break;
    default: start();
    }
    virtio_work(~0ull);
    check_memory();
}

/* A server that is right again, and a driver that begins anew. */
static void is_well(void)
{
    server_out()->head = server_out()->tail;
    server_in()->tail = server_in()->head;
    start();
    begin(0, 0, 7, 0x5000);
    for (uint32_t i = 0; i < 8 && fake.ram[STATUS(0)] == UNSET; i++) {
        server_turn();
        virtio_work(~0ull);
    }
    fuzz_must(fake.ram[STATUS(0)] == 0 &&
                  !memcmp(fake.ram + DATA(0), server_disk[0] + 7 * 512, 0x5000),
              "then a right server serves");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    fake_start_volumes(1);
    for (uint32_t i = 0; i < sizeof server_disk[0]; i++)
        server_disk[0][i] = (uint8_t)(i / 512 + i);
    fake.slept = server_turn;
    fuzz_must(!aoe_find(), "its volume is found");
    virtio_init();
    start();
    while (f.left)
        act(&f);
    is_well();
    fake_stop();
}
