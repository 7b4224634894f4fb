/* Block requests, right and wrong. */
#include "driver.h"
#include "test.h"
#include <stdlib.h>

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8 };
enum { IO_OK, IO_ERROR, IO_UNSUPPORTED, IO_NONE = 0x77 };
#define HEADER  BUFFER(0)
#define DATA    BUFFER(1)
#define STATUS  BUFFER(7)
#define SECTORS (FAKE_DISK / 512)

static int setup(void **state)
{
    (void)state;
    fake_start();
    driver_start(DISK, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

static void header(uint32_t type, uint64_t sector)
{
    memcpy(fake.ram + HEADER, &type, 4);
    memcpy(fake.ram + HEADER + 8, &sector, 8);
    fake.ram[STATUS] = IO_NONE;
}

/* Send the chain from descriptor 0; its status byte. */
static uint8_t submit(uint32_t slot)
{
    driver_offer(0, 0);
    driver_notify(slot, 0);
    return fake.ram[STATUS];
}

/* One request of three parts; `flags` is D_WRITE where the device fills the data. */
static uint8_t request(uint32_t slot, uint32_t type, uint64_t sector, uint32_t size, uint32_t flags)
{
    header(type, sector);
    driver_desc(0, 0, HEADER, 16, D_NEXT, 1);
    driver_desc(0, 1, DATA, size, D_NEXT | flags, 2);
    driver_desc(0, 2, STATUS, 1, D_WRITE, 0);
    return submit(slot);
}

static void start_queue_of(uint32_t entries)
{
    driver_reset(DISK);
    driver_features(DISK, 0);
    driver_queue(DISK, 0, entries);
    virtio_out(DISK, R_ENABLE, 2, 1);
    virtio_out(DISK, R_STATUS, 1, S_READY);
}

static void capacity_is_in_sectors(void **state)
{
    (void)state;
    assert_int_equal(virtio_in(DISK, R_CONFIG, 4), SECTORS);
    assert_int_equal(virtio_in(DISK, R_CONFIG + 4, 4), 0);
    assert_int_equal(virtio_in(DISK, R_CONFIG + 12, 4), VIRTQUEUE_MAX - 2);
    assert_int_equal(virtio_in(DISK, 0xfe, 4), 0);
    assert_int_equal(virtio_in(DISK, R_CONFIG + VIRTIO_CONFIG - 2, 4),
                     0); /* nothing of the VMM's behind it */
}

static void reads_give_the_disk(void **state)
{
    (void)state;
    assert_int_equal(request(DISK, IN, 3, 1024, D_WRITE), IO_OK);
    assert_memory_equal(fake.ram + DATA, fake.disk[0] + 3 * 512, 1024);
    assert_int_equal(used_elem(0, 0).size, 1025);
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(DISK, 0));
}

static void writes_reach_the_disk(void **state)
{
    (void)state;
    memset(fake.ram + DATA, 0xab, 1024);
    assert_int_equal(request(DISK, OUT, SECTORS - 2, 1024, 0), IO_OK);
    assert_memory_equal(fake.disk[0] + FAKE_DISK - 1024, fake.ram + DATA, 1024);
    assert_int_equal(used_elem(0, 0).size, 1);
}

static void parts_may_be_cut_anywhere(void **state)
{
    (void)state;
    header(IN, 1);
    driver_desc(0, 0, HEADER, 7, D_NEXT, 1);
    driver_desc(0, 1, HEADER + 7, 9, D_NEXT, 2);
    driver_desc(0, 2, DATA, 100, D_NEXT | D_WRITE, 3);
    driver_desc(0, 3, DATA + 0x1000, 0, D_NEXT | D_WRITE, 4);
    driver_desc(0, 4, DATA + 100, 412 + 300, D_NEXT | D_WRITE, 5);
    driver_desc(0, 5, DATA + 812, 213, D_WRITE, 0); /* the last byte is the status */
    fake.ram[DATA + 1024] = IO_NONE;
    submit(DISK);
    assert_int_equal(fake.ram[DATA + 1024], IO_OK);
    assert_memory_equal(fake.ram + DATA, fake.disk[0] + 512, 1024);
}

static void requests_outside_the_disk_fail(void **state)
{
    (void)state;
    static const struct {
        uint64_t sector;
        uint32_t size;
    } bad[] = {{SECTORS, 512}, {SECTORS - 1, 1024}, {~0ull, 512}, {1ull << 55, 512}, {0, 511},
               {0, 513},       {0, FAKE_DISK + 512}};
    uint8_t before[FAKE_DISK];
    memcpy(before, fake.disk[0], FAKE_DISK);
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(request(DISK, IN, bad[i].sector, bad[i].size, D_WRITE), IO_ERROR);
        assert_int_equal(request(DISK, OUT, bad[i].sector, bad[i].size, 0), IO_ERROR);
    }
    assert_memory_equal(before, fake.disk[0], FAKE_DISK);
    assert_false(driver_broken(DISK));
}

static void a_read_only_disk_stays(void **state)
{
    (void)state;
    driver_start(DISK_RO, 0);
    uint8_t before = fake.disk[1][0];
    fake.ram[DATA] = (uint8_t)~before;
    assert_int_equal(request(DISK_RO, OUT, 0, 512, 0), IO_ERROR);
    assert_int_equal(fake.disk[1][0], before);
    assert_int_equal(request(DISK_RO, IN, 0, 512, D_WRITE), IO_OK);
    assert_int_equal(fake.ram[DATA], before);
}

static void other_requests(void **state)
{
    (void)state;
    assert_int_equal(request(DISK, GET_ID, 0, 20, D_WRITE), IO_OK);
    assert_string_equal((char *)fake.ram + DATA, "hairline-disk-0");
    fake.config->plan.disk[0].flags = DISK_UPLOAD;
    assert_int_equal(request(DISK, GET_ID, 0, 20, D_WRITE), IO_OK);
    assert_string_equal((char *)fake.ram + DATA, "hairline-upload");
    assert_int_equal(request(DISK, GET_ID, 0, 19, D_WRITE), IO_ERROR);
    assert_int_equal(request(DISK, 99, 0, 512, D_WRITE), IO_UNSUPPORTED);
    header(FLUSH, 0);
    driver_desc(0, 0, HEADER, 16, D_NEXT, 1);
    driver_desc(0, 1, STATUS, 1, D_WRITE, 0);
    assert_int_equal(submit(DISK), IO_OK);
}

static void a_short_header_breaks_the_device(void **state)
{
    (void)state;
    header(IN, 0);
    driver_desc(0, 0, HEADER, 15, D_NEXT, 1);
    driver_desc(0, 1, STATUS, 1, D_WRITE, 0);
    assert_int_equal(submit(DISK), IO_NONE);
    assert_true(driver_broken(DISK));
}

static void a_missing_status_byte_breaks_the_device(void **state)
{
    (void)state;
    header(OUT, 0);
    driver_desc(0, 0, HEADER, 16 + 512, 0, 0);
    submit(DISK);
    assert_true(driver_broken(DISK));
}

static void disks_break_alone(void **state)
{
    (void)state;
    driver_desc(0, 0, ~0ull, 16, 0, 0);
    submit(DISK);
    assert_true(driver_broken(DISK));
    driver_start(DISK_RO, 0);
    assert_int_equal(request(DISK_RO, IN, 0, 512, D_WRITE), IO_OK);
}

#define PIECES 20u
#define PIECE  0x6000u          /* bytes, all in the same memory */
#define LARGE  (PIECES * PIECE) /* several steps */
#define FIRST  4u               /* of the pieces' descriptors */

#define HEAD   100u /* of its descriptors, before those     */
#define SERVED 64u  /* chains in one exit: the worker serves the rest */

/* A request of LARGE bytes at sector 1, behind so many flushes that it is the worker's. */
static void offer_large(uint32_t type, uint32_t flags)
{
    header(FLUSH, 0);
    memcpy(fake.ram + HEADER + 32, fake.ram + HEADER, 16);
    driver_desc(0, 0, HEADER + 32, 16, D_NEXT, 1);
    driver_desc(0, 1, STATUS + 1, 1, D_WRITE, 0);
    header(type, 1);
    driver_desc(0, HEAD, HEADER, 16, D_NEXT, FIRST);
    for (uint32_t i = 0; i < PIECES; i++)
        driver_desc(0, FIRST + i, DATA, PIECE, D_NEXT | flags, FIRST + i + 1);
    driver_desc(0, FIRST + PIECES, STATUS, 1, D_WRITE, 0);
    ring(0)->avail[SERVED] = HEAD;
    ring(0)->avail_idx = SERVED + 1;
    driver_notify(DISK, 0);
}

static void large_requests_are_served_in_steps(void **state)
{
    (void)state;
    uint8_t *disk = calloc(1, 512 + LARGE);
    memset(disk + LARGE, 0x5d, 512);
    fake.config->disk[0] = (struct vm_file){(uintptr_t)disk, 512 + LARGE};
    start_queue_of(VIRTQUEUE_MAX);
    offer_large(IN, D_WRITE);
    uint32_t steps = 0;
    for (; fake.ram[STATUS] == IO_NONE; steps++)
        assert_int_equal(virtio_work(1), WORK_MORE);
    assert_int_equal(steps, 4);
    assert_int_equal(fake.ram[STATUS], IO_OK);
    assert_int_equal(used_elem(0, SERVED).size, LARGE + 1);
    assert_int_equal(fake.ram[DATA + PIECE - 1], 0x5d);
    assert_int_equal(request(DISK, IN, 0, 512, D_WRITE), IO_OK); /* and the next from its begin */
    assert_int_equal(fake.ram[DATA], 0);
    free(disk);
}

/* A guest that makes a request shorter once it is half done harms itself. */
static void a_request_that_shrinks_is_harmless(void **state)
{
    (void)state;
    uint8_t *disk = calloc(1, 512 + LARGE);
    fake.config->disk[0] = (struct vm_file){(uintptr_t)disk, 512 + LARGE};
    start_queue_of(VIRTQUEUE_MAX);
    offer_large(OUT, 0);
    assert_int_equal(virtio_work(1), WORK_MORE);
    driver_desc(0, HEAD, HEADER, 16, D_NEXT, 1);
    driver_desc(0, 1, DATA, 512, D_NEXT, 2);
    driver_desc(0, 2, STATUS, 1, D_WRITE, 0);
    virtio_work(1);
    assert_int_equal(fake.ram[STATUS], IO_OK);
    assert_int_equal(used_idx(0), SERVED + 1);
    free(disk);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(capacity_is_in_sectors),
        TEST(reads_give_the_disk),
        TEST(writes_reach_the_disk),
        TEST(parts_may_be_cut_anywhere),
        TEST(requests_outside_the_disk_fail),
        TEST(a_read_only_disk_stays),
        TEST(other_requests),
        TEST(a_short_header_breaks_the_device),
        TEST(a_missing_status_byte_breaks_the_device),
        TEST(disks_break_alone),
        TEST(large_requests_are_served_in_steps),
        TEST(a_request_that_shrinks_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
