/* The transport and its queues, driven through a console: right use, and every wrong one. */
#include "driver.h"
#include "test.h"
#include <pthread.h>
#include <stdlib.h>

enum { TX = 1 };

static int setup(void **state)
{
    (void)state;
    fake_start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

/* Offer "hello" as one chain in descriptor 0. */
static void say_hello(void)
{
    memcpy(fake.ram + BUFFER(0), "hello", 5);
    driver_desc(TX, 0, BUFFER(0), 5, 0, 0);
    driver_offer(TX, 0);
}

static void assert_serves(void)
{
    fake.out_size = 0;
    driver_start(CONSOLE, 0);
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.out_size, 5);
    assert_memory_equal(fake.out, "hello", 5);
    assert_int_equal(used_idx(TX), 1);
}

/* ---- registers -------------------------------------------------------------------- */

static void pci_capabilities_name_every_structure(void **state)
{
    (void)state;
    uint32_t seen = 0;
    for (uint32_t at = fake.pci[DISK][0x34]; at; at = fake.pci[DISK][at + 1])
        seen |= 1u << (fake.pci[DISK][at] == 0x11 ? 0 : fake.pci[DISK][at + 3]);
    assert_int_equal(seen, 0x1f); /* MSI-X; common, notify, ISR, device */
    assert_int_equal(fake.pci[DISK][2] | fake.pci[DISK][3] << 8, 0x1042);
    assert_int_equal(fake.pci[DISK][0x10] | fake.pci[DISK][0x11] << 8, PCI_IO(DISK) | 1);
    assert_int_equal(fake.pci[NET][0x0b], 2);
}

static void features_are_checked(void **state)
{
    (void)state;
    driver_features(CONSOLE, 0);
    assert_int_equal(virtio_in(CONSOLE, R_STATUS, 1), 0x0b);
    driver_reset(CONSOLE);
    driver_features(CONSOLE, 1ull << 5); /* never offered */
    assert_int_equal(virtio_in(CONSOLE, R_STATUS, 1), 0x03);
    driver_reset(CONSOLE);
    virtio_out(CONSOLE, R_STATUS, 1, S_READY); /* without VERSION_1 */
    assert_int_equal(virtio_in(CONSOLE, R_STATUS, 1), 0x03);
}

static void features_read_in_halves(void **state)
{
    (void)state;
    virtio_out(DISK_RO, 0, 4, 0);
    assert_int_equal(virtio_in(DISK_RO, 4, 4), 1u << 29 | 1 << 9 | 1 << 5 | 1 << 2);
    virtio_out(DISK_RO, 0, 4, 1);
    assert_int_equal(virtio_in(DISK_RO, 4, 4), 1);
    virtio_out(DISK_RO, 0, 4, 2);
    assert_int_equal(virtio_in(DISK_RO, 4, 4), 0);
}

static void absent_devices_and_queues_read_as_such(void **state)
{
    (void)state;
    assert_int_equal(virtio_in(9, 0, 4), 0xffffffffu);
    assert_int_equal(virtio_in(4000, 0, 4), 0xffffffffu);
    virtio_out(9, 0, 4, 1);
    virtio_out(DISK, R_SELECT, 2, 1);
    assert_int_equal(virtio_in(DISK, R_SIZE, 2), 0);
    virtio_out(DISK, R_ENABLE, 2, 1);
    driver_notify(DISK, 7);
    assert_false(driver_broken(DISK));
}

static void vectors_beyond_the_table_are_refused(void **state)
{
    (void)state;
    virtio_out(DISK, R_VECTOR, 2, VIRTIO_VECTORS);
    assert_int_equal(virtio_in(DISK, R_VECTOR, 2), VIRTIO_NO_VECTOR);
    virtio_out(DISK, 0x10, 2, VIRTIO_VECTORS);
    assert_int_equal(virtio_in(DISK, 0x10, 2), VIRTIO_NO_VECTOR);
    virtio_out(DISK, R_VECTOR, 2, 3);
    assert_int_equal(virtio_in(DISK, R_VECTOR, 2), 3);
}

static void any_register_access_is_harmless(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 4};
    srandom(1);
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t slot = (uint32_t)random() % 8, offset = (uint32_t)random() % 256,
                 size = sizes[random() % 3];
        uint32_t value = random() % 2 ? (uint32_t)random() % 16 : (uint32_t)random();
        virtio_out(slot, offset, size, value);
        virtio_in(slot, offset, size);
    }
}

/* ---- queues that cannot be ---------------------------------------------------------- */

static void impossible_sizes_break_the_device(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 3, 2 * VIRTQUEUE_MAX, 0xffff};
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        driver_reset(CONSOLE);
        driver_features(CONSOLE, 0);
        driver_queue(CONSOLE, TX, sizes[i]);
        virtio_out(CONSOLE, R_ENABLE, 2, 1);
        assert_true(driver_broken(CONSOLE));
        driver_notify(CONSOLE, TX);
    }
    assert_serves();
}

static void impossible_addresses_break_the_device(void **state)
{
    (void)state;
    static const struct {
        uint32_t reg;
        uint64_t address;
    } bad[] = {
        {R_DESC, FAKE_RAM},    {R_DESC, FAKE_RAM - 16},  {R_DESC, 8},
        {R_DESC, ~0xfull},     {R_AVAIL, FAKE_RAM - 2},  {R_AVAIL, 1},
        {R_AVAIL, 1ull << 63}, {R_AVAIL, FAKE_RAM - 20}, {R_USED, FAKE_RAM - 4},
        {R_USED, 2},           {R_USED, 1ull << 40},     {R_USED, FAKE_RAM - 68},
    };
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        driver_reset(CONSOLE);
        driver_features(CONSOLE, 0);
        driver_queue(CONSOLE, TX, QSIZE);
        virtio_out(CONSOLE, bad[i].reg, 4, (uint32_t)bad[i].address);
        virtio_out(CONSOLE, bad[i].reg + 4, 4, (uint32_t)(bad[i].address >> 32));
        virtio_out(CONSOLE, R_ENABLE, 2, 1);
        assert_true(driver_broken(CONSOLE));
        virtio_out(CONSOLE, R_STATUS, 1, S_READY);
        driver_notify(CONSOLE, TX);
    }
    assert_serves();
}

static void an_enabled_queue_cannot_be_moved(void **state)
{
    (void)state;
    driver_start(CONSOLE, 0);
    virtio_out(CONSOLE, R_SELECT, 2, TX);
    virtio_out(CONSOLE, R_DESC, 4, 0xffffff00);
    virtio_out(CONSOLE, R_SIZE, 2, VIRTQUEUE_MAX);
    virtio_out(CONSOLE, R_ENABLE, 2, 1);
    assert_int_equal(virtio_in(CONSOLE, R_SIZE, 2), QSIZE);
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.out_size, 5);
}

/* ---- chains that cannot be ----------------------------------------------------------- */

static void loop_of_one(void) { driver_desc(TX, 0, BUFFER(0), 5, D_NEXT, 0); }
static void next_too_far(void) { driver_desc(TX, 0, BUFFER(0), 5, D_NEXT, QSIZE); }
static void indirect(void) { driver_desc(TX, 0, BUFFER(0), 16, D_INDIRECT, 0); }
static void past_the_end(void) { driver_desc(TX, 0, FAKE_RAM - 4, 5, 0, 0); }
static void wild_address(void) { driver_desc(TX, 0, 0xfee00000, 5, 0, 0); }
static void wrapping_address(void) { driver_desc(TX, 0, ~0ull - 2, 5, 0, 0); }
static void huge_length(void) { driver_desc(TX, 0, BUFFER(0), 0xffffffff, 0, 0); }
static void head_too_far(void) { ring(TX)->avail[0] = QSIZE; }
static void wild_head(void) { ring(TX)->avail[0] = 0xffff; }
static void index_jump(void) { ring(TX)->avail_idx = QSIZE + 1; }
static void index_back(void) { ring(TX)->avail_idx = 0xffff; }

static void loop_of_two(void)
{
    driver_desc(TX, 0, BUFFER(0), 5, D_NEXT, 1);
    driver_desc(TX, 1, BUFFER(0), 5, D_NEXT, 0);
}

static void read_after_write(void)
{
    driver_desc(TX, 0, BUFFER(0), 5, D_NEXT | D_WRITE, 1);
    driver_desc(TX, 1, BUFFER(0), 5, 0, 0);
}

static void impossible_chains_break_the_device(void **state)
{
    (void)state;
    static void (*const wrong[])(void) = {
        loop_of_one,  loop_of_two,      next_too_far,    indirect,     past_the_end,
        wild_address, wrapping_address, huge_length,     head_too_far, wild_head,
        index_jump,   index_back,       read_after_write};
    for (uint32_t i = 0; i < COUNT(wrong); i++) {
        driver_start(CONSOLE, 0);
        fake.messages = fake.out_size = 0;
        say_hello();
        wrong[i]();
        driver_notify(CONSOLE, TX);
        assert_true(driver_broken(CONSOLE));
        assert_int_equal(fake.out_size, 0);
        assert_int_equal(used_idx(TX), 0);
        assert_int_equal(fake.messages, 1);
        assert_int_equal(fake.message[0], CONFIG_MESSAGE(CONSOLE));
        driver_notify(CONSOLE, TX); /* it stays silent until it is reset */
        virtio_work(~0ull);
        assert_int_equal(fake.out_size, 0);
    }
    assert_serves();
}

static void a_full_ring_of_one_chain_is_right(void **state)
{
    (void)state;
    driver_start(CONSOLE, 0);
    memcpy(fake.ram + BUFFER(0), "abcdefgh", 8);
    for (uint32_t i = 0; i < QSIZE; i++)
        driver_desc(TX, i, BUFFER(0) + i, 1, i + 1 < QSIZE ? D_NEXT : 0, i + 1);
    driver_offer(TX, 0);
    driver_notify(CONSOLE, TX);
    assert_memory_equal(fake.out, "abcdefgh", 8);
    assert_int_equal(used_elem(TX, 0).id, 0);
}

static void reset_at_any_time_forgets_the_rings(void **state)
{
    (void)state;
    driver_start(CONSOLE, 0);
    say_hello();
    virtio_out(CONSOLE, R_STATUS, 1, 0);
    driver_notify(CONSOLE, TX);
    virtio_work(~0ull);
    assert_int_equal(fake.out_size, 0);
    assert_serves();
}

struct scribbler {
    volatile bool stop;
};

/* Another vCPU that rewrites the rings with plausible nonsense all the time. */
static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    unsigned int seed = 7;
    while (!s->stop) {
        struct vring_desc d = {(uint64_t)rand_r(&seed) % (2 * FAKE_RAM),
                               (uint32_t)rand_r(&seed) % 64, (uint16_t)(rand_r(&seed) % 8),
                               (uint16_t)(rand_r(&seed) % 16)};
        memcpy(&ring(TX)->desc[rand_r(&seed) % 8], &d, sizeof d);
        ring(TX)->avail[rand_r(&seed) % 8] = (uint16_t)(rand_r(&seed) % 9);
        ring(TX)->avail_idx++;
    }
    return NULL;
}

static void rings_that_change_while_read_are_harmless(void **state)
{
    (void)state;
    struct scribbler s = {false};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        driver_start(CONSOLE, i % 2 ? VIRTIO_F_EVENT_IDX : 0);
        fake.out_size = 0;
        fake.out_room = FAKE_LOG;
        driver_notify(CONSOLE, TX);
    }
    s.stop = true;
    pthread_join(thread, NULL);
}

/* ---- interrupts ------------------------------------------------------------------------ */

static void a_served_chain_interrupts_once(void **state)
{
    (void)state;
    assert_serves();
    assert_int_equal(fake.messages, 1);
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(CONSOLE, TX));
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.messages, 1);
}

static void no_interrupt_flag_is_kept(void **state)
{
    (void)state;
    driver_start(CONSOLE, 0);
    ring(TX)->avail_flags = 1;
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(used_idx(TX), 1);
    assert_int_equal(fake.messages, 0);
}

static void event_index_is_kept(void **state)
{
    (void)state;
    driver_start(CONSOLE, VIRTIO_F_EVENT_IDX);
    *used_event(TX) = 1; /* tell me after the second */
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.messages, 0);
    assert_int_equal(*avail_event(TX), 1); /* and it asks for the next */
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.messages, 1);
}

static void a_waiting_device_asks_for_no_notification(void **state)
{
    (void)state;
    driver_start(CONSOLE, VIRTIO_F_EVENT_IDX);
    fake.out_room = 0;
    say_hello();
    driver_notify(CONSOLE, TX);
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(*avail_event(TX), 0);
}

static void masked_messages_wait_for_a_poll(void **state)
{
    (void)state;
    driver_start(CONSOLE, 0);
    uint8_t *control = fake.msix + PAGE_SIZE * CONSOLE + 16 * (1 + TX) + 12;
    const uint8_t *pba = fake.msix + PAGE_SIZE * CONSOLE + 0x800;
    *control = 1;
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.bells[VMM_SM_WORK], 1);
    say_hello();
    driver_notify(CONSOLE, TX);
    assert_int_equal(fake.bells[VMM_SM_WORK], 1); /* once until it comes */
    assert_int_equal(virtio_work(~0ull), WORK_LATER);
    assert_int_equal(fake.bells[VMM_SM_WORK], 1);
    assert_int_equal(fake.messages, 0);
    assert_int_equal(*pba, 1 << (1 + TX));
    *control = 0;
    fake.msix_masked = true;
    virtio_poll(NO_VCPU);
    assert_int_equal(fake.messages, 0);
    fake.msix_masked = false;
    virtio_poll(NO_VCPU);
    virtio_poll(NO_VCPU);
    assert_int_equal(fake.messages, 1);
    assert_int_equal(*pba, 0);
    assert_int_equal(virtio_work(~0ull), WORK_NONE);
}

static void without_msix_the_isr_tells(void **state)
{
    (void)state;
    fake.msix_off = true;
    assert_serves();
    assert_int_equal(fake.messages, 0);
    assert_int_equal(virtio_in(CONSOLE, R_ISR, 1), 1);
    assert_int_equal(virtio_in(CONSOLE, R_ISR, 1), 0);
}

/* A queue of the console with as many chains as it holds, all of them chain 0. */
static void fill_queue(void)
{
    driver_start(CONSOLE, 0);
    driver_reset(CONSOLE);
    driver_features(CONSOLE, 0);
    driver_queue(CONSOLE, TX, VIRTQUEUE_MAX);
    virtio_out(CONSOLE, R_ENABLE, 2, 1);
    driver_desc(TX, 0, BUFFER(0), 1, 0, 0);
    ring(TX)->avail_idx = VIRTQUEUE_MAX;
}

static void a_long_queue_lets_others_have_the_lock(void **state)
{
    (void)state;
    fill_queue();
    virtio_out(CONSOLE, R_STATUS, 1, S_READY);
    uint16_t first = used_idx(TX);
    assert_in_range(first, 1, VIRTQUEUE_MAX - 1);
    assert_int_equal(fake.bells[VMM_SM_WORK], 1);
    virtio_work(~0ull);
    virtio_work(~0ull);
    assert_int_equal(used_idx(TX), VIRTQUEUE_MAX);
}

static void a_late_worker_serves_one_chain(void **state)
{
    (void)state;
    fill_queue();
    virtio_out(CONSOLE, R_STATUS, 1, S_READY);
    for (uint32_t done = used_idx(TX), i = 1; i <= 4; i++) {
        assert_int_equal(virtio_work(1), WORK_MORE);
        assert_int_equal(used_idx(TX), done + i);
    }
    while (virtio_work(1) == WORK_MORE)
        ;
    assert_int_equal(used_idx(TX), VIRTQUEUE_MAX);
}

static void the_worker_leaves_alone_what_a_vcpu_has_in_hand(void **state)
{
    (void)state;
    fill_queue();
    lock_take(virtio_lock(CONSOLE), 0);
    virtio_out(CONSOLE, R_STATUS, 1, S_READY);
    uint16_t done = used_idx(TX);
    uint32_t rings = fake.bells[VMM_SM_WORK];
    assert_int_equal(virtio_work(~0ull), WORK_NONE);
    virtio_poll(NO_VCPU);
    assert_int_equal(used_idx(TX), done);
    assert_int_equal(fake.bells[VMM_SM_WORK], rings);
    lock_give(virtio_lock(CONSOLE));
    assert_int_equal(fake.bells[VMM_SM_WORK], rings + 1); /* the note */
    lock_take(virtio_lock(CONSOLE), 0);
    lock_give(virtio_lock(CONSOLE));
    assert_int_equal(fake.bells[VMM_SM_WORK], rings + 1);
    assert_int_not_equal(virtio_work(~0ull), WORK_LATER);
    assert_true(used_idx(TX) > done);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(pci_capabilities_name_every_structure),
        TEST(features_are_checked),
        TEST(features_read_in_halves),
        TEST(absent_devices_and_queues_read_as_such),
        TEST(vectors_beyond_the_table_are_refused),
        TEST(any_register_access_is_harmless),
        TEST(impossible_sizes_break_the_device),
        TEST(impossible_addresses_break_the_device),
        TEST(an_enabled_queue_cannot_be_moved),
        TEST(impossible_chains_break_the_device),
        TEST(a_full_ring_of_one_chain_is_right),
        TEST(reset_at_any_time_forgets_the_rings),
        TEST(rings_that_change_while_read_are_harmless),
        TEST(a_served_chain_interrupts_once),
        TEST(no_interrupt_flag_is_kept),
        TEST(event_index_is_kept),
        TEST(a_waiting_device_asks_for_no_notification),
        TEST(masked_messages_wait_for_a_poll),
        TEST(without_msix_the_isr_tells),
        TEST(a_long_queue_lets_others_have_the_lock),
        TEST(a_late_worker_serves_one_chain),
        TEST(the_worker_leaves_alone_what_a_vcpu_has_in_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
