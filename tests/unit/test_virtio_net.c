/* The network card, between a hostile guest and a hostile switch. */
#include "driver.h"
#include "test.h"

#include <lan/lan_ring.h>

enum { RX, TX };
#define HEADER 12u

static uint32_t mtu(void) { return fake.config->plan.mtu; }
static struct lan_ring *to_lan(void) { return lan_to_switch(fake.lan); }
static struct lan_ring *to_vm(void) { return lan_to_vm(fake.lan, mtu()); }

static int setup(void **state)
{
    (void)state;
    fake_start();
    driver_start(NET, VIRTIO_F_EVENT_IDX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

/* The guest sends `size` bytes of `byte`, in two parts. */
static void transmit(uint8_t byte, uint32_t size)
{
    memset(fake.ram + BUFFER(0), byte, HEADER + size);
    driver_desc(TX, 0, BUFFER(0), HEADER + 5, D_NEXT, 1);
    driver_desc(TX, 1, BUFFER(0) + HEADER + 5, size - 5, 0, 0);
    driver_offer(TX, 0);
    driver_notify(NET, TX);
}

/* The guest gives one buffer of `size` bytes. */
static void give_buffer(uint32_t size)
{
    driver_desc(RX, 0, BUFFER(1), size, D_WRITE, 0);
    driver_offer(RX, 0);
    driver_notify(NET, RX);
}

/* The switch puts a frame into the ring. */
static void arrive(uint8_t byte, uint32_t size)
{
    struct lan_frame *f = lan_ring_slot(to_vm(), mtu(), to_vm()->head);
    memset(f->data, byte, LAN_FRAME(mtu()));
    f->size = size;
    to_vm()->head++;
}

static void config_shows_mac_link_and_mtu(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(virtio_in(NET, R_CONFIG + i, 1), fake.config->plan.mac[i]);
    assert_int_equal(virtio_in(NET, R_CONFIG + 6, 2), 1);
    assert_int_equal(virtio_in(NET, R_CONFIG + 10, 2), PLAN_MTU);
}

static void no_lan_no_card(void **state)
{
    (void)state;
    fake_stop();
    memset(fake.pci, 0, sizeof fake.pci);
    fake_start(); /* the device table keeps its old card: look at PCI */
    assert_int_equal(fake.pci[NET][0], 0xf4);
    memset(fake.pci, 0, sizeof fake.pci);
    fake.config->plan.lan = 0;
    virtio_init();
    assert_int_equal(fake.pci[NET][0], 0);
}

static void a_frame_is_sent_without_its_header(void **state)
{
    (void)state;
    transmit(0x5a, 60);
    assert_int_equal(to_lan()->head, 1);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->size, 60);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->data[0], 0x5a);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->data[59], 0x5a);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->data[60], 0);
    assert_int_equal(used_idx(TX), 1);
}

static void the_switch_is_told_only_when_it_may_sleep(void **state)
{
    (void)state;
    uint32_t before = fake.bells[VMM_SM_LAN];
    transmit(1, 60);
    transmit(2, 60);
    assert_int_equal(fake.bells[VMM_SM_LAN], before + 1);
    to_lan()->tail = 2;
    transmit(3, 60);
    assert_int_equal(fake.bells[VMM_SM_LAN], before + 2);
}

static void impossible_frames_vanish(void **state)
{
    (void)state;
    transmit(1, 13);
    transmit(1, LAN_FRAME(PLAN_MTU) + 1);
    driver_desc(TX, 0, BUFFER(0), 3, 0, 0); /* not even a header */
    driver_offer(TX, 0);
    driver_notify(NET, TX);
    assert_int_equal(to_lan()->head, 0);
    assert_int_equal(used_idx(TX), 3);
    assert_int_equal(to_lan()->unsent, 3);
    transmit(1, LAN_FRAME(PLAN_MTU));
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->size, LAN_FRAME(PLAN_MTU));
    assert_false(driver_broken(NET));
}

static void frames_wait_for_a_full_switch(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        transmit((uint8_t)i, 60);
    transmit(0xee, 60);
    assert_int_equal(used_idx(TX), LAN_SLOTS);
    to_lan()->tail = 1;
    virtio_work(~0ull);
    assert_int_equal(used_idx(TX), LAN_SLOTS + 1);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->data[0], 0xee);
}

static void a_wild_reader_stops_only_us(void **state)
{
    (void)state;
    to_lan()->tail = 0x80000000;
    transmit(1, 60);
    assert_int_equal(used_idx(TX), 0);
    assert_int_equal(to_lan()->head, 0);
    assert_false(driver_broken(NET));
}

static void a_frame_is_received_behind_a_header(void **state)
{
    (void)state;
    static const uint8_t header[HEADER] = {[10] = 1}; /* num_buffers */
    give_buffer(2048);
    arrive(0x77, 60);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 1);
    assert_int_equal(used_elem(RX, 0).size, HEADER + 60);
    assert_memory_equal(fake.ram + BUFFER(1), header, HEADER);
    assert_int_equal(fake.ram[BUFFER(1) + HEADER], 0x77);
    assert_int_equal(fake.ram[BUFFER(1) + HEADER + 60], 0);
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(NET, RX));
    assert_int_equal(to_vm()->tail, 1);
}

static void frames_wait_for_buffers(void **state)
{
    (void)state;
    arrive(0x11, 60);
    virtio_work(~0ull);
    assert_int_equal(to_vm()->tail, 0);
    give_buffer(2048); /* its notification fetches the frame */
    assert_int_equal(used_idx(RX), 1);
}

/* Who gives buffers for many frames does not take them all in that exit. */
static void an_exit_is_short(void **state)
{
    (void)state;
    fake.config->tsc_hz = 0;
    for (uint32_t i = 0; i < 3; i++) {
        arrive(1, 60);
        driver_desc(RX, i, BUFFER(1 + i), 2048, D_WRITE, 0);
        driver_offer(RX, i);
    }
    uint32_t before = fake.bells[VMM_SM_WORK];
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 1);
    assert_int_equal(fake.bells[VMM_SM_WORK], before + 1);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 3);
}

static void frames_that_do_not_fit_are_lost(void **state)
{
    (void)state;
    give_buffer(HEADER + 60);
    arrive(1, 61);
    arrive(2, 13);
    arrive(3, LAN_FRAME(PLAN_MTU) + 1);
    arrive(4, 0xffffffff);
    arrive(5, 60);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 1);
    assert_int_equal(fake.ram[BUFFER(1) + HEADER], 5);
    assert_int_equal(to_vm()->tail, 5);
    assert_int_equal(to_vm()->unread, 4);
}

static void wild_indices_empty_the_ring(void **state)
{
    (void)state;
    static const uint32_t heads[] = {LAN_SLOTS + 1, 0x80000000, 0xffffffff};
    give_buffer(2048);
    for (uint32_t i = 0; i < COUNT(heads); i++) {
        to_vm()->tail = 0;
        to_vm()->head = heads[i];
        virtio_work(~0ull);
        assert_int_equal(to_vm()->tail, heads[i]);
    }
    assert_int_equal(used_idx(RX), 0);
    arrive(9, 60);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 1);
}

static void wrong_directions_harm_nobody(void **state)
{
    (void)state;
    driver_desc(RX, 0, BUFFER(1), 2048, 0, 0); /* a receive buffer that may only be read */
    driver_offer(RX, 0);
    arrive(1, 60);
    driver_notify(NET, RX);
    assert_int_equal(fake.ram[BUFFER(1)], 0);
    driver_desc(TX, 0, BUFFER(0), 100, D_WRITE, 0); /* a frame that may only be written */
    driver_offer(TX, 0);
    driver_notify(NET, TX);
    assert_int_equal(to_lan()->head, 0);
}

/* The switch may fill the ring as fast as we empty it. */
static void bad_frames_hold_the_lock_for_one_ring_only(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        arrive(1, LAN_FRAME(PLAN_MTU) + 1);
    give_buffer(0x600 + HEADER);
    assert_int_equal(used_idx(RX), 0);
    assert_int_equal(to_vm()->tail, LAN_SLOTS);
    assert_int_equal(fake.bells[VMM_SM_WORK], 1); /* to go on */
    arrive(7, 60);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 1);
}

static int setup_large(void **state)
{
    (void)state;
    fake_start_lan(PLAN_MTU_MAX);
    driver_start(NET, VIRTIO_F_EVENT_IDX);
    return 0;
}

static void large_frames_pass_on_a_large_lan(void **state)
{
    (void)state;
    uint32_t most = LAN_FRAME(PLAN_MTU_MAX);
    assert_int_equal(virtio_in(NET, R_CONFIG + 10, 2), PLAN_MTU_MAX);
    for (uint32_t i = 0; i < LAN_SLOTS; i++) /* in the last slot, too */
        transmit((uint8_t)i, i % 2 ? 60 : most);
    transmit(1, most + 1);
    assert_int_equal(to_lan()->head, LAN_SLOTS);
    assert_int_equal(to_lan()->unsent, 1);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), LAN_SLOTS - 2)->size, most);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), LAN_SLOTS - 2)->data[most - 1], LAN_SLOTS - 2);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), LAN_SLOTS - 1)->data[0], LAN_SLOTS - 1);
    for (uint32_t i = 0; i < 4;
         i++) /* a buffer in parts, as a driver has it that takes no merged ones */
        driver_desc(RX, i, BUFFER(4) + 0xa00 * i, 0xa00, D_WRITE | (i < 3 ? D_NEXT : 0), i + 1);
    driver_offer(RX, 0);
    driver_notify(NET, RX);
    arrive(0x66, most + 1);
    arrive(0x77, most);
    virtio_work(~0ull);
    assert_int_equal(used_elem(RX, 0).size, HEADER + most);
    assert_int_equal(fake.ram[BUFFER(4) + HEADER + most - 1], 0x77);
    assert_int_equal(to_vm()->unread, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(config_shows_mac_link_and_mtu),
        TEST(no_lan_no_card),
        TEST(a_frame_is_sent_without_its_header),
        TEST(the_switch_is_told_only_when_it_may_sleep),
        TEST(impossible_frames_vanish),
        TEST(frames_wait_for_a_full_switch),
        TEST(a_wild_reader_stops_only_us),
        TEST(a_frame_is_received_behind_a_header),
        TEST(frames_wait_for_buffers),
        TEST(an_exit_is_short),
        TEST(frames_that_do_not_fit_are_lost),
        TEST(wild_indices_empty_the_ring),
        TEST(wrong_directions_harm_nobody),
        TEST(bad_frames_hold_the_lock_for_one_ring_only),
        cmocka_unit_test_setup_teardown(large_frames_pass_on_a_large_lan, setup_large, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
