/* Volumes: the client of a server that is right, wrong, late, or not there. */
#include "driver.h"
#include "aoe_server.h"
#include "test.h"

enum { IN = 0, OUT = 1, FLUSH = 4 };
enum { IO_OK, IO_ERROR, IO_NONE = 0x77 };
#define HEADER BUFFER(0)
#define STATUS (BUFFER(0) + 64)
#define DATA   BUFFER(1) /* up to 24 KiB */

static int setup_volumes(uint32_t volumes)
{
    fake_start_volumes(volumes);
    server_volumes = PLAN_DISKS;
    server_ready = true;
    server_asked = 0;
    for (uint32_t i = 0; i < PLAN_DISKS; i++)
        for (uint32_t b = 0; b < sizeof server_disk[0]; b++)
            server_disk[i][b] = (uint8_t)(b / 512 + b + i);
    fake.slept = server_turn;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    setup_volumes(2);
    assert_null(aoe_find());
    virtio_init();
    driver_start(DISK, 0);
    server_in()->tail = server_in()->head; /* questions that were given up */
    server_out()->tail = server_out()->head;
    return 0;
}

static int setup_unfound(void **state)
{
    (void)state;
    setup_volumes(1);
    fake.config->tsc_hz = 8; /* each frame is sent again at each look, however fast those come */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

/* Begin a request of three parts at descriptor 0, its data at DATA. */
static void begin(uint32_t slot, uint32_t type, uint64_t sector, uint32_t size)
{
    memcpy(fake.ram + HEADER, &type, 4);
    memcpy(fake.ram + HEADER + 8, &sector, 8);
    fake.ram[STATUS] = IO_NONE;
    driver_desc(0, 0, HEADER, 16, D_NEXT, 1);
    driver_desc(0, 1, DATA, size, D_NEXT | (type == IN ? D_WRITE : 0), 2);
    driver_desc(0, 2, STATUS, 1, D_WRITE, 0);
    driver_offer(0, 0);
    driver_notify(slot, 0);
}

static uint8_t status(void)
{
    virtio_work(~0ull);
    return fake.ram[STATUS];
}

/* Begin one, and have the server answer all of it. */
static uint8_t request(uint32_t slot, uint32_t type, uint64_t sector, uint32_t size)
{
    begin(slot, type, sector, size);
    for (uint32_t i = 0; i < 8 && status() == IO_NONE; i++)
        server_turn();
    return status();
}

static void its_size_is_the_servers(void **state)
{
    (void)state;
    assert_int_equal(virtio_in(DISK, R_CONFIG, 4), SERVER_SECTORS);
    assert_int_equal(fake.control->state, VM_WAITING);
}

static void blocks_come_and_go(void **state)
{
    (void)state;
    assert_int_equal(request(DISK, IN, 3, 0x5000), IO_OK);
    assert_memory_equal(fake.ram + DATA, server_disk[0] + 3 * 512, 0x5000);
    memset(fake.ram + DATA, 0xa5, 0x4200);
    assert_int_equal(request(DISK, OUT, 40, 0x4200), IO_OK);
    assert_memory_equal(fake.ram + DATA, server_disk[0] + 40 * 512, 0x4200);
    assert_int_equal(server_disk[0][40 * 512 - 1], (uint8_t)(39 + 40 * 512 - 1));
    assert_int_equal(server_disk[0][40 * 512 + 0x4200], (uint8_t)(40 + 0x21 + 40 * 512 + 0x4200));
    uint32_t before = server_asked;
    assert_int_equal(request(DISK, FLUSH, 0, 0), IO_OK);
    assert_int_equal(server_asked, before + 1);
    assert_false(aoe_waits());
}

static void what_is_not_there_is_not_asked_for(void **state)
{
    (void)state;
    uint32_t before = server_asked;
    assert_int_equal(request(DISK, IN, SERVER_SECTORS - 1, 1024), IO_ERROR);
    assert_int_equal(request(DISK, OUT, ~0ull, 512), IO_ERROR);
    assert_int_equal(request(DISK, IN, 0, 100), IO_ERROR);
    assert_int_equal(server_asked, before);
}

/* One frame of the client's, with its right answer in the same place. */
static uint8_t frame[LAN_FRAME(PLAN_MTU_MAX)], answer[LAN_FRAME(PLAN_MTU_MAX)];
static uint32_t ask_one_sector(void)
{
    begin(DISK, IN, 5, 512);
    uint32_t size = server_take(frame);
    assert_true(size >= 60);
    memcpy(answer, frame, sizeof answer);
    return server_answer(answer, size);
}

/* What is not the answer of this frame is dropped, and counted; the answer counts after it. */
static void other_frames_are_dropped(void **state)
{
    static const struct {
        uint32_t at;
        uint8_t bits;
    } wrong[] = {{F_FROM + 5, 3}, {F_TYPE, 1},   {F_FLAGS, 8},     {F_FLAGS, 0x10},
                 {F_FLAGS, 1},    {F_SHELF, 1},  {F_SHELF + 1, 1}, {F_SLOT, 1},
                 {F_COMMAND, 1},  {F_TAG, 0x80}, {F_TAG + 3, 1}};
    (void)state;
    uint32_t size = ask_one_sector();
    uint64_t before = server_out()->unread;
    for (uint32_t i = 0; i < COUNT(wrong); i++) {
        answer[wrong[i].at] ^= wrong[i].bits;
        assert_true(server_send(answer, size));
        answer[wrong[i].at] ^= wrong[i].bits;
        assert_int_equal(status(), IO_NONE);
        assert_int_equal(server_out()->unread, before + i + 1);
    }
    assert_true(server_send(answer, SERVER_HEADER - 1));
    assert_int_equal(status(), IO_NONE);
    assert_true(server_send(answer, size));
    assert_int_equal(status(), IO_OK);
    assert_memory_equal(fake.ram + DATA, server_disk[0] + 5 * 512, 512);
    assert_true(server_send(answer, size)); /* a second time */
    memset(fake.ram + DATA, 0, 512);
    assert_int_equal(request(DISK, FLUSH, 0, 0), IO_OK);
    assert_int_equal(fake.ram[DATA + 1], 0);
}

static void errors_are_the_guests(void **state)
{
    static const struct {
        uint32_t at, size;
        uint8_t bits;
    } wrong[] = {{F_FLAGS, 512, 4}, {F_ATA, 512, 1}, {F_ATA, 512, 0x20}, {F_SECTORS, 511, 0}};
    (void)state;
    for (uint32_t i = 0; i < COUNT(wrong); i++) {
        ask_one_sector();
        memset(fake.ram + DATA, 0, 512);
        answer[wrong[i].at] |= wrong[i].bits;
        assert_true(server_send(answer, SERVER_HEADER + wrong[i].size));
        assert_int_equal(status(), IO_ERROR);
        assert_int_equal(fake.ram[DATA + 1], 0);
    }
    assert_int_equal(request(DISK, IN, 0, 512), IO_OK);
}

/* Without an answer it is sent again, later each time, and the worker looks again. */
static void a_server_that_is_away_is_waited_for(void **state)
{
    (void)state;
    fake.config->tsc_hz = 1 << 20;
    uint32_t rung = fake.bells[VMM_SM_WORK];
    ask_one_sector();
    assert_true(fake.bells[VMM_SM_WORK] > rung); /* it may have slept without a limit */
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(virtio_work(~0ull), WORK_LATER);
        while (!server_take(frame))
            assert_int_equal(status(), IO_NONE);
        assert_memory_equal(frame + F_TAG, answer + F_TAG, 4);
    }
    assert_true(server_send(answer, SERVER_HEADER + 512));
    assert_int_equal(status(), IO_OK);
}

/* Who asks again and again rings the worker's bell once: it looks soon anyway, until nobody asked.
 */
static void a_worker_that_looks_is_not_rung_for(void **state)
{
    (void)state;
    begin(DISK, IN, 1, 512);
    server_turn();
    assert_int_equal(virtio_work(~0ull), WORK_LATER);
    assert_int_equal(fake.ram[STATUS], IO_OK);
    uint32_t rung = fake.bells[VMM_SM_WORK];
    begin(DISK, IN, 2, 512);
    assert_int_equal(fake.bells[VMM_SM_WORK], rung);
    server_turn();
    assert_int_equal(virtio_work(~0ull), WORK_LATER);
    assert_int_equal(fake.ram[STATUS], IO_OK);
    assert_int_equal(virtio_work(~0ull), WORK_NONE);
    begin(DISK, IN, 3, 512);
    assert_true(fake.bells[VMM_SM_WORK] > rung);
}

/* A read of one sector to PLACE(i), with its status behind it, in two parts. */
#define PLACE(i) (DATA + 1024 * (i))
static void offer_read(uint32_t i)
{
    uint32_t type = IN, header = HEADER + 128 * i, first = 1 + 2 * i;
    uint64_t sector = 1 + i;
    memcpy(fake.ram + header, &type, 4);
    memcpy(fake.ram + header + 8, &sector, 8);
    memset(fake.ram + PLACE(i), IO_NONE, 513);
    driver_desc(0, first, header, 16, D_NEXT, first + 1);
    driver_desc(0, first + 1, PLACE(i), 513, D_WRITE, 0);
    driver_offer(0, first);
}

/* Requests that wait together are asked for together. They are done in their order, whatever the
   answers', and fail alone. */
static void several_are_under_way(void **state)
{
    static uint8_t frames[3][LAN_FRAME(PLAN_MTU_MAX)];
    uint32_t size[3], at[] = {2, 0, 1};
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        offer_read(i);
    driver_notify(DISK, 0);
    for (uint32_t i = 0; i < 3; i++) {
        size[i] = server_take(frames[i]);
        assert_true(size[i] >= 60);
        size[i] = server_answer(frames[i], size[i]);
    }
    frames[1][F_FLAGS] |= 4; /* an error */
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(server_send(frames[at[i]], size[at[i]]));
        virtio_work(~0ull);
        assert_int_equal(used_idx(0), i + i / 2); /* 0, 1, 3 */
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fake.ram[PLACE(i) + 512], i == 1 ? IO_ERROR : IO_OK);
        assert_int_equal(used_elem(0, i).id, 1 + 2 * i);
    }
    assert_memory_equal(fake.ram + PLACE(0), server_disk[0] + 512, 512);
    assert_int_equal(fake.ram[PLACE(1)], IO_NONE);
    assert_memory_equal(fake.ram + PLACE(2), server_disk[0] + 3 * 512, 512);
    assert_false(aoe_waits());
}

/* Two volumes at once: an answer to the one waits for its turn, and is not lost. */
static void each_volume_has_its_answers(void **state)
{
    (void)state;
    driver_start(DISK, 0);
    begin(DISK, IN, 1, 512);
    server_turn();
    struct lan_ring *in = server_out();
    uint32_t waiting = in->head - in->tail;
    assert_int_equal(waiting, 1);
    aoe_begin(1, AOE_FLUSH, 0, 0);
    assert_int_equal(aoe_go(1, NULL, NULL), AOE_WAIT);
    assert_int_equal(in->head - in->tail, waiting);
    assert_int_equal(status(), IO_OK);
    server_turn();
    assert_int_equal(aoe_go(1, NULL, NULL), AOE_DONE);
}

/* A flood ends no thread's work, and hides no answer for good. */
static void a_flood_is_dropped(void **state)
{
    (void)state;
    uint32_t size = ask_one_sector(), bells = fake.bells[VMM_SM_WORK];
    answer[F_TAG] ^= 1;
    while (server_send(answer, size))
        ;
    assert_int_equal(status(), IO_NONE);
    assert_true(fake.bells[VMM_SM_WORK] > bells);
    answer[F_TAG] ^= 1;
    assert_true(server_send(answer, size));
    assert_int_equal(status(), IO_OK);
}

static void a_reset_forgets_what_was_asked(void **state)
{
    (void)state;
    uint32_t size = ask_one_sector();
    memset(fake.ram + DATA, 0, 512);
    driver_start(DISK, 0);
    assert_false(aoe_waits());
    assert_true(server_send(answer, size));
    assert_int_equal(request(DISK, FLUSH, 0, 0), IO_OK);
    assert_int_equal(fake.ram[DATA + 1], 0);
}

/* ---- finding ---- */

static uint32_t slept;
static void comes_late(void)
{
    server_ready = slept > 200;
    server_volumes = slept > 208 ? PLAN_DISKS : 0;
    if (slept > 100)
        server_turn();
    slept++;
}

static void a_server_that_comes_late_is_waited_for(void **state)
{
    (void)state;
    slept = 0;
    fake.slept = comes_late;
    assert_null(aoe_find());
    assert_true(slept > 200);
    assert_int_equal(aoe_sectors(0), SERVER_SECTORS);
    assert_non_null(strstr(fake.out, "waits for volume aoot"));
}

static void a_volume_that_is_not_there_is_named(void **state)
{
    (void)state;
    server_volumes = 0;
    assert_string_equal(aoe_find(), "aoot");
}

#define TEST(name)         cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_UNFOUND(name) cmocka_unit_test_setup_teardown(name, setup_unfound, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(its_size_is_the_servers),
        TEST(blocks_come_and_go),
        TEST(what_is_not_there_is_not_asked_for),
        TEST(other_frames_are_dropped),
        TEST(errors_are_the_guests),
        TEST(a_server_that_is_away_is_waited_for),
        TEST(a_worker_that_looks_is_not_rung_for),
        TEST(several_are_under_way),
        TEST(each_volume_has_its_answers),
        TEST(a_flood_is_dropped),
        TEST(a_reset_forgets_what_was_asked),
        TEST_UNFOUND(a_server_that_comes_late_is_waited_for),
        TEST_UNFOUND(a_volume_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
