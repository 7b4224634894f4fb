/* Where a VM sees the registers of its devices: large ones of 64 bits above its RAM, all others
 * below 4 GiB. */
#include "test.h"
#include <root/memory.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <lib/format.h>

#define FUNCTIONS PLAN_DEVICES
#include "root_devices.h"

enum { MIB = 1 << 20, WIDE = 4, WIDE_PREFETCH = 12 };
#define GIB (1ull << 30)

struct machine machine;
static struct plan_vm plan;
static struct vm_config config;
static uint32_t bits;
static char said[200];

struct cpuid fake_cpuid(uint32_t leaf, uint32_t subleaf)
{
    assert_int_equal(leaf, 0x80000008);
    return (struct cpuid){0x3000 | bits, subleaf, 0, 0};
}
void console_say(const char *text, ...)
{
    va_list list;
    va_start(list, text);
    format_va(said, sizeof(said), text, list);
    va_end(list);
}

/* ---- the rest of root ---- */
static uint64_t map_says;

uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    return (void)base, (void)size, (void)pd, (void)perm, (void)va, map_says;
}
uint64_t fault_serve(uint32_t domain, uint64_t pd, void (*to)(uint64_t, struct utcb *),
                     uint64_t slot, uint64_t mtd)
{
    return (void)domain, (void)pd, (void)to, (void)slot, (void)mtd, OK;
}
uint64_t pci_ecam(uint16_t rid) { return rid; }

/* ---- a VM ---- */
static int setup(void **state)
{
    (void)state;
    memset(function, 0, sizeof(function));
    for (uint32_t i = 0; i < PLAN_DEVICES; i++)
        function[i].rid = (uint16_t)i;
    plan = (struct plan_vm){.name = "a", .memory = 512 * MIB};
    machine.vms = 1;
    machine.vm[0] = (struct vm){.plan = &plan, .index = machine.vm[0].index};
    bits = 40;
    said[0] = 0;
    return 0;
}

static void add_bar(uint32_t i, uint32_t bar, uint64_t size, uint32_t flags)
{
    for (; plan.devices <= i; plan.devices++)
        plan.device[plan.devices] = (struct plan_device){.rid = plan.devices};
    function[i].bar[bar] = (struct pci_bar){size, size, flags};
}

/* Devices are claimed once: each time is another VM's. */
static uint64_t resolve_anew(void)
{
    assert_in_range(machine.vm[0].index, 0, PLAN_VMS - 2);
    machine.vm[0].index++;
    return device_resolve();
}

static void resolve(void)
{
    assert_int_equal(resolve_anew(), OK);
    device_describe(&machine.vm[0], &config);
}

static void expect(uint32_t i, uint32_t bar, uint64_t address)
{
    const struct vm_bar *b = &config.device[i].bar[bar];
    assert_true(b->address == address);
    assert_true(b->size == function[i].bar[bar].size);
    assert_int_equal(b->flags, function[i].bar[bar].flags);
}

static void refused(const char *why)
{
    char all[200];
    said[0] = 0;
    assert_int_equal(resolve_anew(), BAD_ARG);
    format(all, sizeof(all), "plan: VM a: device %u: %s", plan.devices, why);
    assert_string_equal(said, all);
}

#define FAR  "its registers fit no address above the VM's RAM"
#define NEAR "the registers of the VM's devices do not fit 240 MiB"

static void two_rows(void **state)
{
    (void)state;
    add_bar(0, 0, 0x4000, WIDE);
    add_bar(0, 2, 512 * MIB, WIDE_PREFETCH);
    add_bar(0, 4, MIB, 0);
    add_bar(1, 0, 16 * MIB, WIDE_PREFETCH); /* the largest that stays */
    add_bar(1, 2, 32 * MIB, WIDE);
    add_bar(1, 4, 32 * MIB, 8); /* of 32 bits */
    add_bar(2, 0, 8 * GIB, WIDE_PREFETCH);
    add_bar(3, 0, 0x1000, 0);
    resolve();
    expect(0, 0, GUEST_DEVICES);
    expect(0, 2, 4 * GIB);
    expect(0, 4, GUEST_DEVICES + MIB);
    expect(1, 0, GUEST_DEVICES + 16 * MIB);
    expect(1, 2, 4 * GIB + 512 * MIB);
    expect(1, 4, GUEST_DEVICES + 48 * MIB);
    expect(2, 0, 8 * GIB);
    expect(3, 0, GUEST_DEVICES + 80 * MIB);
    assert_int_equal(device_mappings(&machine.vm[0]), 1);
}

static void above_ram(void **state)
{
    (void)state;
    add_bar(0, 2, 512 * MIB, WIDE_PREFETCH);
    const uint64_t row[][2] = {{GUEST_MSIX, 4 * GIB},
                               {GUEST_MSIX + 2 * MIB, 5 * GIB},
                               {64 * GIB, 65 * GIB},
                               {63 * GIB + MIB, 64 * GIB + 512 * MIB}};
    for (uint32_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        plan.memory = row[i][0];
        resolve();
        assert_true(config.device[0].bar[2].address == row[i][1]);
        assert_true(row[i][1] >= guest_end(plan.memory));
    }
}

static void below_4_gib(void **state)
{
    (void)state;
    add_bar(0, 0, 128 * MIB, 0);
    resolve();
    expect(0, 0, 0xe8000000);
    add_bar(1, 0, 16 * MIB, WIDE);
    refused(NEAR);
    function[1].bar[0].size = 32 * MIB; /* this one need not be there */
    resolve();
    expect(1, 0, 4 * GIB);
    function[0].bar[0].size = 256 * MIB;
    plan.devices = 1;
    refused(NEAR);
}

static void as_far_as_addresses_go(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint64_t memory, size, address; /* 0: it does not fit */
    } row[] = {
        {36, GIB, 32 * GIB, 32 * GIB},
        {36, GIB, 64 * GIB, 0},
        {36, 64 * GIB, 512 * MIB, 0}, /* behind RAM that does not fit, either */
        {36, 62 * GIB, GIB, 63 * GIB},
        {36, 62 * GIB, 2 * GIB, 0},
        {39, 64 * GIB, 256 * GIB, 256 * GIB},
        {39, GIB, 512 * GIB, 0},
        {48, GIB, 1ull << 45, 1ull << 45},
        {52, GIB, 1ull << 46, 0}, /* more than the kernel maps */
        {32, GIB, 32 * MIB, 0},
    };
    for (uint32_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        setup(NULL);
        add_bar(0, 1, row[i].size, WIDE);
        bits = row[i].bits;
        plan.memory = row[i].memory;
        if (!row[i].address) {
            refused(FAR);
            continue;
        }
        resolve();
        expect(0, 1, row[i].address);
    }
}

/* What a VMM that died left of its writes to configuration registers is in no later one's way. */
static void each_life_writes_anew(void **state)
{
    (void)state;
    add_bar(0, 0, MIB, 0);
    resolve();
    begun = 0;
    map_says = NO_MEMORY;
    assert_int_equal(device_map(&machine.vm[0]), NO_MEMORY);
    assert_int_equal(begun, 1);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(two_rows), TEST(above_ram), TEST(below_4_gib),
                                       TEST(as_far_as_addresses_go), TEST(each_life_writes_anew)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
