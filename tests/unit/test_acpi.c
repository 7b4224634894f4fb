/* The ACPI tables: what the PCI root has to give is where devices are, and nowhere else. */
#include <stdlib.h>
#include <vmm/vcpu/vcpu.h>
#include "test.h"

#define RAM 0x100000u

struct fake fake;
extern const uint8_t acpi_dsdt[40];
const uint8_t acpi_dsdt[40] = {'D', 'S', 'D', 'T', 40};

struct window {
    uint64_t kind, base, end; /* kind: 0 memory, 1 ports, 2 buses; end: the last */
};
static struct window window[40];
static uint32_t windows;

static uint64_t number_64(const uint8_t *p, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, p, size);
    return value;
}
static uint32_t number(const uint8_t *p, uint32_t size) { return (uint32_t)number_64(p, size); }

static const uint8_t *table(const char *signature)
{
    const uint8_t *xsdt = fake.ram + number(fake.ram + ACPI_RSDP + 24, 4);
    for (uint32_t at = 36; at < number(xsdt + 4, 4); at += 8) {
        const uint8_t *t = fake.ram + number(xsdt + at, 4);
        if (memcmp(t, signature, 4) == 0)
            return t;
    }
    fail_msg("no %s", signature);
    return NULL;
}

static void check_sum(const uint8_t *t, uint32_t size)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + t[i]);
    assert_int_equal(sum, 0);
}

/* A package's length that counts itself (ACPI 20.2.4), two bytes here. */
static uint32_t package(const uint8_t *p)
{
    assert_int_equal(p[0] >> 6, 1);
    return (p[0] & 15u) | (uint32_t)p[1] << 4;
}

/* Address space descriptors of a resource template (ACPI 6.4.3.5). */
static void read_resources(const uint8_t *p, const uint8_t *end)
{
    windows = 0;
    while (p < end && p[0] != 0x79) {
        uint32_t wide = p[0] == 0x8a ? 8 : 2,
                 size = p[0] & 0x80 ? 3 + number(p + 1, 2) : 1 + (p[0] & 7u);
        if (p[0] == 0x8a || p[0] == 0x88) {
            window[windows] = (struct window){p[3], number_64(p + 6 + wide, wide),
                                              number_64(p + 6 + 2 * wide, wide)};
            assert_true(number_64(p + 6 + 4 * wide, wide) ==
                        window[windows].end - window[windows].base + 1);
            assert_int_equal(p[0] == 0x8a ? p[5] & 6 : 0, 0); /* not prefetchable */
            windows++;
        }
        p += size;
    }
    assert_ptr_equal(p + 2, end);
}

static void read_ssdt(void)
{
    acpi_build();
    const uint8_t *t = table("SSDT"), *aml = t + 36, *end = t + number(t + 4, 4);
    check_sum(t, (uint32_t)(end - t));
    assert_true(end <= fake.ram + number(table("FACP") + 40, 4));
    assert_memory_equal(table("FACP"), "FACP", 4);
    assert_int_equal(aml[0], 0x10);
    assert_ptr_equal(aml + 1 + package(aml + 1), end);
    assert_memory_equal(aml + 3, "\\._SB_PCI0\x08_CRS\x11", 16);
    assert_ptr_equal(aml + 19 + package(aml + 19), end);
    assert_int_equal(aml[21], 0x0b);
    assert_int_equal(number(aml + 22, 2), end - aml - 24);
    read_resources(aml + 24, end);
}

static void expect_window(uint32_t i, uint32_t kind, uint64_t base, uint64_t end)
{
    assert_in_range(i, 0, windows - 1);
    assert_int_equal(window[i].kind, kind);
    assert_true(window[i].base == base);
    assert_true(window[i].end == end);
}

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    fake.config = calloc(1, sizeof *fake.config);
    fake.ram = calloc(1, RAM);
    fake.config->plan.vcpus = 8;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(fake.config);
    free(fake.ram);
    return 0;
}

static void a_shared_vm_has_pages_for_tables(void **state)
{
    (void)state;
    read_ssdt();
    assert_int_equal(windows, 3);
    expect_window(0, 2, 0, 0);
    expect_window(1, 1, 0xc000, 0xcfff);
    expect_window(2, 0, 0xe0000000, 0xe0013fff);
    fake.config->plan.mode = MODE_DEDICATED; /* one that has virtual devices, too */
    fake.config->plan.disengage = DISENGAGE_NEVER;
    fake.config->devices = 1;
    fake.config->device[0].bar[0] = (struct vm_bar){0xe1000000, 0x1000, 0, 0};
    read_ssdt();
    assert_int_equal(windows, 4);
    expect_window(2, 0, 0xe0000000, 0xe0013fff);
    expect_window(3, 0, 0xe1000000, 0xe1000fff);
}

static void a_dedicated_one_has_what_is_mapped(void **state)
{
    (void)state;
    fake.config->plan.mode = MODE_DEDICATED;
    read_ssdt();
    assert_int_equal(windows, 2);
    fake.config->devices = 2;
    fake.config->device[0].bar[0] = (struct vm_bar){0xe1000000, 0x20000, 0, 0};
    fake.config->device[0].bar[3] = (struct vm_bar){0xe1020000, 0x4000, 0xc, 0};
    fake.config->device[1].bar[2] = (struct vm_bar){0xe1024000, 0x10, 0, 0};
    read_ssdt();
    assert_int_equal(windows, 5);
    expect_window(2, 0, 0xe1000000, 0xe101ffff);
    expect_window(3, 0, 0xe1020000, 0xe1023fff);
    expect_window(4, 0, 0xe1024000, 0xe102400f);
    fake.config->device[0].sriov = 0x160; /* room for BARs of virtual functions */
    read_ssdt();
    assert_int_equal(windows, 6);
    expect_window(5, 0, 0xe1025000, 0xefffffff);
    fake.config->device[1].bar[4] = (struct vm_bar){8ull << 30, 8ull << 30, 0xc, 0};
    read_ssdt();
    assert_int_equal(windows, 7);
    expect_window(5, 0, 8ull << 30, (16ull << 30) - 1);
    expect_window(6, 0, 0xe1025000, 0xefffffff);
}

/* As many as there can be: nothing is overwritten. */
static void all_bars_fit(void **state)
{
    (void)state;
    fake.config->plan.mode = MODE_DEDICATED;
    fake.config->plan.disengage = DISENGAGE_NEVER;
    fake.config->devices = PLAN_DEVICES;
    for (uint32_t i = 0; i < PLAN_DEVICES; i++)
        for (uint32_t b = 0; b < 6; b++)
            fake.config->device[i].bar[b] =
                (struct vm_bar){(uint32_t)GUEST_DEVICES + 0x1000 * (6 * i + b), 0x1000, 0, 0};
    fake.config->device[0].sriov = 0x160;
    read_ssdt();
    assert_int_equal(windows, 2 + 1 + 24 + 1);
    assert_memory_equal(table("APIC"), "APIC", 4);
    check_sum(table("APIC"), number(table("APIC") + 4, 4));
    assert_memory_equal(fake.ram + number(table("FACP") + 40, 4), acpi_dsdt, sizeof acpi_dsdt);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_shared_vm_has_pages_for_tables),
        TEST(a_dedicated_one_has_what_is_mapped),
        TEST(all_bars_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
