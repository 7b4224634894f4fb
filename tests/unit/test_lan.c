/* The switch between VMMs that may be hostile. */
#include "lan_ports.h"

static void unicast_reaches_its_port_alone(void **state)
{
    (void)state;
    put(A, MAC_B, MAC_A);
    run();
    const struct lan_frame *f = slot(to_vm(B), 0);
    assert_int_equal(f->size, 60);
    assert_int_equal(f->data[11], MAC_A);
    assert_int_equal(f->data[59], 0x42);
    assert_got(0, 1, 0);
}

static void broadcast_and_unknown_reach_all_others(void **state)
{
    (void)state;
    put(B, BROADCAST, MAC_B);
    assert_got(1, 0, 1);
    put(B, MAC_NEW, MAC_B);
    assert_got(1, 0, 1);
    put(B, MAC_B, MAC_B); /* to itself: nobody */
    assert_got(0, 0, 0);
}

/* Isolation: with a hub, here B, nobody hears another but the hub, and the hub all. */
static void with_a_hub_others_are_apart(void **state)
{
    (void)state;
    lan.hub = B + 1;
    put(A, MAC_C, MAC_A);
    put(C, BROADCAST, MAC_C);
    put(A, MAC_NEW, MAC_A);
    assert_got(0, 2, 0);
    put(A, MAC_B, MAC_A);
    put(B, MAC_C, MAC_B);
    put(B, BROADCAST, MAC_B);
    assert_got(1, 1, 2);
}

/* A flood to a hub: frames wait where they are while its ring is full, and each place that it makes
   is another sender's. */
static void a_hub_that_is_full_is_waited_for(void **state)
{
    (void)state;
    lan.hub = B + 1;
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        put(A, MAC_B, MAC_A);
    run();
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        put(A, MAC_B, MAC_A);
    for (uint32_t i = 0; i < 4; i++)
        put(C, MAC_B, MAC_C);
    run();
    assert_int_equal(to_lan(A)->tail, LAN_SLOTS);
    assert_int_equal(to_lan(C)->tail, 0);
    assert_int_equal(to_vm(B)->unsent, 0);
    for (uint32_t i = 0; i < 8; i++) {
        to_vm(B)->tail++;
        put(B, MAC_A, MAC_B); /* its own frames are nobody's turn */
        run();
        assert_int_equal(got(A), 1);
        assert_int_equal(to_lan(C)->tail, i / 2 + 1);
        assert_int_equal(to_lan(A)->tail, LAN_SLOTS + (i + 1) / 2);
    }
}

static void a_new_source_is_learned(void **state)
{
    (void)state;
    put(C, MAC_A, MAC_NEW);
    assert_got(1, 0, 0);
    put(A, MAC_NEW, MAC_A);
    assert_got(0, 0, 1);
}

static void nobody_sends_as_another(void **state)
{
    (void)state;
    put(C, MAC_A, MAC_NEW);
    assert_got(1, 0, 0);
    put(A, MAC_C, MAC_B);     /* the plan gives it to B */
    put(A, MAC_C, MAC_NEW);   /* C used it first        */
    put(A, MAC_C, BROADCAST); /* not a sender           */
    put(A, MAC_C, 0);
    assert_got(0, 0, 0);
    assert_int_equal(to_lan(A)->unread, 4);
    put(A, MAC_NEW, MAC_A); /* and nothing was learned from it */
    assert_got(0, 0, 1);
}

static void learning_is_bounded_and_takes_from_nobody(void **state)
{
    (void)state;
    put(C, MAC_A, MAC_NEW);
    for (uint8_t i = 1; i < 100; i++) {
        put(A, MAC_B, (uint8_t)(MAC_NEW + i));
        run();
        got(B);
    }
    assert_got(1, 0, 0);
    put(B, MAC_NEW, MAC_B); /* C's is still known */
    assert_got(0, 0, 1);
    put(B, MAC_NEW + 1, MAC_B); /* A's oldest is forgotten: flooded */
    assert_got(1, 0, 1);
    put(B, MAC_NEW + 99, MAC_B);
    assert_got(1, 0, 0);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 13, LAN_FRAME(PLAN_MTU) + 1, 0x80000000, 0xffffffff};
    put(A, MAC_B, MAC_A);
    for (uint32_t i = 0; i < COUNT(sizes); i++)
        put_sized(A, MAC_B, MAC_A, sizes[i]);
    put_sized(A, MAC_B, MAC_A, 14);
    put_sized(A, MAC_B, MAC_A, LAN_FRAME(PLAN_MTU));
    assert_got(0, 3, 0);
    assert_int_equal(to_lan(A)->unread, COUNT(sizes));
}

static void a_full_receiver_loses_frames_alone(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LAN_SLOTS + 5; i++) {
        put(A, BROADCAST, MAC_A);
        run();
        got(C);
    }
    assert_int_equal(to_vm(B)->unsent, 5);
    assert_int_equal(to_vm(C)->unsent, 0);
    assert_int_equal(got(B), LAN_SLOTS);
    assert_int_equal(fake.bells[LAN_SM_PORT + B], 1); /* empty to non-empty, once */
}

static void wild_indices_harm_only_their_port(void **state)
{
    (void)state;
    to_lan(A)->head = 0x12345678;
    to_vm(A)->tail = 0x87654321;
    put(B, BROADCAST, MAC_B);
    run();
    assert_int_equal(to_lan(A)->tail, 0x12345678);
    assert_int_equal(to_vm(A)->unsent, 1);
    assert_int_equal(got(C), 1);
}

static void turns_are_fair(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        put(A, MAC_C, MAC_A);
    put(B, MAC_C, MAC_B);
    assert_true(switch_turn(&lan));
    assert_int_equal(to_lan(A)->tail, SWITCH_BURST);
    assert_int_equal(to_lan(B)->tail, 1);
}

static void a_sender_that_was_full_is_told(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < LAN_SLOTS; i++)
        put(A, MAC_B, MAC_A);
    assert_non_null(lan_ring_free(to_lan(A), lan.mtu, 60));
    switch_turn(&lan);
    assert_int_equal(fake.bells[LAN_SM_PORT + A], 0);
    while (to_lan(A)->head - to_lan(A)->tail < LAN_SLOTS)
        put(A, MAC_B, MAC_A);
    assert_null(lan_ring_free(to_lan(A), lan.mtu, 60));
    switch_turn(&lan);
    assert_int_equal(fake.bells[LAN_SM_PORT + A], 1);
    assert_non_null(lan_ring_free(to_lan(A), lan.mtu, 60));
    switch_turn(&lan);
    assert_int_equal(fake.bells[LAN_SM_PORT + A], 1);
}

static void too_many_ports_are_cut(void **state)
{
    (void)state;
    struct lan_config config = {.ports = 0xffffffff, .mtu = 0xffffffff};
    switch_init(&lan, &config, rings);
    assert_int_equal(lan.ports, PLAN_VMS);
    assert_int_equal(lan.mtu, PLAN_MTU_MAX);
}

/* Every slot of a LAN with the largest MTU, filled to the last byte: the sanitizer watches the end
 * of the rings. */
static void large_frames_pass_on_a_large_lan(void **state)
{
    (void)state;
    uint32_t most = LAN_FRAME(PLAN_MTU_MAX);
    teardown(NULL);
    setup_mtu(PLAN_MTU_MAX);
    for (uint32_t i = 0; i < 2 * LAN_SLOTS; i++) {
        slot(to_lan(C), i)->data[most - 1] = (uint8_t)i;
        put_sized(C, MAC_B, MAC_C, most);
        run();
        assert_int_equal(slot(to_vm(B), i)->size, most);
        assert_int_equal(slot(to_vm(B), i)->data[most - 1], i);
        assert_int_equal(got(B), 1);
    }
    put_sized(C, MAC_B, MAC_C, most + 1);
    assert_got(0, 0, 0);
    assert_int_equal(to_lan(C)->unread, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(unicast_reaches_its_port_alone),
        TEST(broadcast_and_unknown_reach_all_others),
        TEST(with_a_hub_others_are_apart),
        TEST(a_hub_that_is_full_is_waited_for),
        TEST(a_new_source_is_learned),
        TEST(nobody_sends_as_another),
        TEST(learning_is_bounded_and_takes_from_nobody),
        TEST(impossible_sizes_are_refused),
        TEST(a_full_receiver_loses_frames_alone),
        TEST(wild_indices_harm_only_their_port),
        TEST(turns_are_fair),
        TEST(a_sender_that_was_full_is_told),
        TEST(too_many_ports_are_cut),
        TEST(large_frames_pass_on_a_large_lan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
