/* The power button: what a driver asks it, and that a press comes to it whole and once. */
#include "driver.h"
#include "test.h"

enum { EVENTS, STATUS };
enum { KEY = 1, POWER = 116 };

static int setup(void **state)
{
    (void)state;
    fake_start();
    driver_start(BUTTON, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

/* Bytes of the answer, to `data`. */
static uint32_t ask(uint8_t select, uint8_t subselect, uint8_t *data)
{
    virtio_out(BUTTON, R_CONFIG, 1, select);
    virtio_out(BUTTON, R_CONFIG + 1, 1, subselect);
    uint32_t size = virtio_in(BUTTON, R_CONFIG + 2, 1);
    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)virtio_in(BUTTON, R_CONFIG + 8 + i, 1);
    return size;
}

static void it_has_a_name_and_one_key(void **state)
{
    (void)state;
    uint8_t data[128];
    assert_int_equal(ask(1, 0, data), strlen("Hairline power button"));
    assert_memory_equal(data, "Hairline power button", strlen("Hairline power button"));
    uint32_t size = ask(0x11, KEY, data), keys = 0;
    for (uint32_t i = 0; i < 8 * size; i++)
        keys += data[i / 8] >> i % 8 & 1;
    assert_int_equal(keys, 1);
    assert_true(data[POWER / 8] >> POWER % 8 & 1);
    for (uint32_t select = 0; select < 256; select++)
        for (uint32_t sub = 0; sub < 256; sub++)
            if ((select != 1 || sub) && (select != 0x11 || sub != KEY))
                assert_int_equal(ask((uint8_t)select, (uint8_t)sub, data), 0);
}

/* Two bytes, one at a time, and no others: the answer is the device's. */
static void the_rest_is_read_only(void **state)
{
    (void)state;
    uint8_t data[128];
    uint32_t size = ask(1, 0, data);
    for (uint32_t i = 2; i < 0x80; i++)
        virtio_out(BUTTON, R_CONFIG + i, 1, 0xff);
    virtio_out(BUTTON, R_CONFIG, 4, 0xffffffff);
    virtio_out(BUTTON, R_CONFIG, 2, 0xffff);
    assert_int_equal(virtio_in(BUTTON, R_CONFIG + 2, 1), size);
    assert_int_equal(virtio_in(BUTTON, R_CONFIG + 8, 1), 'H');
}

struct input_event {
    uint16_t type, code;
    uint32_t value;
};

static void offer(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        driver_desc(EVENTS, i, BUFFER(0) + 8 * i, 8, D_WRITE, 0);
        driver_offer(EVENTS, i);
    }
    driver_notify(BUTTON, EVENTS);
}

static struct input_event told(uint32_t i)
{
    struct input_event event;
    assert_int_equal(used_elem(EVENTS, i).size, sizeof event);
    memcpy(&event, fake.ram + BUFFER(0) + 8 * i, sizeof event);
    return event;
}

static void root_presses(void)
{
    fake.control->presses++;
    virtio_work(~0ull);
}

static void check_press(void)
{
    static const struct input_event whole[] = {
        {KEY, POWER, 1}, {0, 0, 0}, {KEY, POWER, 0}, {0, 0, 0}};
    assert_int_equal(used_idx(EVENTS), 4);
    for (uint32_t i = 0; i < 4; i++) {
        struct input_event event = told(i);
        assert_memory_equal(&event, &whole[i], sizeof event);
    }
}

static void a_press_is_told_once(void **state)
{
    (void)state;
    offer(QSIZE);
    virtio_work(~0ull);
    assert_int_equal(used_idx(EVENTS), 0);
    root_presses();
    check_press();
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(BUTTON, EVENTS));
    virtio_work(~0ull);
    assert_int_equal(used_idx(EVENTS), 4);
    root_presses();
    assert_int_equal(used_idx(EVENTS), 8);
}

static void a_press_waits_for_buffers(void **state)
{
    (void)state;
    root_presses();
    root_presses();
    offer(3);
    assert_int_equal(used_idx(EVENTS), 3);
    driver_desc(EVENTS, 3, BUFFER(0) + 24, 8, D_WRITE, 0);
    driver_offer(EVENTS, 3);
    driver_notify(BUTTON, EVENTS);
    check_press();
    for (uint32_t i = 4; i < QSIZE; i++)
        driver_offer(EVENTS, i);
    driver_notify(BUTTON, EVENTS);
    assert_int_equal(used_idx(EVENTS), 4); /* two that nobody heard are one */
}

static void half_a_press_begins_anew_after_a_reset(void **state)
{
    (void)state;
    offer(1);
    root_presses();
    assert_int_equal(used_idx(EVENTS), 1);
    driver_start(BUTTON, 0);
    offer(QSIZE);
    check_press();
}

static void lights_are_taken(void **state)
{
    (void)state;
    driver_desc(STATUS, 0, BUFFER(1), 8, 0, 0);
    driver_offer(STATUS, 0);
    driver_notify(BUTTON, STATUS);
    assert_int_equal(used_idx(STATUS), 1);
    assert_false(driver_broken(BUTTON));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(it_has_a_name_and_one_key),
        TEST(the_rest_is_read_only),
        TEST(a_press_is_told_once),
        TEST(a_press_waits_for_buffers),
        TEST(half_a_press_begins_anew_after_a_reset),
        TEST(lights_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
