/*
 * lib/quota.h against what root makes: the largest VMs and LANs are built with calls that count.
 * What stays of each quota is said here to the last object, so that one more fails.
 */
#include <root/console/uart.h>
#include <root/plan.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/store.h>
#include <kernel/config.h>
#include <lib/quota.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "test.h"

#define RAM       0x1000000ull /* where it begins */
#define RAM_END   0x8000000ull
#define DEVICES   0x80000000ull
#define FAR       0x10000000000ull /* other devices */
#define CORES     16u
#define FUNCTIONS (PLAN_DEVICES + 1u)

#include "root_devices.h"

_Static_assert(QUOTA_KERNEL == OBJECTS - 1, "its table of objects");
_Static_assert(POOL_KERNEL == POOL_FRAMES && POOL_KERNEL + POOL_MORE == POOL_MOST, "its pool");

uint8_t *fake_memory, *fake_stat;
struct machine machine;
static struct plan plan;
static struct boot_info info;
static struct {
    uint32_t quota, used;
} domain[ROOT_SLOTS];
static uint64_t pd_of_ec[ROOT_SLOTS];

uint64_t fake_made(uint64_t payer) { return domain[payer].used++, OK; }

/* CALL_MR_MAP: how many frames, and the most leaves of one call, as kernel/ptab.c counts them. */
static uint64_t mapped_frames, most_leaves;
/* Mappings in a guest of a page, since the last one of more: they are to make tables, up to an
   address; and how many frames were mapped there to be executed. */
static uint64_t single_pages, tables_end, small_frames;

uint64_t fake_unmap(uint64_t mr, uint64_t pd)
{
    (void)mr;
    if (pd != SLOT_ROOT_PD)
        domain[pd].used -= (uint32_t)single_pages;
    return OK;
}

uint64_t fake_map(uint64_t pd, uint64_t perm, uint64_t va, uint64_t frames)
{
    uint64_t leaves = 0;
    mapped_frames += frames;
    assert_true(!domain[pd].quota || domain[pd].used < domain[pd].quota);
    if (machine.plan->flags & PLAN_SMALL_PAGES && perm & MR_EXEC && frames > 1) {
        assert_true(va + frames * PAGE_SIZE <= tables_end && frames <= MAX_LEAVES_PER_MAP);
        small_frames += frames;
        single_pages = 0;
        return fake_made(pd);
    }
    single_pages += pd != SLOT_ROOT_PD;
    tables_end = va + MEBI2;
    for (uint64_t at = va / PAGE_SIZE, end = at + frames, size; at < end; at += size, leaves++) {
        size = 1 << 18;
        while (at % size || size > end - at)
            size >>= 9;
    }
    most_leaves = leaves > most_leaves ? leaves : most_leaves;
    return fake_made(pd);
}
uint64_t fake_pd(uint64_t dst, uint64_t payer, uint64_t objects)
{
    domain[dst].quota = (uint32_t)objects;
    domain[dst].used = 0;
    single_pages = 0;
    return fake_made(payer);
}
struct result fake_ec(uint64_t dst, uint64_t pd)
{
    pd_of_ec[dst] = pd;
    return (struct result){fake_made(pd), 0};
}
static uint64_t last_priority; /* that a thread or a vCPU was given */
uint64_t fake_sc(uint64_t ec, uint64_t priority)
{
    last_priority = priority;
    return fake_made(pd_of_ec[ec]);
}

/* ---- the rest of root ---- */
void console_say(const char *text, ...) { fail_msg("%s", text); }
void uart_finish(void) {}
void acpi_reset(const struct acpi *acpi) { (void)acpi, abort(); }
const struct boot_module *plan_file(const struct boot_info *boot, uint32_t number)
{
    return &boot->module[number];
}
const struct boot_module *plan_module(const struct boot_info *boot, const char *name)
{
    return (void)boot, (void)name, NULL;
}
uint64_t pci_ecam(uint16_t rid) { return DEVICES + PAGE_SIZE * (uint64_t)rid; }

/* ---- VMs with all that a plan can give them ---- */
static void add_shared(uint32_t first_core, uint32_t vcpus, uint32_t lan)
{
    struct plan_vm *vm = &plan.vm[plan.vms++];
    *vm = (struct plan_vm){.vcpus = vcpus,
                           .memory = MEBI2,
                           .cores = (~0ull >> (64 - vcpus)) << first_core,
                           .disks = PLAN_DISKS,
                           .lan = lan,
                           .mtu = PLAN_MTU};
    for (uint32_t i = 0; i < PLAN_DISKS; i++)
        vm->disk[i] = (struct plan_disk){.file = 2, .flags = DISK_VOLATILE};
    vm->initrd = 1;
    plan.lans = lan > plan.lans ? lan : plan.lans;
}

static void add_dedicated(uint32_t first_core, uint32_t vcpus, uint32_t first_device,
                          uint32_t devices)
{
    struct plan_vm *vm = &plan.vm[plan.vms++];
    *vm = (struct plan_vm){.mode = MODE_DEDICATED,
                           .vcpus = vcpus,
                           .memory = MEBI2,
                           .cores = (~0ull >> (64 - vcpus)) << first_core,
                           .sealed = 1,
                           .devices = devices,
                           .initrd = 1};
    for (uint32_t i = 0; i < devices; i++)
        vm->device[i] = (struct plan_device){.rid = first_device + i};
}

/* Each device has all BARs; its MSI-X table is in the middle of one. */
static void make_devices(void)
{
    for (uint32_t i = 0; i < FUNCTIONS; i++) {
        function[i] =
            (struct pci_function){.rid = (uint16_t)i, .msix = 0x40, .msix_offset = 0x1000};
        for (uint32_t b = 0; b < PCI_BARS; b++)
            function[i].bar[b] =
                (struct pci_bar){DEVICES + 0x100000 * (i + 1) + 0x4000 * b, 0x4000, 0};
    }
}

/* As main.c does. */
static void build(void)
{
    memory_init(&info);
    machine.vms = plan.vms;
    for (uint32_t i = 0, vcpus = 0; i < plan.vms; vcpus += plan.vm[i].vcpus, i++)
        machine.vm[i] =
            (struct vm){.plan = &plan.vm[i], .index = i, .first_vcpu = vcpus, .files = &info};
    assert_int_equal(device_resolve(), OK);
    for (uint32_t i = 0; i < plan.vms; i++)
        assert_int_equal(store_take(&machine.vm[i]), OK);
    assert_int_equal(lan_take(), OK);
    for (uint32_t i = 0; i < plan.vms; i++) {
        assert_int_equal(store_open(&machine.vm[i]), OK);
        fake_made(SLOT_ROOT_PD); /* its bell */
        assert_int_equal(fault_prepare(i, vm_cores(&machine.vm[i])), OK);
    }
    for (uint32_t lan = 1; lan <= plan.lans; lan++)
        assert_int_equal(fault_prepare(PLAN_VMS + lan - 1, 1ull << lan_core(lan)), OK);
    assert_int_equal(lan_start_all(), OK);
    for (uint32_t i = 0; i < plan.vms; i++) {
        assert_int_equal(vm_build(&machine.vm[i]), OK);
        assert_int_equal(vm_run(&machine.vm[i]), OK);
        /* What its VMM makes: a portal for each event. */
        domain[vm_slot(&machine.vm[i], VM_VMM)].used += EVENT_COUNT * plan.vm[i].vcpus;
    }
}

static uint32_t spare(uint64_t pd)
{
    assert_true(domain[pd].used <= domain[pd].quota);
    return domain[pd].quota - domain[pd].used;
}

/* All domains' quotas, and what root has of its own for them. */
static uint32_t spent(void)
{
    uint32_t objects = domain[SLOT_ROOT_PD].used;
    for (uint32_t i = 0; i < ROOT_SLOTS; i++)
        objects += i == SLOT_ROOT_PD ? 0 : domain[i].quota;
    return objects;
}

static void quotas(void **state)
{
    (void)state;
    add_shared(0, 4, 1);
    add_shared(4, 1, 1);
    add_dedicated(5, MAX_CORES - 6, 0, PLAN_DEVICES);
    add_dedicated(MAX_CORES - 1, 1, PLAN_DEVICES, 1);
    for (uint32_t i = 0; i < 2; i++) /* the second's volumes are the first's */
        plan.vm[i].store = 2, plan.vm[i].server = 1;
    plan.lans = 2;
    plan.tpm = 1;
    build();
    const uint32_t left[][2] = {{6, 1}, {6, 1}, {11, 2 + PLAN_DEVICES}, {11, 2 + 1}};
    for (uint32_t i = 0; i < plan.vms; i++) {
        assert_int_equal(spare(vm_slot(&machine.vm[i], VM_VMM)), left[i][0]);
        assert_int_equal(spare(vm_slot(&machine.vm[i], VM_GUEST)), left[i][1]);
    }
    for (uint32_t lan = 0; lan < plan.lans; lan++)
        assert_int_equal(spare(SLOT_LAN + 2 * lan), 17 + PLAN_VMS - 2);
    /* Memory cut for a VM is one object more than its share of root's says. */
    assert_int_equal(quota_plan(&plan) - spent(), QUOTA_ROOT - plan.vms);
}

/* BARs of several mappings, the MSI-X tables in the middle of the first. */
static void large_bars(void **state)
{
    (void)state;
    const uint64_t map = QUOTA_MAPPING;
    for (uint32_t i = 0; i < PLAN_DEVICES; i++)
        function[i].bar[0] = (struct pci_bar){FAR + 4 * map * i, 4 * map, 4};
    add_dedicated(0, 1, 0, PLAN_DEVICES);
    build();
    assert_int_equal(device_mappings(&machine.vm[0]), 4 * PLAN_DEVICES);
    assert_int_equal(spare(vm_slot(&machine.vm[0], VM_GUEST)), 2 + PLAN_DEVICES + PLAN_DEVICES);
}

/* All that a processor with 48 bits of physical address could reach, from one address on to the end
   of what boot/memory.c describes (46 bits), around a hole: no call needs more leaves than there
   may be, and all fit its quota. */
static void a_host_of_many_bits(void **state)
{
    (void)state;
    const uint64_t end = 1ull << 46, low = 0x57ff3000;
    info.ranges = 2;
    info.range[0] = (struct boot_range){0, low, RANGE_HOST, 0};
    info.range[1] = (struct boot_range){low + 0x4201000, end - low - 0x4201000, RANGE_HOST, 0};
    memory_init(&info);
    mapped_frames = most_leaves = 0;
    assert_int_equal(memory_map_host(1ull << 48, SLOT_VM), OK);
    assert_int_equal(mapped_frames, (end - 0x4201000) / PAGE_SIZE);
    assert_in_range(most_leaves, 1, MAX_LEAVES_PER_MAP);
    assert_in_range(domain[SLOT_VM].used, 1, 40);
}

/* A VM that was created has cores where no switch is: a high priority of it must not lift the
 * switch above VMs of the plan. */
static void a_switch_is_above_the_vms_of_the_plan(void **state)
{
    (void)state;
    add_shared(0, 1, 1);
    add_shared(1, 1, 1);
    plan.vm[0].priority = 3;
    plan.vm[1].priority = 5;
    build();
    assert_int_equal(lan_renew(1), OK);
    assert_int_equal(last_priority, 6);
    machine.vm[1].created = true;
    assert_int_equal(lan_renew(1), OK);
    assert_int_equal(last_priority, 4);
}

/* The VMM maps whole pages: behind the end of a file it must not find what another VM left. */
static void behind_a_copy_are_zeros(void **state)
{
    struct vm *vm = &machine.vm[0];
    const struct file *disk = &vm->file[FILE_DISK];
    (void)state;
    info.module[2].size = 1000;
    add_shared(0, 1, 0);
    build();
    uint8_t *copy = fake_memory + disk->base, *from = fake_memory + disk->source;
    assert_ptr_not_equal(copy, from);
    memset(from, 0x55, PAGE_SIZE);
    memset(copy, 0xaa, PAGE_SIZE);
    while (!store_copy_files(vm))
        machine.turn_began = tsc();
    for (uint32_t i = 0; i < PAGE_SIZE; i++)
        assert_int_equal(copy[i], i < 1000 ? 0x55 : 0);
}

static int setup(void **state)
{
    (void)state;
    memset(domain, 0, sizeof(domain));
    memset(&plan, 0, sizeof(plan));
    machine = (struct machine){.info = &info,
                               .plan = &plan,
                               .clock = {.tsc_hz = 1000000000},
                               .vmm = {RAM, 0, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE},
                               .lan = {RAM, 0, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE},
                               .cores = CORES};
    info = (struct boot_info){.root_base = RAM, .ranges = 4, .modules = 3};
    info.range[0] = (struct boot_range){RAM, RAM_END - RAM, RANGE_RAM, 0};
    info.range[1] = (struct boot_range){DEVICES, 0x10000000, RANGE_DEVICE, 0};
    info.range[2] = (struct boot_range){TPM_PAGE, PAGE_SIZE, RANGE_DEVICE, 0};
    info.range[3] = (struct boot_range){FAR, FAR, RANGE_DEVICE, 0};
    for (uint32_t i = 0; i < info.modules; i++)
        info.module[i] = (struct boot_module){.base = RAM + PAGE_SIZE * 4 * i, .size = PAGE_SIZE};
    make_devices();
    return 0;
}

/* RAM is as many mappings as the leaves of a call make necessary. Nothing else of the quotas
 * changes with its size; the guest's shows it. */
static void ram_of_a_server(void **state)
{
    static const uint64_t size[] = {MEBI2, 12 * GIBI, 24 * GIBI, 25 * GIBI + MEBI2,
                                    PLAN_MEMORY_MAX};
    uint32_t left = 0;
    for (uint32_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        (void)setup(state);
        info.range[info.ranges++] = (struct boot_range){2 * FAR, 4 * FAR, RANGE_RAM, 0};
        add_shared(0, 4, 0);
        plan.vm[0].memory = size[i];
        most_leaves = 0;
        build();
        assert_in_range(most_leaves, 1, MAX_LEAVES_PER_MAP);
        left = i ? left : spare(vm_slot(&machine.vm[0], VM_GUEST));
        assert_int_equal(spare(vm_slot(&machine.vm[0], VM_GUEST)), left);
    }
}

/* PLAN_SMALL_PAGES: all of a guest's RAM is mapped where tables for small leaves are, with all the
 * objects that this takes in between. */
static void ram_in_small_pages(void **state)
{
    static const uint64_t size[] = {MEBI2, 18 << 20, 3 * GIBI, 14 * GIBI};
    for (uint32_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        (void)setup(state);
        info.range[info.ranges++] = (struct boot_range){2 * FAR, 4 * FAR, RANGE_RAM, 0};
        add_shared(0, 4, 0);
        plan.vm[0].memory = size[i];
        plan.flags = PLAN_SMALL_PAGES;
        small_frames = 0;
        build();
        assert_int_equal(small_frames, size[i] / PAGE_SIZE);
        assert_true(pool_guest(&plan.vm[0], true) >=
                    size[i] / MEBI2 + pool_guest(&plan.vm[0], false));
        assert_in_range(spare(vm_slot(&machine.vm[0], VM_GUEST)), 1, 12);
    }
}

/* Beside an installed system VMs have one run of RAM, of their size and little more, anywhere. */
static void vms_beside_a_host_fill_their_run(void **state)
{
    (void)state;
    info.flags = BOOT_HOST;
    info.range[0] = (struct boot_range){0x3a600000, 2 * GIBI + (60 << 20), RANGE_RAM, 0};
    for (uint32_t i = 0; i < 2; i++) {
        add_shared(0, 1, 0);
        plan.vm[i].memory = GIBI;
    }
    memory_init(&info);
    for (uint32_t i = 0; i < plan.vms; i++) {
        machine.vm[i] = (struct vm){.plan = &plan.vm[i], .index = i, .files = &info};
        assert_int_equal(store_take(&machine.vm[i]), OK);
    }
}

/* VMs come and go, each on cores of its own: who is last finds a handler, too. */
static void handlers_change_cores(void **state)
{
    (void)state;
    uint32_t made = 1;
    while (made < 2 * MAX_VCPUS && fault_prepare(made, 1) == OK)
        made++;
    assert_in_range(made, 3, 2 * MAX_VCPUS - 1);
    assert_int_equal(fault_prepare(0, 2), NO_MEMORY);
    fault_forget(1);
    assert_int_equal(fault_prepare(1, 2), OK);
    for (uint32_t vm = 2; vm < made; vm++)
        fault_forget(vm);
    assert_int_equal(fault_prepare(2, ~0ull), OK);
}

/* The UTCBs of root's fault handlers, where they are. */
static int map_handlers(void **state)
{
    (void)state;
    void *at = (void *)ROOT_HUTCB(0);
    size_t size = (SLOT_REGION - SLOT_HANDLER) * PAGE_SIZE;
    void *map = mmap(at, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return map == at ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(quotas, setup),
        cmocka_unit_test_setup(large_bars, setup),
        cmocka_unit_test_setup(a_host_of_many_bits, setup),
        cmocka_unit_test_setup(a_switch_is_above_the_vms_of_the_plan, setup),
        cmocka_unit_test_setup(behind_a_copy_are_zeros, setup),
        cmocka_unit_test_setup(ram_of_a_server, setup),
        cmocka_unit_test_setup(ram_in_small_pages, setup),
        cmocka_unit_test_setup(vms_beside_a_host_fill_their_run, setup),
        cmocka_unit_test_setup(handlers_change_cores, setup),
    };
    fake_memory = aligned_alloc(PAGE_SIZE, RAM_END);
    memset(fake_memory + RAM, 0, RAM_END - RAM);
    fake_stat = aligned_alloc(PAGE_SIZE, sizeof(struct kernel_stat));
    memset(fake_stat, 0, sizeof(struct kernel_stat));
    int failed = cmocka_run_group_tests(tests, map_handlers, NULL);
    free(fake_memory);
    free(fake_stat);
    return failed;
}
