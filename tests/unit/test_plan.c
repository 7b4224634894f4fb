/* Root takes no plan on trust: each rule of root/plan.c is broken once, in a plan that is good but
 * for that. */
#include "plan_record.h"
#include "test.h"
#include <root/console/console.h>
#include <root/memory.h>
#include <root/plan_rules.h>
#include <lib/cores.h>
#include <lib/quota.h>
#include <stdio.h>

#define CORES 4u

static struct plan plan;
static struct boot_info info;
static bool own_cores, unreadable;
static char said[160];

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    assert_true(base == 0x1000 && size == sizeof plan);
    memcpy(to, &plan, size);
    return unreadable ? BAD_ARG : OK;
}

void console_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(said, sizeof said, fmt, args);
    va_end(args);
}

static void add_module(const char *name, uint64_t size)
{
    struct boot_module *m = &info.module[info.modules++];
    *m = (struct boot_module){.base = 0x1000, .size = size};
    strcpy(m->name, name);
}

static struct plan_vm *add(const char *name, uint32_t mode, uint64_t cores)
{
    uint32_t i = plan.vms++;
    plan.vm[i] = plan_record(i, name, cores, 0);
    plan.vm[i].mode = mode;
    return &plan.vm[i];
}

static void join(uint32_t vm, uint32_t lan, uint16_t mtu)
{
    plan.vm[vm].lan = lan;
    plan.vm[vm].mtu = mtu;
    plan.vm[vm].mac[4] = (uint8_t)lan;
}

static struct plan_disk volume(const char *name)
{
    struct plan_disk disk = {.file = PLAN_NO_FILE, .flags = DISK_VOLUME};
    strcpy(disk.volume, name);
    return disk;
}

/* Two shared VMs, one that has core 2 and two functions, and one that serves a volume to the first.
 * Files: a kernel, a disk, one of no bytes. */
static struct plan_vm *begin(void)
{
    plan = (struct plan){.magic = PLAN_MAGIC, .version = PLAN_VERSION, .lans = 2, .files = 3};
    info = (struct boot_info){0};
    own_cores = true;
    unreadable = false;
    add_module("plan", sizeof plan);
    add_module("f0", 1 << 20);
    add_module("f1", 4096);
    add_module("f2", 0);
    add("a", MODE_SHARED, 2);
    add("b", MODE_SHARED, 2);
    struct plan_vm *own = add("c", MODE_DEDICATED, 4);
    join(0, 1, 9000);
    join(1, 1, 9000);
    own->devices = 2;
    own->device[0] = (struct plan_device){DEVICE_ADDRESS, 0x100, 0, 0};
    own->device[1] = (struct plan_device){DEVICE_VF, 0, 0x200, 1};
    plan.vm[0].disks = 2;
    plan.vm[0].disk[0] = (struct plan_disk){.file = 1, .flags = DISK_VOLATILE};
    plan.vm[0].disk[1] = volume("home");
    add("d", MODE_SHARED, 2)->store = plan.vm[0].store = 2;
    plan.vm[3].server = plan.vm[0].server = 4;
    plan.tpm = 3;
    return plan.vm;
}

static const char *load(void)
{
    said[0] = 0;
    bool taken = plan_load(&info, CORES, own_cores) != NULL;
    assert_true(taken == !said[0]);
    return said;
}

#define BROKEN(change, sentence)                                                                   \
    do {                                                                                           \
        struct plan_vm *vm = begin();                                                              \
        (void)vm;                                                                                  \
        change;                                                                                    \
        assert_string_equal(load(), "plan: " sentence);                                            \
    } while (0)
#define GOOD(change)                                                                               \
    do {                                                                                           \
        struct plan_vm *vm = begin();                                                              \
        (void)vm;                                                                                  \
        change;                                                                                    \
        assert_string_equal(load(), "");                                                           \
    } while (0)

/* What `check` could not know: the processor wants guests' pages of 4 KiB, a table each 2 MiB. */
static void the_kernel_has_room(void **state)
{
    (void)state;
    GOOD(vm[2].memory = 20ull << 30);
    GOOD(info.flags = BOOT_SMALL_PAGES);
    assert_true(plan_loaded.flags & PLAN_SMALL_PAGES);
    BROKEN(vm[2].memory = 20ull << 30;
           info.flags = BOOT_SMALL_PAGES,
           "the kernel has not the frames for all VMs in pages of 4 KiB, which this processor "
           "needs, or the plan wants: raise machine.kernel_memory");
    BROKEN(vm[2].memory = 20ull << 30;
           plan.flags = PLAN_SMALL_PAGES,
           "the kernel has not the frames for all VMs in pages of 4 KiB, which this processor "
           "needs, or the plan wants: raise machine.kernel_memory");
    GOOD(vm[2].memory = 20ull << 30; plan.flags = PLAN_SMALL_PAGES; info.more_frames = 4096);
    GOOD((void)0);
    assert_false(plan_loaded.flags & PLAN_SMALL_PAGES);
    GOOD(plan_iommu_frames = 7000);
    BROKEN(plan_iommu_frames = 7900,
           "the kernel has not the frames for all VMs: raise machine.kernel_memory");
    plan_iommu_frames = 0;
}

static void the_record_itself(void **state)
{
    (void)state;
    GOOD((void)0);
    BROKEN(strcpy(info.module[0].name, "plam"),
           "the boot module named plan is missing or too short");
    BROKEN(info.module[0].size--, "the boot module named plan is missing or too short");
    BROKEN(unreadable = true, "the boot module named plan is missing or too short");
    BROKEN(plan.magic++, "not a compiled plan");
    BROKEN(plan.version++, "made for another version");
    BROKEN(plan.vms = 0, "bad number of VMs");
    BROKEN(plan.vms = PLAN_VMS + 1, "bad number of VMs");
    GOOD(plan.vms = 0; plan.tpm = 0; plan.flags = PLAN_PROBE);
    BROKEN(plan.flags = 16, "flags of another version");
    BROKEN(plan.lans = PLAN_LANS + 1, "too many LANs");
    BROKEN(plan.tpm = 5, "the TPM is for a VM that is not there");
}

static void what_each_vm_says(void **state)
{
    (void)state;
    BROKEN(vm[0].name[0] = 0, "VM 1: bad name");
    BROKEN(vm[0].name[0] = 'A', "VM 1: bad name");
    BROKEN(memset(vm[0].name, 'a', sizeof vm[0].name), "VM 1: bad name");
    BROKEN(strcpy(vm[0].name, "hairline"), "VM 1: bad name");
    BROKEN(strcpy(vm[1].name, "a"), "VM 2: two VMs of this name");
    BROKEN(vm[0].mode = 2, "VM 1: unknown mode");
    BROKEN(vm[0].vcpus = 0, "VM 1: bad number of vCPUs");
    BROKEN(vm[0].vcpus = PLAN_VCPUS + 1, "VM 1: bad number of vCPUs");
    BROKEN(vm[0].memory = 0, "VM 1: memory is not 2 MiB .. 1 TiB in steps of 2 MiB");
    BROKEN(vm[0].memory = 3 << 20, "VM 1: memory is not 2 MiB .. 1 TiB in steps of 2 MiB");
    BROKEN(vm[0].memory = PLAN_MEMORY_MAX + (2 << 20),
           "VM 1: memory is not 2 MiB .. 1 TiB in steps of 2 MiB");
    BROKEN(vm[0].on_exit = 2, "VM 1: unknown on_exit");
    BROKEN(vm[0].exit_port = 0x10000, "VM 1: exit port is not a port, or a device's");
    BROKEN(vm[0].exit_port = 0x3f8, "VM 1: exit port is not a port, or a device's");
    BROKEN(strcpy(vm[0].cmdline, "a\tb"), "VM 1: command line has no end, or control characters");
    BROKEN(memset(vm[0].cmdline, 'a', PLAN_CMDLINE),
           "VM 1: command line has no end, or control characters");
}

static void its_cores_and_time(void **state)
{
    (void)state;
    BROKEN(vm[0].cores = 0, "VM 1: cores that this machine does not have");
    BROKEN(vm[0].cores = 1 << CORES, "VM 1: cores that this machine does not have");
    BROKEN(own_cores = false,
           "VM 3: mode dedicated needs x2APIC, which this processor does not have: make it shared");
    BROKEN(vm[2].cores = 1, "VM 3: its cores are not one a vCPU, without core 0");
    BROKEN(vm[2].cores = 12, "VM 3: its cores are not one a vCPU, without core 0");
    BROKEN(vm[2].cores = 2, "VM 3: a core of a dedicated VM is another VM's, too");
    BROKEN(vm[0].priority = 0, "VM 1: priority is not 1 .. 24");
    BROKEN(vm[0].priority = 25, "VM 1: priority is not 1 .. 24");
    BROKEN(vm[0].budget_us = 99, "VM 1: bad budget or period, or a dedicated VM's own");
    BROKEN(vm[0].budget_us = 10000001, "VM 1: bad budget or period, or a dedicated VM's own");
    BROKEN(vm[0].period_us = 10000001, "VM 1: bad budget or period, or a dedicated VM's own");
    BROKEN(vm[2].budget_us++, "VM 3: bad budget or period, or a dedicated VM's own");
    BROKEN(vm[0].period_us = 9999, "VM 1: budget exceeds period");
}

static void its_devices(void **state)
{
    (void)state;
    BROKEN(vm[2].disks = 1;
           vm[2].disk[0] = vm[0].disk[0],
           "VM 3: a LAN and disks are of a VMM that stays and has the guest's memory");
    BROKEN(join(2, 1, 9000),
           "VM 3: a LAN and disks are of a VMM that stays and has the guest's memory");
    BROKEN(join(2, 1, 9000); vm[2].disengage = DISENGAGE_NEVER;
           vm[2].sealed = 1,
           "VM 3: a LAN and disks are of a VMM that stays and has the guest's memory");
    GOOD(join(2, 1, 9000); vm[2].disengage = DISENGAGE_NEVER);
    BROKEN(vm[2].store = 2;
           vm[2].server = 4,
           "VM 3: a LAN and disks are of a VMM that stays and has the guest's memory");
    BROKEN(vm[0].control = CONTROL_ALL + 1,
           "VM 1: bad control line, or of a VMM that leaves or has not the guest's memory");
    BROKEN(vm[0].console = CONSOLE_OPEN + 1,
           "VM 1: its console is neither private, shown nor open");
    GOOD(vm[2].console = CONSOLE_SHOWN);
    GOOD(vm[2].console = CONSOLE_OPEN);
    BROKEN(vm[2].control = CONTROL_OWN,
           "VM 3: bad control line, or of a VMM that leaves or has not the guest's memory");
    GOOD(vm[0].control = CONTROL_ALL; vm[1].control = CONTROL_OWN);
    BROKEN(vm[0].devices = 1, "VM 1: what it has needs mode dedicated");
    BROKEN(vm[0].sealed = 1, "VM 1: what it has needs mode dedicated");
    BROKEN(vm[0].disengage = 1, "VM 1: what it has needs mode dedicated");
    BROKEN(vm[0].after = 1, "VM 1: what it has needs mode dedicated");
    BROKEN(vm[2].disengage = 3, "VM 3: bad disengage, after or sealed");
    BROKEN(vm[2].after = 2, "VM 3: bad disengage, after or sealed");
    BROKEN(vm[2].sealed = 2, "VM 3: bad disengage, after or sealed");
    BROKEN(vm[2].devices = PLAN_DEVICES + 1, "VM 3: bad devices, or one that another VM has");
    BROKEN(vm[2].device[0].rid = 0x10000, "VM 3: bad devices, or one that another VM has");
    BROKEN(vm[2].device[1].by = 3, "VM 3: bad devices, or one that another VM has");
    BROKEN(vm[2].device[1].index = 256, "VM 3: bad devices, or one that another VM has");
    BROKEN(vm[2].device[1] = vm[2].device[0], "VM 3: bad devices, or one that another VM has");
    BROKEN(vm[0].lan = 3, "VM 1: no such LAN");
    BROKEN(vm[0].mtu = 1499, "VM 1: its MTU is not 1500 .. 9000, or not 0 without a LAN");
    BROKEN(vm[0].mtu = 9001, "VM 1: its MTU is not 1500 .. 9000, or not 0 without a LAN");
    BROKEN(vm[1].mtu = 1500, "VM 2: its LAN's MTU is not that of another VM on it");
    BROKEN(vm[2].mtu = 1500, "VM 3: its MTU is not 1500 .. 9000, or not 0 without a LAN");
    BROKEN(vm[0].mac[5]++, "VM 1: not the address that it has on its LAN");
}

static void its_files(void **state)
{
    (void)state;
    BROKEN(vm[0].kernel_type = 3, "VM 1: unknown kernel type");
    BROKEN(vm[0].kernel = 3, "VM 1: kernel is missing");
    BROKEN(vm[0].kernel = 2, "VM 1: kernel is missing");
    BROKEN(plan.files = 0, "VM 1: kernel is missing");
    BROKEN(vm[0].initrd = 3, "VM 1: initrd is missing");
    BROKEN(info.module[1].size = (4 << 20) + 1, "VM 1: kernel and initrd do not fit its memory");
    BROKEN(vm[0].initrd = 0;
           info.module[1].size = (2 << 20) + 1, "VM 1: kernel and initrd do not fit its memory");
    BROKEN(vm[0].disks = PLAN_DISKS + 1, "VM 1: bad disk");
    BROKEN(vm[0].disk[0].file = 2, "VM 1: bad disk");
    BROKEN(vm[0].disk[0].flags = 3, "VM 1: bad disk");
    BROKEN(info.module[2].size = 4097, "VM 1: bad disk");
}

static void its_volumes(void **state)
{
    (void)state;
    BROKEN(vm[0].store = 0, "VM 1: bad disk");
    BROKEN(vm[0].store = 3, "VM 1: bad LAN or service VM of volumes");
    BROKEN(vm[0].server = 0, "VM 1: bad LAN or service VM of volumes");
    BROKEN(vm[0].server = 5, "VM 1: bad LAN or service VM of volumes");
    BROKEN(vm[0].disks = 1, "VM 1: bad LAN or service VM of volumes");
    BROKEN(vm[3].store = 1, "VM 1: bad LAN or service VM of volumes");
    BROKEN(join(1, 2, 9000), "VM 1: bad LAN or service VM of volumes");
    BROKEN(vm[0].store = vm[0].server = 0;
           vm[0].disks = 1, "VM 4: bad LAN or service VM of volumes");
    BROKEN(vm[0].disk[0].volume[0] = 'a', "VM 1: bad disk");
    BROKEN(vm[0].disk[1].volume[0] = 'A', "VM 1: bad disk");
    BROKEN(vm[0].disk[1].file = 1, "VM 1: bad disk");
    BROKEN(vm[0].disks = 3; vm[0].disk[2] = vm[0].disk[1], "VM 1: bad disk");
    GOOD(vm[0].disks = 3; vm[0].disk[2] = volume("other"));
    BROKEN(vm[3].disks = 1; vm[3].disk[0] = volume("other"), "VM 4: bad disk");
}

static void vcpus_of_all(void **state)
{
    (void)state;
    begin();
    plan.vms = plan.tpm = 0;
    char name[2] = "a";
    for (uint32_t vcpus = 0; vcpus < MAX_VCPUS; vcpus += PLAN_VCPUS, name[0]++)
        add(name, MODE_SHARED, 2)->vcpus = PLAN_VCPUS;
    assert_string_equal(load(), "");
    add(name, MODE_SHARED, 2);
    assert_non_null(strstr(load(), ": too many vCPUs with those before it"));
}

/* It has the last vCPUs, and all devices. */
static void beside_an_installed_system(void **state)
{
    (void)state;
    begin();
    plan.vms = plan.tpm = 0;
    info.flags = BOOT_HOST;
    char name[2] = "a";
    for (uint32_t vcpus = 0; vcpus < MAX_VCPUS_BESIDE; vcpus += PLAN_VCPUS, name[0]++)
        add(name, MODE_SHARED, 2)->vcpus = PLAN_VCPUS;
    add("host", MODE_HOST, 0);
    assert_string_equal(load(), "");
    for (uint32_t control = CONTROL_NONE; control <= CONTROL_ALL + 1; control++) {
        plan.vm[plan.vms - 1].control = control;
        bool good = control == CONTROL_NONE || control == CONTROL_ALL;
        assert_true(good == !strstr(load(), "bad name or control line of the VM of mode host"));
    }
    plan.vm[plan.vms - 1].control = CONTROL_NONE;
    plan.tpm = 1;
    assert_non_null(strstr(load(), "devices, the TPM or spare cores beside a VM of mode host"));
    plan.tpm = 0;
    plan.vm[0].control = CONTROL_ALL;
    plan.vm[0].disks = 1;
    plan.vm[0].disk[0] = (struct plan_disk){.file = PLAN_NO_FILE, .flags = DISK_UPLOAD};
    plan.spare_cores = 8, plan.spare_memory = 32u << 20, plan.upload = 1u << 20;
    assert_non_null(strstr(load(), "devices, the TPM or spare cores beside a VM of mode host"));
    plan.spare_cores = plan.spare_memory = plan.upload = plan.vm[0].disks = plan.vm[0].control = 0;
    plan.vm[1].devices = 1;
    assert_non_null(strstr(load(), "devices, the TPM or spare cores beside a VM of mode host"));
    plan.vms--;
    add(name, MODE_SHARED, 2);
    add("host", MODE_HOST, 0);
    plan.vm[1].devices = 0;
    assert_non_null(strstr(load(), ": too many vCPUs with those before it"));
    info.flags = 0;
}

/* What the kernel's tables have left, they have for it, too. */
static void an_installed_system_is_counted(void **state)
{
    (void)state;
    begin();
    plan.vms = plan.tpm = 0;
    plan.flags |= PLAN_SMALL_PAGES;
    info.more_frames = POOL_MORE;
    struct plan_vm *large = add("large", MODE_SHARED, 2);
    add("host", MODE_HOST, 0);
    info.flags = BOOT_HOST;
    while (quota_plan(&plan) <= QUOTA_KERNEL)
        large->memory += 1 << 30;
    assert_non_null(strstr(load(), "the kernel has not the objects for all VMs"));
    large->memory -= 1 << 30;
    assert_string_equal(load(), "");
    info.more_frames = (uint32_t)(pool_plan(&plan, 0) - POOL_KERNEL);
    assert_string_equal(load(), "");
    info.more_frames--;
    assert_non_null(strstr(load(), "the kernel has not the frames for all VMs"));
    plan.flags = 0;
    info.flags = info.more_frames = 0;
}

/* VM "a" may create others, on core 3. */
static struct plan_vm *begin_with_spare(void)
{
    struct plan_vm *vm = begin();
    plan.spare_cores = 8;
    plan.spare_memory = 64 << 20;
    plan.upload = 1 << 20;
    vm[0].control = CONTROL_ALL;
    vm[0].disks = 3;
    vm[0].disk[2] = (struct plan_disk){.file = PLAN_NO_FILE, .flags = DISK_UPLOAD};
    return vm;
}

#define BROKEN_SPARE(change, sentence) BROKEN(begin_with_spare(); change, sentence)

static void what_is_spare(void **state)
{
    (void)state;
    GOOD(begin_with_spare());
    BROKEN_SPARE(plan.spare_cores = 1, "spare cores that this machine does not have, or core 0");
    BROKEN_SPARE(plan.spare_cores = 16, "spare cores that this machine does not have, or core 0");
    BROKEN_SPARE(plan.spare_memory++, "spare memory, spare cores and room for uploads go together");
    BROKEN_SPARE(plan.spare_memory = 0,
                 "spare memory, spare cores and room for uploads go together");
    BROKEN_SPARE(plan.spare_cores = 0,
                 "spare memory, spare cores and room for uploads go together");
    BROKEN_SPARE(plan.upload = 0, "spare memory, spare cores and room for uploads go together");
    BROKEN_SPARE(plan.upload++, "too much to spare, or to upload");
    BROKEN_SPARE(plan.upload = PLAN_UPLOAD_MAX + PLAN_UPLOAD_STEP,
                 "too much to spare, or to upload");
    BROKEN_SPARE(plan.spare_memory = PLAN_SPARE_MAX + (2 << 20), "too much to spare, or to upload");
    BROKEN_SPARE(plan.held = 1ull << plan.vms, "a VM that is not there starts at a command");
    GOOD(begin_with_spare(); plan.held = (1ull << plan.vms) - 1);
    BROKEN_SPARE(vm[0].disks = 2, "nobody can use what is spare");
    BROKEN_SPARE(vm[0].disks = 4; vm[0].disk[3] = vm[0].disk[2], "VM 1: bad disk");
    BROKEN_SPARE(vm[1].cores = 10, "VM 2: a core of it is a spare one");
    BROKEN_SPARE(vm[0].control = CONTROL_OWN, "VM 1: bad disk");
    BROKEN_SPARE(vm[0].disk[2].file = 1, "VM 1: bad disk");
    BROKEN_SPARE(vm[0].disk[2].volume[0] = 'a', "VM 1: bad disk");
    BROKEN_SPARE(vm[1].control = CONTROL_ALL; vm[1].disks = 1;
                 vm[1].disk[0] = vm[0].disk[2], "VM 1: bad disk");
}

/* ---- a VM that comes later --------------------------------------------------- */

static struct plan_vm record;
static struct boot_info uploaded;
static const struct plan *loaded;

static void make_record(const char *name) { record = plan_record(plan_next(), name, 8, 0); }

static void load_with_spare(void)
{
    begin_with_spare();
    assert_string_equal(load(), "");
    loaded = plan_load(&info, CORES, true);
    uploaded = (struct boot_info){.modules = 1};
    uploaded.module[0] = (struct boot_module){.base = 0x1000, .size = 4096};
    strcpy(uploaded.module[0].name, "f0");
    make_record("late");
}

static const char *admit(void)
{
    const char *wrong = NULL;
    uint32_t before = loaded->vms;
    const struct plan_vm *vm = plan_admit(&uploaded, &record, &loaded->vm[0], &wrong);
    assert_true(vm ? loaded->vms >= before : loaded->vms == before);
    return vm ? "" : wrong;
}

#define LATE(change, sentence)                                                                     \
    do {                                                                                           \
        load_with_spare();                                                                         \
        change;                                                                                    \
        assert_string_equal(admit(), sentence);                                                    \
    } while (0)

static void dedicate_record(uint32_t disengage)
{
    record.mode = MODE_DEDICATED;
    record.disengage = disengage;
}

static void one_that_comes_later(void **state)
{
    (void)state;
    LATE((void)0, "");
    LATE(dedicate_record(DISENGAGE_AUTO), "");
    LATE(strcpy(record.name, "d"), "two VMs of this name");
    LATE(record.cores = 2, "its cores are not spare ones");
    LATE(record.kernel = 1, "kernel is missing");
    LATE(record.mac[5]++, "not the address that it has on its LAN");
    LATE(dedicate_record(DISENGAGE_AUTO);
         record.devices = 1, "only a VM of the plan that was booted is sealed or has devices");
    LATE(dedicate_record(DISENGAGE_AUTO);
         record.sealed = 1, "only a VM of the plan that was booted is sealed or has devices");
    LATE(record.control = CONTROL_OWN,
         "only a VM of the plan that was booted has volumes or control");
    LATE(record.store = 2; record.server = 4; record.disks = 1;
         record.disk[0] = volume("late"),
         "only a VM of the plan that was booted has volumes or control");
    LATE(record.disks = 1;
         record.disk[0] = ((struct plan_disk){.file = PLAN_NO_FILE, .flags = DISK_UPLOAD}),
         "bad disk");
    LATE(record.lan = 1; record.mtu = 9000; record.mac[4] = 1, "");
    LATE(record.lan = 1; record.mtu = 1500;
         record.mac[4] = 1, "its LAN's MTU is not that of another VM on it");
    LATE(record.lan = 2; record.mtu = 9000;
         record.mac[4] = 2, "its LAN is not that of the VM that creates it");
}

static void those_that_come_later(void **state)
{
    (void)state;
    char name[] = "l0";
    load_with_spare();
    for (uint32_t i = 0; i < CORES_SPARE_HELPERS; i++, name[1]++) {
        make_record(name);
        assert_string_equal(admit(), "");
    }
    make_record(name);
    assert_string_equal(
        admit(),
        "four workers of VMs are on its first core already, or on core 0 if it is dedicated");
    assert_int_equal(loaded->vms, 8);
    plan_forget(&loaded->vm[5]); /* a number that is free among those that are not */
    assert_int_equal(loaded->vms, 8);
    assert_int_equal(plan_next(), 5);
    make_record("l3");
    assert_string_equal(admit(), "two VMs of this name");
    make_record("new");
    record.vcpus = PLAN_VCPUS;
    assert_string_equal(admit(), "");
    plan_forget(&loaded->vm[7]);
    plan_forget(&loaded->vm[6]);
    assert_int_equal(loaded->vms, 6);
    make_record("own");
    dedicate_record(DISENGAGE_NEVER);
    assert_string_equal(admit(), "a core of a dedicated VM is another VM's, too");
    plan_forget(&loaded->vm[4]);
    plan_forget(&loaded->vm[5]);
    assert_int_equal(loaded->vms, 4);
    make_record("own");
    dedicate_record(DISENGAGE_NEVER);
    assert_string_equal(admit(), "");
}

static void as_many_as_there_can_be(void **state)
{
    (void)state;
    char name[] = "l00";
    load_with_spare();
    for (uint32_t i = 0; i < 3; i++, name[1]++) {
        make_record(name);
        record.vcpus = PLAN_VCPUS;
        assert_string_equal(admit(), "");
    }
    make_record(name);
    record.vcpus = PLAN_VCPUS;
    assert_string_equal(admit(), "too many vCPUs with those of the others");
    record.vcpus = PLAN_VCPUS - 4;
    assert_string_equal(admit(), "");
    load_with_spare();
    plan_loaded.vms = plan_booted = PLAN_VMS;
    assert_string_equal(admit(), "there are as many VMs as there can be");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_record_itself),
        cmocka_unit_test(the_kernel_has_room),
        cmocka_unit_test(what_each_vm_says),
        cmocka_unit_test(its_cores_and_time),
        cmocka_unit_test(its_devices),
        cmocka_unit_test(its_files),
        cmocka_unit_test(vcpus_of_all),
        cmocka_unit_test(beside_an_installed_system),
        cmocka_unit_test(an_installed_system_is_counted),
        cmocka_unit_test(its_volumes),
        cmocka_unit_test(what_is_spare),
        cmocka_unit_test(one_that_comes_later),
        cmocka_unit_test(those_that_come_later),
        cmocka_unit_test(as_many_as_there_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
