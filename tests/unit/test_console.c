/* What becomes of a VM's bytes on their way to the operator. */
#include "test.h"
#include <root/console/console.h>
#include <root/console/uart.h>

static char said[4096];
static uint32_t used;
static struct console_line line;

void uart_put(const char *bytes, uint32_t n)
{
    assert_true(used + n < sizeof(said));
    memcpy(said + used, bytes, n);
    used += n;
    said[used] = 0;
}

static int begin(void **state)
{
    (void)state;
    memset(&line, 0, sizeof(line));
    used = 0;
    return 0;
}

static void hear(const char *bytes) { console_hear("vm", &line, bytes, (uint32_t)strlen(bytes)); }

static void test_lines(void **state)
{
    (void)state;
    hear("one\r\ntwo");
    hear("!\n");
    assert_string_equal(said, "vm| one\nvm| two!\n");
}

static void test_a_character_is_one_mark(void **state)
{
    (void)state;
    hear("modpr\xe2\x80\xa6lice \xc3\xa4\xc3\xb6 \xf0\x9f\x98\x80.\n"); /* an ellipsis, two umlauts,
                                                                           one of four bytes */
    assert_string_equal(said, "vm| modpr?lice ?? ?.\n");
}

static void test_bytes_that_are_no_character(void **state)
{
    (void)state;
    hear("\x80\xbf|\xff|\xc3|\xc3\n\x9b\x9b"
         "31m\n"); /* C1 controls among them */
    assert_string_equal(said, "vm| ??|?|?|?\nvm| ??31m\n");
}

static void test_escape_sequences_vanish(void **state)
{
    (void)state;
    hear("\x1b[1;31mred\x1b[0m\n");
    assert_string_equal(said, "vm| red\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_lines, begin),
        cmocka_unit_test_setup(test_a_character_is_one_mark, begin),
        cmocka_unit_test_setup(test_bytes_that_are_no_character, begin),
        cmocka_unit_test_setup(test_escape_sequences_vanish, begin),
    };
    return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
