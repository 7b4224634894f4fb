/* Units of several segments: all are started, and only those of segment 0 serve functions that root
 * knows. */
#include "test.h"
#include <root/console/uart.h>
#include <root/hardware/iommu.h>
#include <root/memory.h>
#include <root/vm/device.h>

struct machine machine;
static struct acpi acpi;
static uint64_t buses[MAX_IOMMUS];
static uint32_t starts, taken;
static bool elsewhere;
static struct pci_function functions[] = {
    {.rid = 0x100},
    {.rid = 0x8, .header = 1, .secondary = 2, .subordinate = 5},
    {.rid = 0x210, .parent = &functions[1]},
    {.rid = 0x610},
};
static struct pci_function *const nic = &functions[0];

struct result fake_start(uint64_t mr, uint64_t kind, uint64_t last)
{
    assert_int_equal(mr, acpi.scopes.unit[starts].base >> 12);
    assert_int_equal(kind, acpi.scopes.unit[starts].kind);
    buses[starts++] = last;
    return (struct result){OK, starts - 1};
}
struct result fake_fault(uint64_t unit) { return (struct result){BAD_ARG, unit}; }
uint64_t memory_take_device(uint64_t base, uint64_t size, struct region *region)
{
    taken++;
    *region = (struct region){base >> 12, base, size};
    return elsewhere ? BAD_ARG : OK;
}
const char *pci_scan(uint64_t ecam, uint32_t n) { return ecam && n ? NULL : "no"; }
uint32_t pci_buses(void) { return 7; }
uint32_t pci_last_bus(const struct pci_function *f)
{
    return f->header ? f->subordinate : f->rid >> 8u;
}
uint32_t pci_count(void) { return COUNT(functions); }
struct pci_function *pci_function(uint32_t i) { return &functions[i]; }
struct pci_function *pci_find(uint16_t rid)
{
    for (uint32_t i = 0; i < COUNT(functions); i++)
        if (functions[i].rid == rid)
            return &functions[i];
    return NULL;
}
const char *device_owner(uint16_t rid) { return rid ? "-" : ""; }
void console_say(const char *fmt, ...) { (void)fmt; }
uint32_t uart_space(void) { return 0; }
uint64_t clock_ticks(uint64_t ms) { return ms; }

static int begin(void **state)
{
    (void)state;
    memset(&acpi, 0, sizeof acpi);
    acpi.ecam = 0xe0000000;
    acpi.buses = 256;
    starts = 0;
    elsewhere = false;
    return 0;
}

static void add_unit(enum iommu_kind kind, uint32_t segment, bool rest)
{
    uint32_t i = acpi.scopes.units++;
    acpi.scopes.unit[i] =
        (struct scope_unit){kind, 0xfed90000 + i * 0x1000, rest, (uint16_t)segment};
}

static void test_segments(void **state)
{
    uint32_t unit = 0;
    (void)state;
    add_unit(IOMMU_VTD, 0, true), add_unit(IOMMU_VTD, 1, true);
    acpi.segments = 1, acpi.segment[0] = 1;
    iommu_start_all(&acpi);
    assert_null(iommu_problem());
    assert_int_equal(starts, 2);
    assert_true(buses[0] == 7 && buses[1] == 1);
    assert_null(iommu_of(nic, &unit));
    assert_int_equal(unit, 0);
}

/* What a table says wrongly is not taken: where it says that registers are there may be others. */
static void test_wrong_table(void **state)
{
    (void)state;
    add_unit(IOMMU_VTD, 0, true);
    acpi.scopes.wrong = "the DMAR table is damaged";
    taken = 0;
    iommu_start_all(&acpi);
    assert_string_equal(iommu_problem(), acpi.scopes.wrong);
    assert_int_equal(starts + taken, 0);
}

static void add_path(uint8_t unit, uint8_t what, uint8_t bus, uint8_t path)
{
    acpi.scopes.scope[acpi.scopes.scopes++] =
        (struct scope){.unit = unit, .what = what, .bus = bus, .depth = 1, .path = {path}};
}

/* Each bus of a unit takes a frame: as many as it has functions on, with what a bridge leads to. */
static void test_buses_of_a_unit(void **state)
{
    uint32_t unit = 9;
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        add_unit(IOMMU_VTD, 0, i == 4);
    add_path(0, SCOPE_BELOW, 0, 0x8);
    add_path(1, SCOPE_FUNCTION, 6, 0x10);
    add_path(2, SCOPE_FUNCTION, 2, 0x10);
    add_path(3, SCOPE_FUNCTION, 9, 0x10);
    iommu_start_all(&acpi);
    assert_null(iommu_problem());
    assert_int_equal(buses[0], 6);
    assert_int_equal(buses[1], 7);
    assert_int_equal(buses[2], 6); /* its bridge is another's; its virtual functions are its own */
    assert_int_equal(buses[3], 1); /* the function is not there */
    assert_int_equal(buses[4], 7);
    assert_null(iommu_of(&functions[3], &unit));
    assert_int_equal(unit, 1);
    assert_null(iommu_of(&functions[2], &unit));
    assert_int_equal(unit, 2);
}

/* AMD-Vi's units share one table of functions: another segment's would have a VM's memory. */
static void test_amd_segments(void **state)
{
    (void)state;
    add_unit(IOMMU_AMDVI, 0, false), add_unit(IOMMU_AMDVI, 1, false);
    acpi.segments = 1, acpi.segment[0] = 1;
    iommu_start_all(&acpi);
    assert_string_equal(iommu_problem(), "an AMD-Vi unit is of a PCI segment other than 0");
}

/* A function of a segment that no unit blocks could reach all memory. */
static void test_open_segment(void **state)
{
    (void)state;
    add_unit(IOMMU_VTD, 0, true), add_unit(IOMMU_VTD, 1, false);
    acpi.segments = 1, acpi.segment[0] = 1;
    iommu_start_all(&acpi);
    assert_non_null(iommu_problem());
    begin(state);
    add_unit(IOMMU_VTD, 0, true);
    acpi.segments = 1, acpi.segment[0] = 1;
    iommu_start_all(&acpi);
    assert_non_null(iommu_problem());
    assert_int_equal(starts, 0);
}

static void test_none_that_could_be_started(void **state)
{
    (void)state;
    iommu_start_all(&acpi);
    assert_string_equal(iommu_problem(), "the machine has no IOMMU");
    add_unit(IOMMU_VTD, 0, true);
    elsewhere = true;
    iommu_start_all(&acpi);
    assert_string_equal(iommu_problem(), "an IOMMU's registers are not in device memory");
    assert_int_equal(starts, 0);
}

static void test_no_unit_of_segment_0(void **state)
{
    uint32_t unit;
    (void)state;
    add_unit(IOMMU_VTD, 1, true);
    iommu_start_all(&acpi);
    assert_string_equal(iommu_of(nic, &unit), "it is behind no IOMMU");
}

static void add_range(uint8_t unit, uint16_t first, uint16_t last)
{
    acpi.scopes.scope[acpi.scopes.scopes++] =
        (struct scope){.unit = unit, .what = SCOPE_RANGE, .first = first, .last = last};
}

/* A unit serves it, and yet it must not be assigned: the sentence says which of the two it is. */
static void test_reserved_and_alias(void **state)
{
    uint32_t unit = 0;
    (void)state;
    add_unit(IOMMU_AMDVI, 0, false);
    add_range(0, 0, 0xffff);
    add_range(SCOPE_RESERVED, 0x101, 0x1ff);
    add_range(SCOPE_ALIAS, 0, 0xff);
    iommu_start_all(&acpi);
    assert_null(iommu_of(nic, &unit));
    acpi.scopes.scope[1].first = nic->rid;
    assert_string_equal(iommu_of(nic, &unit), "firmware uses memory with it (RMRR, IVMD)");
    acpi.scopes.scope[1].first++, acpi.scopes.scope[2].last = nic->rid;
    assert_string_equal(iommu_of(nic, &unit),
                        "its requests carry another function's requester ID (IVRS alias)");
    assert_int_equal(unit, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_segments, begin),
        cmocka_unit_test_setup(test_wrong_table, begin),
        cmocka_unit_test_setup(test_buses_of_a_unit, begin),
        cmocka_unit_test_setup(test_amd_segments, begin),
        cmocka_unit_test_setup(test_open_segment, begin),
        cmocka_unit_test_setup(test_none_that_could_be_started, begin),
        cmocka_unit_test_setup(test_no_unit_of_segment_0, begin),
        cmocka_unit_test_setup(test_reserved_and_alias, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
