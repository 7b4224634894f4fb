/* The console's queues against rings that fill up and run dry. */
#include "driver.h"
#include "test.h"

enum { RX, TX };

static int setup(void **state)
{
    (void)state;
    fake_start();
    driver_start(CONSOLE, VIRTIO_F_EVENT_IDX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop();
    return 0;
}

static void print(const char *text)
{
    memcpy(fake.ram + BUFFER(0), text, strlen(text));
    driver_desc(TX, 0, BUFFER(0), (uint32_t)strlen(text), 0, 0);
    driver_offer(TX, 0);
    driver_notify(CONSOLE, TX);
}

static void output_waits_for_room_and_loses_nothing(void **state)
{
    (void)state;
    fake.out_room = 3;
    print("hello, world");
    assert_int_equal(fake.out_size, 3);
    assert_int_equal(used_idx(TX), 0);
    fake.out_room = 4;
    virtio_work(~0ull);
    assert_int_equal(used_idx(TX), 0);
    fake.out_room = 100;
    virtio_work(~0ull);
    virtio_work(~0ull);
    assert_int_equal(used_idx(TX), 1);
    print("!");
    assert_int_equal(fake.out_size, 13);
    assert_memory_equal(fake.out, "hello, world!", 13);
}

static void a_reset_forgets_half_a_line(void **state)
{
    (void)state;
    fake.out_room = 3;
    print("hello");
    driver_start(CONSOLE, 0);
    fake.out_size = 0;
    fake.out_room = 100;
    print("again");
    assert_memory_equal(fake.out, "again", 5);
}

static void input_waits_for_a_buffer(void **state)
{
    (void)state;
    memcpy(fake.in, "ls -l\n", 6);
    fake.in_size = 6;
    virtio_work(~0ull);
    assert_int_equal(fake.in_size, 6);
    driver_desc(RX, 0, BUFFER(1), 4, D_WRITE, 0);
    driver_offer(RX, 0);
    driver_notify(CONSOLE, RX);
    assert_memory_equal(fake.ram + BUFFER(1), "ls -", 4);
    assert_int_equal(used_elem(RX, 0).size, 4);
    driver_offer(RX, 0);
    driver_notify(CONSOLE, RX);
    assert_memory_equal(fake.ram + BUFFER(1), "l\n", 2);
    assert_int_equal(used_elem(RX, 1).size, 2);
}

static void a_buffer_waits_for_input(void **state)
{
    (void)state;
    driver_desc(RX, 0, BUFFER(1), 64, D_WRITE, 0);
    driver_offer(RX, 0);
    driver_notify(CONSOLE, RX);
    assert_int_equal(used_idx(RX), 0);
    fake.in[0] = 'x';
    fake.in_size = 1;
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 1);
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(CONSOLE, RX));
}

/* The page with the table is where the guest has put it; beyond those that are there, messages
 * wait. */
static void messages_come_from_where_the_table_is(void **state)
{
    (void)state;
    memcpy(fake.msix + 9 * PAGE_SIZE, fake.msix + CONSOLE * PAGE_SIZE, PAGE_SIZE);
    memset(fake.msix + CONSOLE * PAGE_SIZE, 0xff, PAGE_SIZE);
    fake.bar1[CONSOLE] = PCI_MEM(VMM_MSIX_PAGES);
    print("one");
    assert_int_equal(fake.messages, 0);
    fake.bar1[CONSOLE] = PCI_MEM(0) - PAGE_SIZE;
    virtio_work(~0ull);
    assert_int_equal(fake.messages, 0);
    fake.bar1[CONSOLE] = PCI_MEM(9);
    virtio_work(~0ull);
    assert_int_equal(fake.messages, 1);
    assert_int_equal(fake.message[0], QUEUE_MESSAGE(CONSOLE, TX));
}

static void input_for_the_uart_stays(void **state)
{
    (void)state;
    memcpy(fake.in, "ls\n", 3);
    fake.in_size = 3;
    fake.claimed = true;
    driver_desc(RX, 0, BUFFER(1), 64, D_WRITE, 0);
    driver_offer(RX, 0);
    driver_notify(CONSOLE, RX);
    virtio_work(~0ull);
    assert_int_equal(used_idx(RX), 0);
    assert_int_equal(fake.in_size, 3);
    fake.claimed = false;
    virtio_work(~0ull);
    assert_int_equal(used_elem(RX, 0).size, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(output_waits_for_room_and_loses_nothing),
        TEST(a_reset_forgets_half_a_line),
        TEST(input_waits_for_a_buffer),
        TEST(a_buffer_waits_for_input),
        TEST(input_for_the_uart_stays),
        TEST(messages_come_from_where_the_table_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
