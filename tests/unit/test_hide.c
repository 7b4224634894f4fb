/* What root takes out of the firmware's tables before the installed system reads them, and what it
   learns there of sleep states; and what is in the place of the chipset's registers. */
#include "test.h"
#include <root/host/host.h>
#include <sys/mman.h>

#define HEADER 36u /* bytes of every table (ACPI 6.5, 5.2.6) */

static struct boot_info info = {.flags = BOOT_HOST};
struct machine machine = {.info = &info};

#define GUEST   77u /* the slot of its PD */
#define RAM     0x7000000u
#define CHIPSET 0xfed80000u

static uint32_t chip[PAGE_SIZE / 4], ram[PAGE_SIZE / 4];
static bool no_slot;           /* root cannot cut its registers out */
static uint32_t taken, mapped; /* how often */

struct region host_pages = {5, RAM, PAGE_SIZE + HOST_LINE};

uint64_t memory_take_device(uint64_t base, uint64_t size, struct region *region)
{
    *region = (struct region){6, base, size};
    taken++;
    return no_slot ? NO_MEMORY : OK;
}

/* Its pages can be had for writing, the chipset's not; before those are cut out they must not be
   mapped. */
void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    assert_int_equal(size, PAGE_SIZE);
    if (base == RAM)
        return ram;
    assert_true(base == CHIPSET && perm == MR_READ && taken);
    return chip;
}

uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    if (pd == GUEST) {
        assert_true(base == RAM && size == PAGE_SIZE && perm == (MR_READ | MR_WRITE));
        assert_int_equal(va, CHIPSET);
        mapped++;
        return OK;
    }
    void *at = mmap((void *)va, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return at == (void *)va ? OK : BAD_ARG;
}

static uint8_t *dsdt(void) { return (uint8_t *)ROOT_TABLE_AT(ACPI_DSDT); }

static uint8_t sum(void)
{
    uint8_t all = 0;
    for (uint32_t i = 0; i < machine.acpi.place[ACPI_DSDT].size; i++)
        all = (uint8_t)(all + dsdt()[i]);
    return all;
}

/* A DSDT of these bytes behind its header; PM1 control is at `port`. What hide_suspend() says. */
static uint64_t hide(const void *aml, uint32_t size, uint16_t port, uint16_t *power_off)
{
    static uint16_t ignored;
    machine.acpi.sleep_port = port;
    machine.acpi.place[ACPI_DSDT] = (struct acpi_place){PAGE_SIZE, HEADER + 200};
    ignore(hide_suspend(&ignored)); /* it is mapped */
    memset(dsdt(), 0, PAGE_SIZE);
    memcpy(dsdt() + HEADER, aml, size);
    dsdt()[9] = (uint8_t)-sum();
    *power_off = 0;
    return hide_suspend(power_off);
}

/* Packages of ACPI 6.5, 20.2.5.4: 12h, length, number of elements, elements. */
static void power_off_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *aml;
        uint32_t size;
        uint16_t power_off; /* 0: unknown */
    } cases[] = {
#define AML(text) text, sizeof(text) - 1
        {AML("\x08_S5_\x12\x06\x04\0\0\0\0"), 0x2000},   /* QEMU's */
        {AML("\x08\\_S5_\x12\x06\x04\1\1\0\0"), 0x2400}, /* with the root's prefix */
        {AML("\x08_S5_\x12\x0a\x04\x0a\5\x0a\5\x0a\0\x0a\0"), 0x3400},
        {AML("\x08_S5_\x12\x47\x00\x04\x0a\7\x0a\0\0\0"), 0x3c00}, /* a length of two bytes */
        {AML("\x08_S5_\x12\x06\x04\x0b\5\0\0\0"), 0},              /* a word */
        {AML("\x08_S5_\x12\x06\x04\x0a\x08\0\0"), 0},              /* no SLP_TYP */
        {AML("\x08_S4_\x12\x06\x04\x0a\5\0\0"), 0},
        {AML("\x14_S5_\0"), 0}, /* a method */
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint16_t value;
        uint64_t status = hide(cases[i].aml, cases[i].size, 0x604, &value);
        assert_int_equal(status, cases[i].power_off ? OK : BAD_ARG);
        assert_true(!cases[i].power_off || value == cases[i].power_off);
        assert_int_equal(sum(), 0);
        assert_int_equal(hide(cases[i].aml, cases[i].size, 0, &value), BAD_ARG);
    }
}

/* Each of that name, wherever it is; a launch changes nothing: that system has read its tables. */
static void suspend_is_not_offered(void **state)
{
    (void)state;
    static const char aml[] = "\x08_S3_\x12\x06\x04\1\1\0\0"
                              "\x08_S5_\x12\x06\x04\0\0\0\0"
                              "\x08\\_S3_\x12\x06\x04\5\5\0\0"
                              "\x08_S1_\x12\x06\x04\1\1\0\0"
                              "\x08_S4_\x12\x06\x04\6\6\0\0";
    uint16_t value;
    assert_int_equal(hide(aml, sizeof(aml), 0x604, &value), OK);
    assert_memory_equal(dsdt() + HEADER + 1, "XS3_", 4);
    assert_memory_equal(dsdt() + HEADER + 25, "\\XS3_", 5);
    assert_memory_equal(dsdt() + HEADER + 38, "XS1_", 4);
    assert_memory_equal(dsdt() + HEADER + 50, "XS4_", 4);
    assert_int_equal(sum(), 0);
    info.flags |= BOOT_LATE;
    assert_int_equal(hide(aml, sizeof(aml), 0x604, &value), OK);
    assert_memory_equal(dsdt() + HEADER, aml, sizeof(aml));
    assert_int_equal(value, 0x2000);
    info.flags = BOOT_HOST;
}

/* Is the register at that byte shown as it was? */
static bool is_shown(uint32_t at)
{
    chip[at / 4] = 0x5a5a0000 | at;
    taken = mapped = 0;
    assert_int_equal(hide_chipset(GUEST), OK);
    assert_true(taken == 1 && mapped == 1);
    assert_true(ram[at / 4] == chip[at / 4] || ram[at / 4] == ~0u);
    return ram[at / 4] != ~0u;
}

/* RAM is in their place; of power management (300h: the address of PM1 control is at 360h, the SMI
   command's at 36Ah) it has what was there, of buses and the watchdog ones. */
static void chipset_is_a_copy(void **state)
{
    (void)state;
    static const uint16_t ones[] = {0, 0x1fc, 0x700, 0x804, 0xa00, 0xb00, 0xbfc},
                          kept[] = {0x200, 0x300, 0x360, 0x368, 0x3fc, 0x500, 0x5fc, 0xc00, 0xffc};
    for (unsigned i = 0; i < sizeof(ones) / sizeof(ones[0]); i++)
        assert_false(is_shown(ones[i]));
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        assert_true(is_shown(kept[i]));
}

/* An IOMMU is hidden already, or the system's own; and a system that would see the chipset does not
   start. */
static void chipset_that_cannot_be_hidden(void **state)
{
    (void)state;
    taken = mapped = 0;
    machine.acpi.scopes.units = 2;
    machine.acpi.scopes.unit[0].base = CHIPSET - 0x80000;
    machine.acpi.scopes.unit[1].base = CHIPSET;
    assert_int_equal(hide_chipset(GUEST), OK);
    assert_true(!taken && !mapped);
    machine.acpi.scopes.units = 1, no_slot = true;
    assert_int_equal(hide_chipset(GUEST), BAD_ARG);
    assert_false(mapped);
    machine.acpi.scopes.units = 0, no_slot = false;
}

/* A processor that is kept has the line's page in its place, and no other structure changes. */
static void a_kept_processor_names_the_line(void **state)
{
    (void)state;
    static const uint8_t before[] = {0, 8,  0, 4, 1, 0, 0, 0, /* APIC ID 4 */
                                     9, 16, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, /* 5 */
                                     1, 12, 4, 0, 4, 0, 0, 0, 5, 0, 0, 0};            /* IO-APIC */
    static const uint8_t after[] = {0x80, 8,    'H', 'a', 0x45, 0x23, 1, 0, 0x80, 16, 'H', 'a',
                                    0x45, 0x23, 1,   0,   1,    0,    0, 0, 2,    0,  0,   0,
                                    1,    12,   4,   0,   4,    0,    0, 0, 5,    0,  0,   0};
    machine.acpi.place[ACPI_MADT] = (struct acpi_place){PAGE_SIZE, 44 + sizeof(before)};
    assert_int_equal(hide_processor(4, 1), BAD_ARG); /* it is mapped */
    uint8_t *madt = (uint8_t *)ROOT_TABLE_AT(ACPI_MADT), all = 0;
    memcpy(madt + 44, before, sizeof(before));
    assert_int_equal(hide_processor(6, 0x12345), BAD_ARG);
    assert_memory_equal(madt + 44, before, sizeof(before));
    assert_int_equal(hide_processor(4, 0x12345), OK);
    assert_int_equal(hide_processor(5, 0x12345), OK);
    assert_memory_equal(madt + 44, after, sizeof(after));
    for (uint32_t i = 0; i < 44 + sizeof(before); i++)
        all = (uint8_t)(all + madt[i]);
    for (uint32_t i = 0; i < sizeof(before); i++)
        all = (uint8_t)(all - before[i]);
    assert_int_equal(all, 0); /* the checksum has followed */
    assert_int_equal(hide_processor(4, 0x12345), BAD_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_off_is_found),
        cmocka_unit_test(suspend_is_not_offered),
        cmocka_unit_test(chipset_is_a_copy),
        cmocka_unit_test(chipset_that_cannot_be_hidden),
        cmocka_unit_test(a_kept_processor_names_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
