/* Random bytes: none but the processor's, and no device where it has none. */
#include "driver.h"
#include "test.h"

enum { QUEUE };
#define FIRST 0x1111111111111111ull

static int setup(void **state)
{
    (void)state;
    fake_start();
    fake.has_random = true;
    fake.random = 4;
    fake.random_word = FIRST;
    fake.random_step = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_reset(RNG);
    fake_stop();
    return 0;
}

/* Is there a device now? */
static bool is_there(void)
{
    memset(fake.pci[RNG], 0, sizeof fake.pci[RNG]);
    virtio_rng_init(RNG);
    return fake.pci[RNG][2] == 0x44; /* 1044h */
}

static void ask(uint32_t size)
{
    driver_desc(QUEUE, 0, BUFFER(0), size, D_WRITE, 0);
    driver_offer(QUEUE, 0);
    driver_notify(RNG, QUEUE);
}

static void no_instruction_is_no_device(void **state)
{
    (void)state;
    fake.has_random = false;
    assert_false(is_there());
}

static void an_instruction_that_fails_is_no_device(void **state)
{
    (void)state;
    fake.random = 3;
    assert_false(is_there());
}

static void one_that_repeats_itself_is_no_device(void **state)
{
    (void)state;
    fake.random_step = 0;
    assert_false(is_there());
}

static void all_ones_are_no_word(void **state)
{
    (void)state;
    fake.random = 100;
    fake.random_word = ~0ull;
    fake.random_step = 0;
    assert_false(is_there());
}

static void a_buffer_has_the_processors_words(void **state)
{
    (void)state;
    uint64_t got[3] = {0};
    assert_true(is_there());
    driver_start(RNG, 0);
    fake.random = 3;
    ask(20);
    memcpy(got, fake.ram + BUFFER(0), sizeof got);
    assert_int_equal(used_elem(QUEUE, 0).size, 20);
    assert_int_equal(got[0], FIRST + 4);
    assert_int_equal(got[1], FIRST + 5);
    assert_int_equal(got[2], (FIRST + 6) & 0xffffffff); /* and no byte more */
    assert_int_equal(fake.random, 0);
}

/* What there is no word for is not said to be written; the driver asks again. */
static void a_part_is_an_answer(void **state)
{
    (void)state;
    assert_true(is_there());
    driver_start(RNG, 0);
    fake.random = 1;
    ask(32);
    assert_int_equal(used_elem(QUEUE, 0).size, 8);
}

static void without_words_the_buffer_waits(void **state)
{
    (void)state;
    assert_true(is_there());
    driver_start(RNG, 0);
    ask(8);
    assert_int_equal(used_idx(QUEUE), 0);
    fake.random = 1;
    virtio_work(~0ull);
    assert_int_equal(used_idx(QUEUE), 1);
    assert_int_equal(used_elem(QUEUE, 0).size, 8);
}

static void a_large_buffer_gets_its_beginning(void **state)
{
    (void)state;
    assert_true(is_there());
    driver_start(RNG, 0);
    fake.random = 1000;
    ask(0x1000);
    assert_int_equal(used_elem(QUEUE, 0).size, 64);
    assert_int_equal(fake.random, 1000 - 8);
}

static void a_buffer_that_is_to_be_read_gets_nothing(void **state)
{
    (void)state;
    assert_true(is_there());
    driver_start(RNG, 0);
    fake.random = 10;
    driver_desc(QUEUE, 0, BUFFER(0), 64, 0, 0);
    driver_offer(QUEUE, 0);
    driver_notify(RNG, QUEUE);
    assert_int_equal(used_elem(QUEUE, 0).size, 0);
    assert_int_equal(fake.random, 10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(no_instruction_is_no_device),
        TEST(an_instruction_that_fails_is_no_device),
        TEST(one_that_repeats_itself_is_no_device),
        TEST(all_ones_are_no_word),
        TEST(a_buffer_has_the_processors_words),
        TEST(a_part_is_an_answer),
        TEST(without_words_the_buffer_waits),
        TEST(a_large_buffer_gets_its_beginning),
        TEST(a_buffer_that_is_to_be_read_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
