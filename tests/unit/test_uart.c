/* Which UART root talks to: firmware's, COM1, or none. Each is eight bytes here. */
#include "test.h"
#include <root/console/uart.h>
#include <root/memory.h>
#include <lib/call.h>
#include <lib/screen.h>
#include <stdio.h>

enum { COM1 = 0x3f8, COM2 = 0x2f8, MMIO = 0xfedc9100 };

static struct fake {
    bool there;
    uint64_t base;
    uint8_t reg[8], divisor[2];
    char sent[64];
    uint32_t used;
} chip[2]; /* COM1, COM2 */
static uint32_t
    window[16]; /* a UART in memory, by 32-bit registers: it keeps all that is written */
static const struct boot_screen no_screen;
static uint64_t taken, accesses;
static bool device_memory;

static struct fake *find(uint16_t port)
{
    for (struct fake *f = chip; f < chip + COUNT(chip); f++)
        if (f->there && port - f->base < 8)
            return f;
    return NULL;
}

uint8_t port_in8(uint16_t port)
{
    struct fake *f = find(port);
    accesses++;
    if (!f)
        return 0xff;
    return port % 8 == 5 ? 0x60 : f->reg[port % 8];
}

void port_out8(uint16_t port, uint8_t value)
{
    struct fake *f = find(port);
    if (!f)
        return;
    if (port % 8 < 2 && f->reg[3] & 0x80)
        f->divisor[port % 8] = value;
    else if (port % 8 == 0)
        f->sent[f->used++] = (char)value;
    f->reg[port % 8] = value;
}

uint32_t port_in32(uint16_t port)
{
    fail_msg("port %x", port);
    return 0;
}

uint64_t memory_take_device(uint64_t base, uint64_t size, struct region *region)
{
    *region = (struct region){1, base, size};
    taken = base;
    return device_memory ? OK : BAD_ARG;
}

static uint8_t picture[];

void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    if (base == 0x80000040)
        return picture;
    assert_true(perm == (MR_READ | MR_WRITE) && base == MMIO && size <= sizeof window);
    return window;
}

static void use(bool com1, bool com2, const struct serial *named)
{
    memset(chip, 0, sizeof chip);
    memset(window, 0, sizeof window);
    chip[0].there = com1, chip[0].base = COM1;
    chip[1].there = com2, chip[1].base = COM2;
    taken = 0;
    uart_init(named, &no_screen);
    accesses = 0;
    uart_put("hello", 5);
    assert_true(uart_pump(~0ull));
    uart_finish();
}

static const struct serial none, com2 = {false, COM2, 1, 12, false},
                                 as_it_is = {false, COM2, 1, 0, false},
                                 in_memory = {true, MMIO, 4, 0, false};

static void test_named(void **state)
{
    (void)state;
    use(true, true, &com2);
    assert_string_equal(chip[1].sent, "hello");
    assert_string_equal(chip[0].sent, "");
    assert_int_equal(chip[1].divisor[0], 12);
    use(true, true, &as_it_is);
    assert_string_equal(chip[1].sent, "hello");
    assert_int_equal(chip[1].divisor[0], 0);
}

static void test_com1_otherwise(void **state)
{
    (void)state;
    use(true, true, &none);
    assert_string_equal(chip[0].sent, "hello");
    assert_int_equal(chip[0].divisor[0], 1);
    use(true, false, &com2); /* named, but not there */
    assert_string_equal(chip[0].sent, "hello");
}

static void test_in_memory(void **state)
{
    (void)state;
    device_memory = true;
    memset(window, 0, sizeof window);
    window[5] = 0x60;
    uart_init(&in_memory, &no_screen);
    window[5] = 0x60;
    uart_put("x", 1);
    assert_true(uart_pump(~0ull));
    assert_int_equal(window[0], 'x');
    assert_int_equal(window[3], 3);
    assert_int_equal(taken, MMIO & ~0xfffull);
    device_memory = false; /* its registers are no device memory, so they cannot be kept from VMs */
    use(true, false, &in_memory);
    assert_string_equal(chip[0].sent, "hello");
}

/* Nothing there: bytes are dropped, none comes in, and no turn waits for a line. */
static void test_none(void **state)
{
    (void)state;
    use(false, false, &none);
    assert_int_equal(uart_space(), 16384);
    for (int i = 0; i < 100; i++)
        assert_int_equal(uart_get(), -1);
    assert_true(uart_pump(0));
    assert_int_equal(accesses, 0);
}

/* ---- a screen of 3 rows of 5 characters ------------------------------------------------- */
enum { COLUMNS = 5, ROWS = 3, PITCH = COLUMNS * FONT_WIDTH * 4 + 16, SCREEN = 0x80000040 };
static uint8_t picture[PITCH * (ROWS * FONT_HEIGHT + 7)];
static const struct boot_screen some = {SCREEN, 4, COLUMNS *FONT_WIDTH + 3, ROWS *FONT_HEIGHT + 7,
                                        PITCH};

/* The character that a cell shows; 0: none. */
static char shown(uint32_t row, uint32_t column)
{
    for (uint32_t c = FONT_FIRST; c <= FONT_LAST; c++) {
        bool same = true;
        for (uint32_t y = 0; y < FONT_HEIGHT; y++)
            for (uint32_t x = 0; x < FONT_WIDTH; x++) {
                uint32_t dot;
                memcpy(&dot, picture + (row * FONT_HEIGHT + y) * PITCH + (column * 8 + x) * 4, 4);
                same &= (dot != 0) == (x >= 1 && x <= 5 && font_row(c, y) >> (5 - x) & 1);
            }
        if (same)
            return (char)c;
    }
    return 0;
}

static void expect(const char *rows)
{
    for (uint32_t i = 0; i < ROWS * COLUMNS; i++)
        if (shown(i / COLUMNS, i % COLUMNS) != rows[i])
            fail_msg("row %u, column %u: `%c`, not `%c`", i / COLUMNS, i % COLUMNS,
                     shown(i / COLUMNS, i % COLUMNS), rows[i]);
}

static void say(const char *text)
{
    uart_put(text, (uint32_t)strlen(text));
    assert_true(uart_pump(~0ull));
}

/* Lines go on from the top, one empty row below them, and nothing outside the cells is touched. */
static void test_screen(void **state)
{
    (void)state;
    device_memory = true;
    memset(chip, 0, sizeof chip);
    memset(picture, 0x55, sizeof picture);
    uart_init(&none, &some);
    say("ab\r\n");
    expect("ab             ");
    say("long line\n");
    expect("     long line ");
    say("x\b \b~");
    expect("~    long line ");
    for (uint32_t y = 0; y < ROWS * FONT_HEIGHT + 7; y++)
        for (uint32_t x = y < ROWS * FONT_HEIGHT ? COLUMNS * 8 * 4 : 0; x < PITCH; x++)
            assert_int_equal(picture[y * PITCH + x], 0x55);
    device_memory = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),     cmocka_unit_test(test_com1_otherwise),
        cmocka_unit_test(test_in_memory), cmocka_unit_test(test_none),
        cmocka_unit_test(test_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
