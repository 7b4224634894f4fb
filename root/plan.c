#include <root/console/console.h>
#include <root/memory.h>
#include <root/plan.h>
#include <root/plan_rules.h>
#include <abi/utcb.h>
#include <lib/cores.h>
#include <lib/flatpc.h>
#include <lib/format.h>
#include <lib/quota.h>
#include <lib/string.h>

struct plan plan_loaded;
struct plan_vm plan_installed;
uint32_t plan_iommu_frames;
uint32_t plan_booted;
/* The machine's cores; may they be VMs' own? */
static uint32_t plan_cores;
static bool plan_own_cores;
/* VMs, from the first, that one is compared with: those before it, or all, when it comes later. */
static uint32_t compared;
static uint32_t files, pool; /* that a record can name; frames of the kernel's */

const struct boot_module *plan_module(const struct boot_info *info, const char *name)
{
    for (uint32_t i = 0; i < info->modules; i++)
        if (strcmp(info->module[i].name, name) == 0)
            return &info->module[i];
    return 0;
}

const struct boot_module *plan_file(const struct boot_info *info, uint32_t number)
{
    char name[16];
    format(name, sizeof(name), "f%u", number);
    return plan_module(info, name);
}

/* Is `name` [a-z0-9-]+, and does it end within `size` bytes? */
static bool is_name(const char *name, uint32_t size)
{
    uint32_t n = 0;
    for (; n < size && name[n]; n++)
        if (!(name[n] >= 'a' && name[n] <= 'z') && !(name[n] >= '0' && name[n] <= '9') &&
            name[n] != '-')
            return false;
    return n > 0 && n < size && strcmp(name, "hairline") != 0;
}

/* Does `text` end within `size` bytes, and has no control characters? */
static bool is_text(const char *text, uint32_t size)
{
    uint32_t n = 0;
    for (; n < size && text[n]; n++)
        if ((uint8_t)text[n] < ' ' || text[n] == 0x7f)
            return false;
    return n < size;
}

/* Bytes of file `number`; 0: there is none. */
static uint64_t file_size(const struct boot_info *info, uint32_t number)
{
    const struct boot_module *file = number < files ? plan_file(info, number) : 0;
    return file ? file->size : 0;
}

static bool file_is_bad(const struct boot_info *info, const struct plan_disk *disk)
{
    uint64_t size = file_size(info, disk->file);
    return size == 0 || size % PLAN_SECTOR || disk->volume[0] ||
           (disk->flags != DISK_READONLY && disk->flags != DISK_VOLATILE);
}

/* Is another volume before `disk`, which is of `vm`, called like it, and from the same server? */
static bool volume_is_taken(const struct plan_vm *vm, const struct plan_disk *disk)
{
    for (const struct plan_vm *other = plan_loaded.vm; other <= vm; other++)
        for (const struct plan_disk *d = other->disk;
             d < other->disk + other->disks && d != disk && other->server == vm->server; d++)
            if (d->flags == DISK_VOLUME && strcmp(d->volume, disk->volume) == 0)
                return true;
    return false;
}

static bool volume_is_bad(const struct plan_vm *vm, const struct plan_disk *disk)
{
    return disk->file != PLAN_NO_FILE || !vm->store || vm->server == plan_index(vm) + 1 ||
           !is_name(disk->volume, sizeof(disk->volume)) || volume_is_taken(vm, disk);
}

/* How many VMs have a disk for uploads. */
static uint32_t uploaders(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan_loaded.vms; i++)
        n += plan_upload_disk(&plan_loaded.vm[i]) < PLAN_DISKS;
    return n;
}

/* There is one for uploads, if there is something to spare, and it is of a VM that commands all. */
static bool upload_is_bad(const struct plan_vm *vm, const struct plan_disk *disk)
{
    return disk->file != PLAN_NO_FILE || disk->volume[0] || vm->control != CONTROL_ALL ||
           !plan_loaded.upload || uploaders() != 1 || disk != &vm->disk[plan_upload_disk(vm)];
}

static bool disk_is_bad(const struct boot_info *info, const struct plan_vm *vm,
                        const struct plan_disk *disk)
{
    if (disk->flags == DISK_VOLUME)
        return volume_is_bad(vm, disk);
    return disk->flags == DISK_UPLOAD ? upload_is_bad(vm, disk) : file_is_bad(info, disk);
}

static bool disks_are_bad(const struct boot_info *info, const struct plan_vm *vm)
{
    for (const struct plan_disk *d = vm->disk; d < vm->disk + vm->disks; d++)
        if (disk_is_bad(info, vm, d))
            return true;
    return false;
}

/* Volumes: their LAN is no VM's own, and has one server, and clients of which each has a volume. */
static bool store_is_bad(const struct plan_vm *vm)
{
    uint32_t volumes = 0, clients = 0;
    if (!vm->store && !vm->server)
        return false;
    if (!vm->store || vm->store > plan_loaded.lans || !vm->server || vm->server > plan_loaded.vms ||
        vm->disks > PLAN_DISKS)
        return true;
    const struct plan_vm *server = &plan_loaded.vm[vm->server - 1];
    for (const struct plan_disk *d = vm->disk; d < vm->disk + vm->disks; d++)
        volumes += d->flags == DISK_VOLUME;
    for (const struct plan_vm *other = plan_loaded.vm; other < plan_loaded.vm + plan_loaded.vms;
         other++) {
        if (other->lan == vm->store || (other->store == vm->store) != (other->server == vm->server))
            return true;
        clients += other != server && other->store == vm->store;
    }
    return server->store != vm->store || (vm == server ? clients == 0 : volumes == 0);
}

/* `device` is one of `vm`'s. */
static bool device_is_bad(const struct plan_vm *vm, const struct plan_device *device)
{
    if (device->by == DEVICE_ADDRESS
            ? device->rid > 0xffff || device->class || device->index
            : device->by > DEVICE_VF || device->rid || device->class > 0xffff ||
                  device->index > PLAN_DEVICE_INDEX)
        return true;
    for (const struct plan_vm *other = plan_loaded.vm; other <= vm; other++)
        for (const struct plan_device *d = other->device;
             d < other->device + other->devices && d != device; d++)
            if (memcmp(d, device, sizeof(*d)) == 0)
                return true;
    return false;
}

static bool devices_are_bad(const struct plan_vm *vm)
{
    if (vm->devices > PLAN_DEVICES)
        return true;
    for (uint32_t i = 0; i < vm->devices; i++)
        if (device_is_bad(vm, &vm->device[i]))
            return true;
    return false;
}

static bool mac_is_bad(const struct plan_vm *vm)
{
    for (uint32_t i = 0; i < sizeof(vm->mac); i++)
        if (vm->mac[i] != plan_mac_byte((uint32_t)(vm - plan_loaded.vm), vm->lan, i))
            return true;
    return false;
}

/* Time and priority: a dedicated VM has none to choose, so its fields are the defaults. */
static bool time_is_bad(const struct plan_vm *vm)
{
    if (vm->mode == MODE_DEDICATED)
        return vm->priority != PLAN_PRIORITY || vm->budget_us != PLAN_BUDGET_US || vm->period_us;
    return vm->budget_us < PLAN_TIME_MIN_US || vm->budget_us > PLAN_TIME_MAX_US ||
           vm->period_us > PLAN_TIME_MAX_US;
}

static uint32_t count(uint64_t bits)
{
    uint32_t n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

/* What `vm`, whose name is one, has that another VM has, and may not. */
static const char *clash(const struct plan_vm *vm)
{
    for (const struct plan_vm *other = plan_loaded.vm; other < plan_loaded.vm + compared; other++) {
        if (other == vm)
            continue;
        if (strcmp(other->name, vm->name) == 0)
            return "two VMs of this name";
        if (other->cores & vm->cores &&
            (vm->mode == MODE_DEDICATED || other->mode == MODE_DEDICATED))
            return "a core of a dedicated VM is another VM's, too";
        if (vm->lan && other->lan == vm->lan && other->mtu != vm->mtu)
            return "its LAN's MTU is not that of another VM on it";
    }
    return 0;
}

_Static_assert(PLAN_MEMORY_MAX == 1ull << 40 && PLAN_PRIORITY_MAX == 24 && PLAN_MTU == 1500 &&
                   PLAN_MTU_MAX == 9000,
               "as the words below say");

static const char *check_vm(const struct boot_info *info, const struct plan_vm *vm)
{
    const struct rule rule[] = {
        {!is_name(vm->name, sizeof(vm->name)), "bad name"},
        {vm->mode > MODE_DEDICATED, "unknown mode"},
        {vm->vcpus < 1 || vm->vcpus > PLAN_VCPUS, "bad number of vCPUs"},
        {vm->memory == 0 || vm->memory % MEBI2 || vm->memory > PLAN_MEMORY_MAX,
         "memory is not 2 MiB .. 1 TiB in steps of 2 MiB"},
        {vm->cores == 0 || vm->cores & ~cores_mask(plan_cores),
         "cores that this machine does not have"},
        {vm->mode == MODE_DEDICATED && !plan_own_cores,
         "mode dedicated needs x2APIC, which this processor does not have: make it shared"},
        {vm->mode == MODE_DEDICATED && (vm->cores & 1 || count(vm->cores) != vm->vcpus),
         "its cores are not one a vCPU, without core 0"},
        {!plan_has_virtual(vm) && (vm->lan || vm->disks || vm->store),
         "a LAN and disks are of a VMM that stays and has the guest's memory"},
        {vm->mode == MODE_SHARED && (vm->devices || vm->sealed || vm->disengage || vm->after),
         "what it has needs mode dedicated"},
        {vm->disengage > DISENGAGE_NEVER || vm->after > AFTER_QUIET || vm->sealed > 1,
         "bad disengage, after or sealed"},
        {vm->control > CONTROL_ALL || (vm->control && !plan_has_virtual(vm)),
         "bad control line, or of a VMM that leaves or has not the guest's memory"},
        {vm->console > CONSOLE_OPEN, "its console is neither private, shown nor open"},
        {devices_are_bad(vm), "bad devices, or one that another VM has"},
        {vm->priority < 1 || vm->priority > PLAN_PRIORITY_MAX, "priority is not 1 .. 24"},
        {time_is_bad(vm), "bad budget or period, or a dedicated VM's own"},
        {vm->period_us && vm->period_us < vm->budget_us, "budget exceeds period"},
        {vm->on_exit > EXIT_RESTART, "unknown on_exit"},
        {vm->exit_port > 0xffff || flatpc_port_is_taken(vm->exit_port),
         "exit port is not a port, or a device's"},
        {vm->kernel_type > KERNEL_MULTIBOOT, "unknown kernel type"},
        {file_size(info, vm->kernel) == 0, "kernel is missing"},
        {vm->initrd != PLAN_NO_FILE && file_size(info, vm->initrd) == 0, "initrd is missing"},
        {file_size(info, vm->kernel) + file_size(info, vm->initrd) > vm->memory,
         "kernel and initrd do not fit its memory"},
        {vm->disks > PLAN_DISKS || disks_are_bad(info, vm), "bad disk"},
        {vm->lan > plan_loaded.lans, "no such LAN"},
        {vm->lan ? vm->mtu < PLAN_MTU || vm->mtu > PLAN_MTU_MAX : vm->mtu != 0,
         "its MTU is not 1500 .. 9000, or not 0 without a LAN"},
        {store_is_bad(vm), "bad LAN or service VM of volumes"},
        {mac_is_bad(vm), "not the address that it has on its LAN"},
        {!is_text(vm->cmdline, sizeof(vm->cmdline)),
         "command line has no end, or control characters"},
    };
    const char *wrong = first_broken(rule, sizeof(rule) / sizeof(rule[0]));
    return wrong ? wrong : clash(vm);
}

const char *plan_check_again(const struct boot_info *info, const struct plan_vm *vm)
{
    compared = plan_loaded.vms;
    files = info->modules;
    return check_vm(info, vm);
}

static const char *check_plan(void)
{
    const struct rule rule[] = {
        {plan_loaded.magic != PLAN_MAGIC, "not a compiled plan"},
        {plan_loaded.version != PLAN_VERSION, "made for another version"},
        {plan_loaded.vms > PLAN_VMS || (plan_loaded.vms < 1 && !(plan_loaded.flags & PLAN_PROBE)),
         "bad number of VMs"},
        {plan_loaded.flags &
             ~(uint32_t)(PLAN_BATCH | PLAN_PROBE | PLAN_SHARE_SIBLINGS | PLAN_SMALL_PAGES),
         "flags of another version"},
        {plan_loaded.lans > PLAN_LANS, "too many LANs"},
        {plan_loaded.tpm > plan_loaded.vms, "the TPM is for a VM that is not there"},
        {plan_loaded.spare_cores & (~cores_mask(plan_cores) | 1),
         "spare cores that this machine does not have, or core 0"},
        {plan_loaded.spare_memory % MEBI2 ||
             !plan_loaded.spare_memory != !plan_loaded.spare_cores ||
             !plan_loaded.spare_memory != !plan_loaded.upload,
         "spare memory, spare cores and room for uploads go together"},
        {plan_loaded.upload % PLAN_UPLOAD_STEP || plan_loaded.upload > PLAN_UPLOAD_MAX ||
             plan_loaded.spare_memory > PLAN_SPARE_MAX,
         "too much to spare, or to upload"},
    };
    return first_broken(rule, sizeof(rule) / sizeof(rule[0]));
}

/* The record of mode host is the last, and no VM's like others: of it name and control stay. */
static const char *take_host(bool beneath)
{
    const struct plan_vm *last = &plan_loaded.vm[plan_loaded.vms ? plan_loaded.vms - 1 : 0];
    bool is = plan_loaded.vms && last->mode == MODE_HOST;
    if (is != beneath)
        return is ? "a VM of mode host, but the firmware did not start this as its driver"
                  : "no VM of mode host, but the firmware started this as its driver";
    if (!is)
        return 0;
    plan_installed = (struct plan_vm){.mode = MODE_HOST, .control = last->control};
    memcpy(plan_installed.name, last->name, sizeof(last->name));
    plan_loaded.vms--;
    uint32_t given = plan_loaded.tpm;
    for (uint32_t i = 0; i < plan_loaded.vms; i++)
        given |= plan_loaded.vm[i].devices;
    if (given || plan_loaded.spare_cores || plan_loaded.upload)
        return "devices, the TPM or spare cores beside a VM of mode host, which has them all";
    bool good = is_name(plan_installed.name, sizeof(plan_installed.name)) &&
                (plan_installed.control == CONTROL_NONE || plan_installed.control == CONTROL_ALL);
    return good ? 0 : "bad name or control line of the VM of mode host";
}

const char *plan_check_room(void)
{
    const bool small = plan_loaded.flags & PLAN_SMALL_PAGES;
    const struct rule rule[] = {
        {quota_plan(&plan_loaded) + quota_vm(&plan_installed, small) > QUOTA_KERNEL,
         "the kernel has not the objects for all VMs"},
        {pool_plan(&plan_loaded, plan_iommu_frames) + pool_vm(&plan_installed, small) > pool,
         small ? "the kernel has not the frames for all VMs in pages of 4 KiB, which this "
                 "processor needs, or the plan wants: raise machine.kernel_memory"
               : "the kernel has not the frames for all VMs: raise machine.kernel_memory"},
    };
    return first_broken(rule, sizeof(rule) / sizeof(rule[0]));
}

const struct plan *plan_load(const struct boot_info *info, uint32_t cores, bool own_cores)
{
    const struct boot_module *m = plan_module(info, "plan");
    if (!m || m->size < sizeof(plan_loaded) ||
        memory_read(m->base, &plan_loaded, sizeof(plan_loaded)) != OK) {
        console_say("plan: the boot module named plan is missing or too short");
        return 0;
    }
    files = plan_loaded.files;
    pool = POOL_KERNEL + info->more_frames;
    plan_cores = cores;
    plan_own_cores = own_cores;
    const uint32_t most = info->flags & BOOT_HOST ? MAX_VCPUS_BESIDE : MAX_VCPUS;
    const char *wrong = check_plan();
    if (info->flags & BOOT_SMALL_PAGES)
        plan_loaded.flags |= PLAN_SMALL_PAGES;
    wrong = wrong ? wrong : take_host(info->flags & BOOT_HOST);
    if (!wrong && plan_loaded.upload && uploaders() == 0)
        wrong = "nobody can use what is spare";
    if (!wrong && plan_loaded.vms < PLAN_VMS && plan_loaded.held >> plan_loaded.vms)
        wrong = "a VM that is not there starts at a command";
    if (wrong)
        console_say("plan: %s", wrong);
    for (uint32_t i = 0, vcpus = 0; !wrong && i < plan_loaded.vms; i++) {
        compared = i;
        wrong = check_vm(info, &plan_loaded.vm[i]);
        vcpus += plan_loaded.vm[i].vcpus;
        if (!wrong && plan_loaded.vm[i].cores & plan_loaded.spare_cores)
            wrong = "a core of it is a spare one";
        if (!wrong && vcpus > most)
            wrong = "too many vCPUs with those before it";
        if (wrong)
            console_say("plan: VM %u: %s", i + 1, wrong);
    }
    if (!wrong) {
        wrong = plan_check_room();
        if (wrong)
            console_say("plan: %s", wrong);
    }
    plan_booted = plan_loaded.vms;
    return wrong ? 0 : &plan_loaded;
}

/* Is a core of `a`, and another one of `b`, a thread of the same? Which: `*i` and `*k`. */
static bool have_siblings(const struct plan_vm *a, const struct plan_vm *b,
                          const uint8_t thread_of[MAX_CORES], uint32_t *i, uint32_t *k)
{
    for (*i = 0; *i < MAX_CORES; (*i)++)
        for (*k = 0; a->cores >> *i & 1 && *k < MAX_CORES; (*k)++)
            if (*i != *k && b->cores >> *k & 1 && thread_of[*i] == thread_of[*k])
                return true;
    return false;
}

bool plan_keeps_siblings_apart(const uint8_t thread_of[MAX_CORES])
{
    uint32_t i, k;
    for (const struct plan_vm *b = plan_loaded.vm; b < plan_loaded.vm + plan_loaded.vms; b++)
        for (const struct plan_vm *a = plan_loaded.vm; a < b; a++) {
            if (plan_loaded.flags & PLAN_SHARE_SIBLINGS || !have_siblings(a, b, thread_of, &i, &k))
                continue;
            console_say(
                "plan: cores %u of VM %s and %u of VM %s are threads of one: choose others, "
                "or say share_siblings: true",
                i, a->name, k, b->name);
            return false;
        }
    return true;
}
