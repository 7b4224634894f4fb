/* The network card, between a hostile guest and a hostile switch. */
#include "driver.h"
#include "test.h"

#include <lan/lan_ring.h>

enum { RX, TX };
#define HEADER 12u
/* Features. */
#define MERGED     (1ull << 15)
#define HOST_TSO4  (1ull << 11)
#define RX_CSUM    (1ull << 1)
#define RX_TSO4    (1ull << 7)
#define BUFFERS_AT 10u /* of the header: how many buffers a frame has */
#define BIG        60000u

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
    memset(f->data, byte, size <= LAN_FRAME_MAX ? size : LAN_FRAME(mtu()));
    f->size = size;
    to_vm()->head += lan_frame_slots(size <= LAN_FRAME_MAX ? size : 0, mtu());
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
    assert_int_equal(to_vm()->tail, to_vm()->head);
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
        arrive(1, 13);
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

/* The guest gives buffers [first, first + count) of `size` bytes, without a word. */
static void add_buffers(uint32_t first, uint32_t count, uint32_t size)
{
    for (uint32_t i = first; i < first + count; i++) {
        driver_desc(RX, i % QSIZE, BUFFER(i % 8), size, D_WRITE, 0);
        driver_offer(RX, i % QSIZE);
    }
}

static void start_with(uint64_t features)
{
    driver_reset(NET);
    driver_start(NET, VIRTIO_F_EVENT_IDX | features);
}

static void what_is_left_to_a_card_goes_on(void **state)
{
    (void)state;
    transmit(0x5a, 60);
    const struct lan_frame *sent = lan_ring_slot(to_lan(), mtu(), 0);
    for (uint32_t i = 0; i < HEADER; i++)
        assert_int_equal(((const uint8_t *)&sent->offload)[i], 0x5a);
    start_with(RX_CSUM);
    arrive(0x77, 60);
    struct lan_frame *f = lan_ring_slot(to_vm(), mtu(), 0);
    f->offload = (struct lan_offload){.flags = 1, .csum_start = 34, .csum_offset = 6};
    give_buffer(2048);
    assert_memory_equal(fake.ram + BUFFER(1), &f->offload, BUFFERS_AT);
}

/* A hostile switch, or frames that are there from before another driver came. */
static void a_driver_is_told_of_nothing_that_it_does_not_take(void **state)
{
    (void)state;
    static const struct {
        struct lan_offload told;
        uint64_t takes;
        bool good;
    } cases[] = {
        {{.flags = 1, .csum_start = 34, .csum_offset = 6}, 0, false},
        {{.flags = 1, .csum_start = 34, .csum_offset = 6}, RX_CSUM, true},
        {{.flags = 1, .csum_start = 34, .csum_offset = 30}, RX_CSUM, false}, /* behind its end */
        {{.flags = 1, .csum_start = 0xffff}, RX_CSUM, false},
        {{.flags = 2, .hdr_len = 9}, RX_CSUM, true}, /* and it is told nothing */
        {{.gso_type = 1, .gso_size = 1000}, RX_CSUM | RX_TSO4, false},
        {{.flags = 1, .gso_type = 1, .gso_size = 1000, .csum_start = 34, .csum_offset = 16},
         RX_CSUM | RX_TSO4,
         false}, /* a segment without headers */
    };
    uint32_t bad = 0;
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        start_with(cases[i].takes);
        arrive(0x77, 60);
        lan_ring_slot(to_vm(), mtu(), to_vm()->tail)->offload = cases[i].told;
        give_buffer(2048);
        bad += !cases[i].good;
        assert_int_equal(used_idx(RX), cases[i].good);
        assert_int_equal(to_vm()->unread, bad);
        if (cases[i].good && !(cases[i].told.flags & 1))
            for (uint32_t at = 0; at < BUFFERS_AT; at++)
                assert_int_equal(fake.ram[BUFFER(1) + at], 0);
    }
}

static void the_switch_is_told_what_the_driver_takes(void **state)
{
    (void)state;
    start_with(MERGED | RX_TSO4);
    give_buffer(2048);
    assert_int_equal(to_vm()->takes, VIRTIO_F_EVENT_IDX | MERGED | RX_TSO4);
    start_with(0);
    give_buffer(2048);
    assert_int_equal(to_vm()->takes, VIRTIO_F_EVENT_IDX);
}

static void a_frame_goes_into_several_buffers(void **state)
{
    (void)state;
    start_with(MERGED);
    add_buffers(0, 4, 100);
    arrive(0x77, 250);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(used_elem(RX, i).size, i < 2 ? 100 : HEADER + 250 - 200);
    assert_int_equal(fake.ram[BUFFER(0) + BUFFERS_AT], 3);
    assert_int_equal(fake.ram[BUFFER(0) + HEADER], 0x77);
    assert_int_equal(fake.ram[BUFFER(1) + 99], 0x77);
    assert_int_equal(fake.ram[BUFFER(2) + 61], 0x77);
    assert_int_equal(fake.ram[BUFFER(2) + 62], 0);
    assert_int_equal(to_vm()->tail, 1);
    arrive(0x66, 60); /* and the next one begins anew */
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 4);
    assert_int_equal(fake.ram[BUFFER(3) + BUFFERS_AT], 1);
}

/* The driver notifies of the buffer that makes them enough, and of none before. */
static void a_frame_waits_for_all_of_its_buffers(void **state)
{
    (void)state;
    start_with(MERGED);
    add_buffers(0, 2, 100);
    arrive(0x77, 250);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 0);
    assert_int_equal(*avail_event(RX), 2);
    add_buffers(2, 1, 100);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 3);
    assert_int_equal(to_vm()->unread, 0);
}

/* Where it does not take them, or the ring has not so many. */
static void a_frame_that_never_fits_is_lost(void **state)
{
    (void)state;
    add_buffers(0, 4, 100);
    arrive(0x77, 250);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 0);
    assert_int_equal(to_vm()->unread, 1);
    start_with(MERGED);
    add_buffers(0, QSIZE, 100);
    arrive(0x77, QSIZE * 100 - HEADER + 1);
    arrive(0x66, QSIZE * 100 - HEADER);
    driver_notify(NET, RX);
    assert_int_equal(to_vm()->unread, 2);
    assert_int_equal(used_idx(RX), QSIZE);
    assert_int_equal(fake.ram[BUFFER(0) + HEADER], 0x66);
}

/* In steps: the driver has them all at once (virtio 1.2, 5.1.6.4), and what a hostile switch says
 * meanwhile of the frame's size changes nothing. */
static void a_frame_is_told_of_at_once(void **state)
{
    (void)state;
    start_with(MERGED);
    fake.config->tsc_hz = 0; /* a buffer a step */
    add_buffers(0, 3, 100);
    arrive(0x77, 250);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 0);
    struct lan_frame *f = lan_ring_slot(to_vm(), mtu(), 0);
    f->size = 0xffffffff;
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 0);
    assert_int_equal(fake.messages, 0);
    f->size = 13;
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 3);
    assert_int_equal(fake.messages, 1);
    assert_int_equal(used_elem(RX, 2).size, HEADER + 250 - 200);
    assert_int_equal(to_vm()->tail, 1);
}

/* A driver that begins anew in the middle of a frame gets it whole. */
static void a_reset_begins_the_frame_anew(void **state)
{
    (void)state;
    start_with(MERGED);
    fake.config->tsc_hz = 0;
    add_buffers(0, 3, 100);
    arrive(0x77, 250);
    driver_notify(NET, RX);
    start_with(MERGED);
    add_buffers(0, 1, 2048);
    driver_notify(NET, RX);
    assert_int_equal(used_idx(RX), 1);
    assert_int_equal(used_elem(RX, 0).size, HEADER + 250);
}

static void offer_big(uint32_t q, uint32_t flags)
{
    driver_desc(q, 0, BUFFER(0), BIG / 2, flags | D_NEXT, 1);
    driver_desc(q, 1, BUFFER(0), BIG / 2, flags, 0);
    driver_offer(q, 0);
    driver_notify(NET, q);
}

static void a_frame_to_be_cut_passes_where_the_driver_said_so(void **state)
{
    (void)state;
    offer_big(TX, 0);
    assert_int_equal(to_lan()->unsent, 1);
    start_with(HOST_TSO4);
    offer_big(TX, 0);
    assert_int_equal(to_lan()->unsent, 1);
    assert_int_equal(lan_ring_slot(to_lan(), mtu(), 0)->size, BIG - HEADER);
    assert_int_equal(to_lan()->head, lan_frame_slots(BIG - HEADER, mtu()));
    offer_big(TX, 0); /* there is no room for two: it waits */
    assert_int_equal(used_idx(TX), 1);
    to_lan()->tail = to_lan()->head;
    virtio_work(~0ull);
    assert_int_equal(used_idx(TX), 2);
}

/* The headers of a TCP segment to be cut. */
static void arrive_big(void)
{
    struct lan_frame *f = lan_ring_slot(to_vm(), mtu(), to_vm()->head);
    arrive(0x77, BIG - HEADER);
    memcpy(f->data + 12, (const uint8_t[]){8, 0, 0x45}, 3);
    f->data[23] = 6;
    f->data[46] = 0x50;
    f->offload = (struct lan_offload){
        .flags = 1, .gso_type = 1, .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
}

static void a_frame_to_be_cut_comes_where_the_driver_takes_it(void **state)
{
    (void)state;
    arrive_big();
    offer_big(RX, D_WRITE);
    assert_int_equal(to_vm()->unread, 1);
    start_with(RX_CSUM | RX_TSO4);
    arrive_big();
    offer_big(RX, D_WRITE);
    assert_int_equal(to_vm()->unread, 1);
    assert_int_equal(used_elem(RX, 0).size, BIG);
    assert_int_equal(to_vm()->tail, to_vm()->head);
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
        TEST(what_is_left_to_a_card_goes_on),
        TEST(a_driver_is_told_of_nothing_that_it_does_not_take),
        TEST(the_switch_is_told_what_the_driver_takes),
        TEST(a_frame_goes_into_several_buffers),
        TEST(a_frame_waits_for_all_of_its_buffers),
        TEST(a_frame_that_never_fits_is_lost),
        TEST(a_frame_is_told_of_at_once),
        TEST(a_reset_begins_the_frame_anew),
        TEST(a_frame_to_be_cut_passes_where_the_driver_said_so),
        TEST(a_frame_to_be_cut_comes_where_the_driver_takes_it),
        cmocka_unit_test_setup_teardown(large_frames_pass_on_a_large_lan, setup_large, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
