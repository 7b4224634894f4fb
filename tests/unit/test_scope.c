/* DMAR and IVRS as firmware writes them, and as nobody should. */
#include "test.h"
#include <root/hardware/scope.h>
#include <stdlib.h>

static uint8_t table[48 + 2 * 16 + 8 * (SCOPES + 2)];
static uint32_t used;
static struct scopes found;

static void put(uint64_t value, uint32_t bytes)
{
    memcpy(table + used, &value, bytes);
    used += bytes;
}

static int begin(void **state)
{
    (void)state;
    memset(&found, 0, sizeof(found));
    memset(table, 0, sizeof(table));
    used = 48;
    table[37] = 1; /* DMAR: interrupt remapping */
    return 0;
}

/* What is left of the table is in a block of just its size: the sanitizer sees every step beyond.
 */
static const char *read_with(void (*read)(const struct acpi_table *, struct scopes *),
                             uint32_t length)
{
    uint8_t *exact = malloc(length ? length : 1);
    assert_non_null(exact);
    memcpy(exact, table, length);
    read(&(struct acpi_table){exact, length}, &found);
    free(exact);
    return found.wrong;
}
static const char *dmar(void) { return read_with(scope_read_dmar, used); }
static const char *ivrs(void) { return read_with(scope_read_ivrs, used); }

/* ---- DMAR ---------------------------------------------------------------------------------- */
/* `scopes`: bytes that follow. */
static void drhd(uint64_t base, uint32_t flags, uint32_t segment, uint32_t scopes)
{
    put(0, 2), put(16 + scopes, 2), put(flags, 1), put(0, 1), put(segment, 2), put(base, 8);
}

static void device(uint32_t type, uint32_t bus, uint32_t depth)
{
    put(type, 1), put(6 + 2 * depth, 1), put(0, 3), put(bus, 1);
    for (uint32_t i = 0; i < depth; i++)
        put(3 + i, 1), put(1, 1);
}

static void test_dmar_of_an_emulator(void **state)
{
    (void)state;
    drhd(0xfed90000, 1, 0, 8);
    device(3, 0xff, 1); /* its IOAPIC */
    assert_null(dmar());
    assert_int_equal(found.units, 1);
    assert_int_equal(found.unit[0].kind, IOMMU_VTD);
    assert_int_equal(found.unit[0].base, 0xfed90000);
    assert_true(found.unit[0].rest);
    assert_int_equal(found.scopes, 0);
}

static void test_dmar_scopes(void **state)
{
    (void)state;
    drhd(0xfed90000, 0, 0, 18);
    device(1, 0, 1);
    device(2, 0x80, 2);
    drhd(0xfed91000, 1, 0, 0);
    put(1, 2), put(24 + 8, 2), put(0, 2), put(0, 2), put(0x1000, 8), put(0x1fff, 8); /* RMRR */
    device(1, 0, 1);
    assert_null(dmar());
    assert_int_equal(found.units, 2);
    assert_false(found.unit[0].rest);
    assert_true(found.unit[1].rest);
    assert_int_equal(found.scopes, 3);
    assert_int_equal(found.scope[0].what, SCOPE_FUNCTION);
    assert_int_equal(found.scope[0].path[0], 3 << 3 | 1);
    assert_int_equal(found.scope[1].what, SCOPE_BELOW);
    assert_int_equal(found.scope[1].bus, 0x80);
    assert_int_equal(found.scope[1].depth, 2);
    assert_int_equal(found.scope[1].path[1], 4 << 3 | 1);
    assert_int_equal(found.scope[1].unit, 0);
    assert_int_equal(found.scope[2].unit, SCOPE_RESERVED);
}

static void test_dmar_without_interrupt_remapping(void **state)
{
    (void)state;
    table[37] = 0;
    drhd(0xfed90000, 1, 0, 0);
    assert_non_null(dmar());
}

static void test_dmar_that_says_nothing_of_interrupts(void **state)
{
    (void)state;
    used = 37;
    assert_non_null(dmar());
}

static void test_dmar_with_two_segments(void **state)
{
    (void)state;
    drhd(0xfed90000, 0, 0, 8);
    device(1, 0, 1);
    drhd(0xfed91000, 1, 1, 8); /* what it names is not in segment 0 */
    device(1, 0, 1);
    put(1, 2), put(24 + 8, 2), put(0, 2), put(1, 2), put(0, 8),
        put(0, 8); /* memory of its firmware */
    device(1, 0, 1);
    assert_null(dmar());
    assert_int_equal(found.units, 2);
    assert_int_equal(found.unit[0].segment, 0);
    assert_int_equal(found.unit[1].segment, 1);
    assert_true(found.unit[1].rest && !found.unit[0].rest);
    assert_int_equal(found.scopes, 1);
}

static void test_dmar_with_a_deep_path(void **state)
{
    (void)state;
    drhd(0xfed90000, 0, 0, 6 + 2 * (SCOPE_DEPTH + 1));
    device(1, 0, SCOPE_DEPTH + 1);
    assert_non_null(dmar());
}

static void test_dmar_with_an_empty_path(void **state)
{
    (void)state;
    drhd(0xfed90000, 0, 0, 6);
    device(1, 0, 0);
    assert_non_null(dmar());
}

static void test_dmar_with_too_many_units(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= MAX_IOMMUS; i++)
        drhd(0xfed90000 + i * 0x1000, 0, 0, 0);
    assert_non_null(dmar());
    assert_int_equal(found.units, MAX_IOMMUS);
}

static void test_dmar_with_too_many_scopes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        drhd(0xfed90000, 0, 0, 8 * (SCOPES / 2 + 1)); /* of the same unit */
        for (uint32_t k = 0; k <= SCOPES / 2; k++)
            device(1, 0, 1);
    }
    assert_true(used <= sizeof(table));
    assert_non_null(dmar());
    assert_int_equal(found.scopes, SCOPES);
}

/* What would be its base is the next structure's. */
static void test_dmar_with_a_short_unit(void **state)
{
    (void)state;
    put(0, 2), put(8, 2), put(1, 4);
    put(0x1000, 2), put(16, 2), put(0, 8), put(0, 4);
    assert_non_null(dmar());
}

static void test_dmar_with_odd_bases(void **state)
{
    (void)state;
    drhd(0, 1, 0, 0);
    assert_non_null(dmar());
    begin(state);
    drhd(0xfed90010, 1, 0, 0);
    assert_non_null(dmar());
}

static void test_dmar_cut_anywhere(void **state)
{
    (void)state;
    drhd(0xfed90000, 0, 0, 8);
    device(1, 0, 1);
    for (uint32_t length = 0; length < used; length++) {
        memset(&found, 0, sizeof(found));
        const char *wrong = read_with(scope_read_dmar, length);
        assert_true(wrong || found.units == 0); /* never a unit without all that belongs to it */
    }
}

static void test_dmar_that_stands_still(void **state)
{
    (void)state;
    put(0, 2), put(0, 2);
    assert_non_null(dmar());
    begin(state);
    drhd(0xfed90000, 0, 0, 8);
    put(1, 1), put(0, 1), put(0, 6); /* a scope of no bytes */
    assert_non_null(dmar());
}

/* ---- IVRS ---------------------------------------------------------------------------------- */
static void ivhd(uint32_t type, uint64_t base, uint32_t entries)
{
    uint32_t header = type == 0x10 ? 24 : 40;
    put(type, 1), put(0, 1), put(header + entries, 2), put(0x10, 2), put(0x40, 2), put(base, 8),
        put(0, 2), put(0, 2), put(0, 4);
    used += header - 24;
}

static void entry(uint32_t type, uint32_t id) { put(type, 1), put(id, 2), put(0, 1); }
static void long_entry(uint32_t type, uint32_t id) { entry(type, id), put(0, 4); }

static void expect_range(uint32_t i, uint32_t unit, uint32_t first, uint32_t last)
{
    assert_int_equal(found.scope[i].what, SCOPE_RANGE);
    assert_int_equal(found.scope[i].unit, unit);
    assert_int_equal(found.scope[i].first, first);
    assert_int_equal(found.scope[i].last, last);
}

static void test_ivrs_entries(void **state)
{
    (void)state;
    ivhd(0x10, 0xfed80000, 4 + 4 + 4 + 4 + 8 + 8 + 8 + 4);
    entry(2, 0x10);
    entry(3, 0x100), entry(4, 0x1ff);
    entry(0, 0);
    long_entry(72, 0); /* the IOAPIC */
    long_entry(66, 0x300);
    long_entry(67, 0x400), entry(4, 0x4ff);
    assert_null(ivrs());
    assert_int_equal(found.units, 1);
    assert_int_equal(found.unit[0].kind, IOMMU_AMDVI);
    assert_int_equal(found.scopes, 4);
    expect_range(0, 0, 0x10, 0x10);
    expect_range(1, 0, 0x100, 0x1ff);
    expect_range(2, SCOPE_ALIAS, 0x300, 0x300);
    expect_range(3, SCOPE_ALIAS, 0x400, 0x4ff);
}

/* The same unit in the forms that old and new systems read. */
static void test_ivrs_forms(void **state)
{
    (void)state;
    ivhd(0x10, 0xfed80000, 4);
    entry(1, 0);
    ivhd(0x11, 0xfed80000, 4);
    entry(1, 0);
    ivhd(0x40, 0xfed80000, 25 + 4);
    put(240, 1);
    used += 20;
    put(3, 1), put(0x434241, 3); /* a device with a name of three bytes */
    entry(2, 8);
    assert_null(ivrs());
    assert_int_equal(found.units, 1);
    expect_range(found.scopes - 1, 0, 8, 8);
}

static void test_ivrs_memory(void **state)
{
    (void)state;
    for (uint32_t type = 0x20; type <= 0x22; type++)
        put(type, 1), put(0, 1), put(32, 2), put(0x10, 2), put(0x20, 2), put(0, 8), put(0, 8),
            put(0, 8);
    assert_null(ivrs());
    expect_range(0, SCOPE_RESERVED, 0, 0xffff);
    expect_range(1, SCOPE_RESERVED, 0x10, 0x10);
    expect_range(2, SCOPE_RESERVED, 0x10, 0x20);
}

static void test_ivrs_with_two_segments(void **state)
{
    (void)state;
    ivhd(0x10, 0xfed80000, 4);
    table[48 + 16] = 1;
    entry(1, 0);
    ivhd(0x10, 0xfed84000, 4);
    entry(2, 0x10);
    assert_null(ivrs());
    assert_int_equal(found.units, 2);
    assert_int_equal(found.unit[0].segment, 1);
    assert_int_equal(found.scopes, 1);
    expect_range(0, 1, 0x10, 0x10);
}

static void test_ivrs_wrong(void **state)
{
    (void)state;
    put(0x77, 1), put(0, 1), put(4, 2); /* a block that nobody knows */
    assert_non_null(ivrs());
    begin(state);
    ivhd(0x10, 0xfed80000, 4);
    entry(4, 0x1ff); /* an end without a start */
    assert_non_null(ivrs());
    begin(state);
    put(0x10, 1), put(0, 1), put(0, 2); /* a block of no bytes */
    assert_non_null(ivrs());
}

static void test_both_kinds(void **state)
{
    (void)state;
    drhd(0xfed90000, 1, 0, 0);
    assert_null(dmar());
    begin(state);
    found = (struct scopes){.units = 1, .unit = {{IOMMU_VTD, 0xfed90000, true}}};
    ivhd(0x10, 0xfed80000, 0);
    assert_non_null(ivrs());
}

/* ---- anything ----------------------------------------------------------------------------------
 */
/* Good tables with some bytes changed, and cut: the sanitizers are the judges, and the counts. */
static void test_random_damage(void **state)
{
    uint32_t seed = 1;
    for (uint32_t round = 0; round < 20000; round++) {
        begin(state);
        drhd(0xfed90000, 0, 0, 18);
        device(1, 0, 1), device(2, 0, 2);
        ivhd(0x11, 0xfed80000, 16);
        entry(3, 0x100), entry(4, 0x1ff), long_entry(66, 0x300);
        for (uint32_t changes = round % 8; changes; changes--) {
            seed = seed * 1664525 + 1013904223;
            table[48 + (seed >> 8) % (used - 48)] = (uint8_t)(seed >> 24);
        }
        read_with(round & 1 ? scope_read_dmar : scope_read_ivrs,
                  used - (seed >> 16) % 4 * (round & 2));
        assert_true(found.units <= MAX_IOMMUS && found.scopes <= SCOPES);
        for (uint32_t i = 0; i < found.scopes; i++)
            assert_true(found.scope[i].depth <= SCOPE_DEPTH &&
                        (found.scope[i].unit < found.units ||
                         found.scope[i].unit == SCOPE_RESERVED ||
                         found.scope[i].unit == SCOPE_ALIAS));
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup(test_dmar_of_an_emulator, begin),
        cmocka_unit_test_setup(test_dmar_scopes, begin),
        cmocka_unit_test_setup(test_dmar_without_interrupt_remapping, begin),
        cmocka_unit_test_setup(test_dmar_that_says_nothing_of_interrupts, begin),
        cmocka_unit_test_setup(test_dmar_with_two_segments, begin),
        cmocka_unit_test_setup(test_dmar_with_a_deep_path, begin),
        cmocka_unit_test_setup(test_dmar_with_an_empty_path, begin),
        cmocka_unit_test_setup(test_dmar_with_too_many_units, begin),
        cmocka_unit_test_setup(test_dmar_with_too_many_scopes, begin),
        cmocka_unit_test_setup(test_dmar_with_a_short_unit, begin),
        cmocka_unit_test_setup(test_dmar_with_odd_bases, begin),
        cmocka_unit_test_setup(test_dmar_cut_anywhere, begin),
        cmocka_unit_test_setup(test_dmar_that_stands_still, begin),
        cmocka_unit_test_setup(test_ivrs_entries, begin),
        cmocka_unit_test_setup(test_ivrs_forms, begin),
        cmocka_unit_test_setup(test_ivrs_memory, begin),
        cmocka_unit_test_setup(test_ivrs_with_two_segments, begin),
        cmocka_unit_test_setup(test_ivrs_wrong, begin),
        cmocka_unit_test_setup(test_both_kinds, begin),
        cmocka_unit_test_setup(test_random_damage, begin),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
