/* ACPI tables as real firmware has them, in memory: what root takes from each. */
#include "test.h"
#include <root/hardware/acpi.h>
#include <root/console/console.h>
#include <root/console/uart.h>
#include <root/memory.h>

#define BASE   0xe0000u
#define XSDT   0x200u
#define TABLES 0x1000u /* from here on, STEP apart */
#define STEP   0x200u

static uint8_t memory[0x40000];
static uint32_t tables, unreadable;
static struct acpi acpi;

void console_say(const char *fmt, ...) { unreadable += fmt[0] == 'A'; }
void uart_finish(void) {}
uint8_t port_in8(uint16_t port) { return (uint8_t)port; }
uint32_t port_in32(uint16_t port) { return port; }
void port_out8(uint16_t port, uint8_t value) { fail_msg("port %x, value %x", port, value); }

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    if (base < BASE || size > sizeof memory || base - BASE > sizeof memory - size)
        return BAD_ARG;
    memcpy(to, memory + (base - BASE), size);
    return OK;
}

static void put(uint32_t at, uint64_t value, size_t bytes) { memcpy(memory + at, &value, bytes); }

static void fix_sum(uint32_t at, uint32_t size, uint32_t sum_at)
{
    uint8_t sum = 0;
    memory[at + sum_at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + sum_at] = (uint8_t)-sum;
}

/* A table of `size` bytes, zeros; where it is. */
static uint32_t add(const char *signature, uint32_t size)
{
    uint32_t at = TABLES + tables * STEP;
    memcpy(memory + at, signature, 4);
    put(at + 4, size, 4);
    put(XSDT + 36 + 8 * tables++, BASE + at, 8);
    return at;
}

static int begin(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    memset(&acpi, 0, sizeof acpi);
    tables = unreadable = 0;
    return 0;
}

/* Read all that was added, with checksums made right. */
static void read_all(void)
{
    for (uint32_t i = 0; i < tables; i++) {
        uint32_t at = TABLES + i * STEP, size = 0;
        memcpy(&size, memory + at + 4, 4);
        if (size <= STEP)
            fix_sum(at, size, 9);
    }
    memcpy(memory + XSDT, "XSDT", 4);
    put(XSDT + 4, 36 + 8 * tables, 4);
    fix_sum(XSDT, 36 + 8 * tables, 9);
    memcpy(memory, "RSD PTR ", 8);
    put(15, 2, 1);
    put(24, BASE + XSDT, 8);
    fix_sum(0, 20, 8);
    fix_sum(0, 36, 32);
    acpi_read(BASE, &acpi);
}

struct spcr {
    uint32_t kind, space, width, access, rate;
    uint64_t base;
    struct serial serial;
};

/* The table of firmware's console: what it says, what root makes of it. */
static void test_spcr(void **state)
{
    static const struct spcr cases[] = {
        {0, 1, 8, 1, 7, 0x3f8, {false, 0x3f8, 1, 1, false}},  /* COM1 at 115200 baud, */
        {0, 1, 8, 0, 3, 0x2f8, {false, 0x2f8, 1, 12, false}}, /* COM2 at 9600, */
        {1, 1, 8, 0, 4, 0x2f8, {false, 0x2f8, 1, 6, false}},
        {1, 1, 8, 0, 6, 0x2f8, {false, 0x2f8, 1, 2, false}},
        {0, 1, 8, 0, 0, 0x2f8, {false, 0x2f8, 1, 0, false}}, /* at what firmware set, */
        {0, 1, 8, 0, 5, 0x2f8, {false, 0x2f8, 1, 0, false}}, /* and a rate that there is not */
        {0, 0, 8, 1, 7, 0xfe030000, {true, 0xfe030000, 1, 0, false}},
        {18, 0, 32, 3, 7, 0xfedc9000, {true, 0xfedc9000, 4, 0, false}}, /* AMD's and Intel's own
                                                                           UARTs */
        {18, 0, 32, 0, 7, 0x10fedc9000, {true, 0x10fedc9000, 4, 0, false}},
        {3, 0, 32, 3, 7, 0x9000000, {0}},  /* an ARM PL011 */
        {0, 0, 16, 2, 7, 0xfe030000, {0}}, /* 16-bit accesses */
        {0, 1, 8, 1, 7, 0xffff, {0}},
        {0, 2, 8, 1, 7, 0x3f8, {0}},       /* in configuration space */
        {0, 0, 32, 3, 7, 0xfedc9ff8, {0}}, /* across two pages */
    };
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        const struct spcr *c = &cases[i];
        begin(state);
        uint32_t at = add("SPCR", 80);
        put(at + 36, c->kind, 1);
        put(at + 40, c->space | c->width << 8 | c->access << 24, 4);
        put(at + 44, c->base, 8);
        put(at + 58, c->rate, 1);
        read_all();
        if (memcmp(&acpi.serial, &c->serial, sizeof acpi.serial) != 0)
            fail_msg("SPCR %u: %d %lx %u %u", i, acpi.serial.memory, acpi.serial.base,
                     acpi.serial.stride, acpi.serial.divisor);
    }
}

static void add_mcfg(uint32_t entries, const uint64_t entry[][4])
{
    uint32_t at = add("MCFG", 44 + 16 * entries) + 44;
    for (uint32_t i = 0; i < entries; i++, at += 16) {
        put(at, entry[i][0], 8);
        put(at + 8, entry[i][1] | entry[i][2] << 16 | entry[i][3] << 24, 4);
    }
    read_all();
}

/* Base, segment, first and last bus. */
static void test_mcfg(void **state)
{
    static const uint64_t one[][4] = {{0xe0000000, 0, 0, 255}},
                          more[][4] = {{0x10000000000, 2, 0, 255},
                                       {0xe0000000, 0, 0, 127},
                                       {0x10010000000, 1, 0, 3}},
                          pieces[][4] = {{0xe0000000, 0, 0, 127}, {0xe8000000, 0, 128, 255}},
                          late[][4] = {{0xe0000000, 0, 64, 127}};
    (void)state;
    add_mcfg(1, one);
    assert_null(acpi.scopes.wrong);
    assert_true(acpi.ecam == 0xe0000000 && acpi.buses == 256 && acpi.segments == 0);
    begin(state);
    add_mcfg(3, more);
    assert_null(acpi.scopes.wrong);
    assert_true(acpi.ecam == 0xe0000000 && acpi.buses == 128 && acpi.segments == 2);
    assert_true(acpi.segment[0] == 2 && acpi.segment[1] == 1);
    begin(state);
    add_mcfg(2, pieces);
    assert_non_null(acpi.scopes.wrong);
    begin(state);
    add_mcfg(1, late);
    assert_non_null(acpi.scopes.wrong);
}

static void test_too_many_segments(void **state)
{
    uint64_t entry[SEGMENTS + 1][4] = {{0}};
    (void)state;
    for (uint32_t i = 0; i <= SEGMENTS; i++)
        entry[i][0] = 0xe0000000, entry[i][1] = i + 1;
    add_mcfg(SEGMENTS, (const uint64_t(*)[4])entry);
    assert_null(acpi.scopes.wrong);
    begin(state);
    add_mcfg(SEGMENTS + 1, (const uint64_t(*)[4])entry);
    assert_non_null(acpi.scopes.wrong);
}

/* Servers have dozens of SSDTs; the MADT may be behind them. */
static void test_long_list(void **state)
{
    (void)state;
    while (tables < 126)
        add("SSDT", 1 << 20); /* longer than root reads, and not there as a whole */
    uint32_t at = add("APIC", 52);
    put(at + 44, 0x800 | 5u << 24, 4);
    put(at + 48, 1, 4);
    read_all();
    assert_int_equal(acpi.cores, 1);
    assert_int_equal(acpi.apic_id[0], 5);
    assert_int_equal(unreadable, 0);
}

/* FADT: the one register that a machine sleeps by; a second one, or one in memory, is too much. */
static void test_sleep_port(void **state)
{
    enum { PM1A = 64, PM1B = 68, X_PM1A = 172, X_PM1B = 184, SLEEP_CONTROL = 244, ADDRESS = 4 };
    static const struct {
        uint32_t size, pm1a, pm1b, x_space, x_pm1a, x_pm1b, control;
        uint16_t port;
    } cases[] = {
        {116, 0x604, 0, 0, 0, 0, 0, 0x604},     /* of ACPI 1.0 */
        {268, 0x604, 0, 1, 0x604, 0, 0, 0x604}, /* QEMU's */
        {268, 0x604, 0, 1, 0x804, 0, 0, 0},     /* which of the two it is nobody knows */
        {268, 0, 0, 1, 0x804, 0, 0, 0x804},
        {268, 0, 0, 1, 0x10804, 0, 0, 0},
        {268, 0x604, 0, 0, 0xfed80804, 0, 0, 0},
        {268, 0x604, 0x704, 1, 0x604, 0, 0, 0},
        {268, 0x604, 0, 1, 0x604, 0x704, 0, 0},
        {268, 0, 0, 1, 0, 0, 0x3a, 0}, /* reduced hardware */
        {268, 0x604, 0, 1, 0x604, 0, 0x3a, 0},
        {268, 0, 0, 0, 0, 0, 0, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(state);
        uint32_t at = add("FACP", cases[i].size);
        put(at + PM1A, cases[i].pm1a, 4);
        put(at + PM1B, cases[i].pm1b, 4);
        if (cases[i].size > SLEEP_CONTROL) {
            put(at + X_PM1A, cases[i].x_space, 1);
            put(at + X_PM1A + ADDRESS, cases[i].x_pm1a, 8);
            put(at + X_PM1B + ADDRESS, cases[i].x_pm1b, 8);
            put(at + SLEEP_CONTROL + ADDRESS, cases[i].control, 8);
        }
        read_all();
        assert_int_equal(acpi.sleep_port, cases[i].port);
    }
}

static void test_damaged_table_is_left_out(void **state)
{
    (void)state;
    uint32_t bad = add("SPCR", 80), good = add("APIC", 52);
    put(good + 44, 0x800, 4);
    put(good + 48, 1, 4);
    put(bad + 4, 35, 4); /* shorter than a header */
    read_all();
    assert_int_equal(unreadable, 1);
    assert_int_equal(acpi.cores, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_spcr, begin),
        cmocka_unit_test_setup(test_mcfg, begin),
        cmocka_unit_test_setup(test_too_many_segments, begin),
        cmocka_unit_test_setup(test_long_list, begin),
        cmocka_unit_test_setup(test_sleep_port, begin),
        cmocka_unit_test_setup(test_damaged_table_is_left_out, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
