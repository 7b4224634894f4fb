#include <cli/host.h>
#include <cli/plan/check.h>
#include <lib/quota.h>

#include <stdio.h>
#include <string.h>

/* ---- the emulated machine --------------------------------------------------------- */

#define FIRST_DHCP "10.0.2.15" /* the first address that QEMU's user network gives out */
#define ISCSI_PORT 3260        /* RFC 7143, 6.1 */

static const struct limit limit_cores = {unit_none, 1, MAX_CORES, 1, "a number from 1 to 64"};
static const struct limit limit_machine_memory = {unit_bytes, 64 * MEBI, 4096 * 1024 * MEBI, MEBI,
                                                  "a size from 64M to 4096G, like 4G"};
static const struct limit limit_kernel_memory = {unit_bytes, (uint64_t)POOL_KERNEL *PAGE_SIZE,
                                                 255 * MEBI, MEBI,
                                                 "a size from 32M to 255M, like 64M"};
static const struct choice iommus[] = {
    {"none", IOMMU_NONE}, {"intel", IOMMU_VTD}, {"amd", IOMMU_AMDVI}, {0}};
static const struct choice firmwares[] = {{"bios", false}, {"uefi", true}, {0}};

/* A port forward, HOST:GUEST or HOST:ADDRESS:GUEST, as an option of QEMU's user network. */
static const char *forward(struct check *check, const char *path, const char *text)
{
    unsigned host = 0, guest = 0, a[4];
    int used = 0;
    bool here = sscanf(text, "%5u:%5u%n", &host, &guest, &used) == 2 && !text[used];
    bool there = !here &&
                 sscanf(text, "%5u:%3u.%3u.%3u.%3u:%5u%n", &host, &a[0], &a[1], &a[2], &a[3],
                        &guest, &used) == 6 &&
                 !text[used];
    const char *address = there ? host_text("%u.%u.%u.%u", a[0], a[1], a[2], a[3]) : FIRST_DHCP;
    if ((!here && !there) || !host || !guest || host > 0xffff || guest > 0xffff)
        source_error_at(
            &check->source, path,
            "`%s` cannot be forwarded: write HOSTPORT:PORT, like 8080:80, or HOSTPORT:ADDRESS:PORT",
            text);
    return host_text(",hostfwd=tcp:127.0.0.1:%u-%s:%u", host, address, guest);
}

static void igb(struct check *check, const char *path, const struct forward_text *text,
                struct job_device *device)
{
    device->kind = DEVICE_IGB;
    device->forward = "";
    for (uint32_t i = 0; i < text->forward_count; i++)
        device->forward =
            host_text("%s%s", device->forward,
                      forward(check, host_text("%s.igb.forward[%u]", path, i), text->forward[i]));
}

static void nvme(struct check *check, const char *path, const char *text, struct job_device *device)
{
    device->kind = DEVICE_NVME;
    check_image(check, host_text("%s.nvme", path), text, "nvme", &device->disk);
}

static void machine_devices(struct check *check)
{
    const struct machine_text *text = &check->text->machine;
    check->job->devices = text->devices_count;
    for (uint32_t i = 0; i < text->devices_count; i++) {
        const struct device_text *one = &text->devices[i];
        const char *path = host_text("machine.devices[%u]", i);
        if (!one->igb == !one->nvme)
            source_error_at(&check->source, path,
                            "`%s` is not one device: write `- igb: {}` or `- nvme: FILE`", path);
        else if (one->igb)
            igb(check, path, one->igb, &check->job->device[i]);
        else
            nvme(check, path, one->nvme, &check->job->device[i]);
    }
}

void check_machine(struct check *check)
{
    const struct machine_text *text = &check->text->machine;
    struct job *job = check->job;
    job->cores =
        text->cores ? (uint32_t)check_number(check, "machine.cores", text->cores, &limit_cores) : 4;
    job->memory = text->memory
                      ? check_number(check, "machine.memory", text->memory, &limit_machine_memory)
                      : 4096 * MEBI;
    job->iommu = check_choice(check, "machine.iommu", text->iommu, iommus);
    job->uefi = check_choice(check, "machine.firmware", text->firmware, firmwares);
    if (check_choice(check, "machine.share_siblings", text->share_siblings, check_bools))
        job->plan.flags |= PLAN_SHARE_SIBLINGS;
    if (check_choice(check, "machine.small_pages", text->small_pages, check_bools))
        job->plan.flags |= PLAN_SMALL_PAGES;
    if (text->kernel_memory)
        job->more_frames = (uint32_t)(check_number(check, "machine.kernel_memory",
                                                   text->kernel_memory, &limit_kernel_memory) /
                                      PAGE_SIZE) -
                           POOL_KERNEL;
    machine_devices(check);
    check_host_machine(check);
    if (text->iscsi)
        check_image(check, "machine.iscsi", text->iscsi, "iscsi", &job->iscsi);
    if (!job->iscsi_port)
        job->iscsi_port = ISCSI_PORT;
}

/* ---- the devices that VMs are given of it ------------------------------------------ */

static const struct {
    const char *name;
    uint32_t class; /* base class << 8 | subclass: PCI Code and ID Assignment, 1 */
} classes[] = {{"network", 0x0200}, {"nvme", 0x0108}, {"sata", 0x0106}, {"usb", 0x0c03}};

/* A device by its address BB:DD.F, all hexadecimal; false: it is no such text. */
static bool by_address(const char *text, struct plan_device *device)
{
    unsigned bus, slot, function;
    int used = 0;
    if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) != 3 || text[used] ||
        strspn(text, "0123456789abcdefABCDEF:.") != (size_t)used)
        return false;
    *device = (struct plan_device){.by = DEVICE_ADDRESS, .rid = bus << 8 | slot << 3 | function};
    return slot < 32 && function < 8;
}

/* A class, by a word or as 0xCCSS; false: it is neither. */
static bool class_of(const char *text, uint32_t *class)
{
    uint64_t value;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i].name, text) == 0) {
            *class = classes[i].class;
            return true;
        }
    if (strncmp(text, "0x", 2) != 0 || !source_number(text, unit_none, &value) || value > 0xffff)
        return false;
    *class = (uint32_t)value;
    return true;
}

/* A device by CLASS/INDEX or CLASS-vf/INDEX; false: it is no such text. */
static bool by_class(const char *text, struct plan_device *device)
{
    char class[32];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : 0;
    uint64_t index;
    if (!length || length >= sizeof(class) || !source_number(slash + 1, unit_none, &index) ||
        index > PLAN_DEVICE_INDEX)
        return false;
    bool virtual = length > 3 && strncmp(slash - 3, "-vf", 3) == 0;
    snprintf(class, sizeof(class), "%.*s", (int)(length - (virtual ? 3 : 0)), text);
    *device =
        (struct plan_device){.by = virtual ? DEVICE_VF : DEVICE_CLASS, .index = (uint32_t)index};
    return class_of(class, &device->class);
}

void check_device_text(char text[static CHECK_DEVICE], const struct plan_device *device)
{
    const char *class = NULL, *kind = device->by == DEVICE_VF ? "-vf" : "";
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (classes[i].class == device->class)
            class = classes[i].name;
    if (device->by == DEVICE_ADDRESS)
        snprintf(text, CHECK_DEVICE, "%02x:%02x.%x", device->rid >> 8 & 0xff, device->rid >> 3 & 31,
                 device->rid & 7);
    else if (class)
        snprintf(text, CHECK_DEVICE, "%s%s/%u", class, kind, device->index);
    else
        snprintf(text, CHECK_DEVICE, "0x%04x%s/%u", device->class, kind, device->index);
}

/* The line of an earlier device, of this or an earlier VM, that is the same as number `n` of the VM
 * in hand; 0: none. */
static uint64_t line_of_same(const struct check *check, uint32_t n)
{
    const struct plan_device *device = &check->job->plan.vm[check->vm].device[n];
    char path[SOURCE_PATH];
    for (uint32_t v = 0; v <= check->vm; v++)
        for (uint32_t i = 0; i < (v == check->vm ? n : check->job->plan.vm[v].devices); i++)
            if (memcmp(&check->job->plan.vm[v].device[i], device, sizeof(*device)) == 0) {
                snprintf(path, sizeof(path), "vms[%u].devices[%u]", v, i);
                return source_find(&check->source, path)->line;
            }
    return 0;
}

void check_devices(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    char key[32];
    vm->devices = text->devices_count;
    for (uint32_t i = 0; i < vm->devices; i++) {
        snprintf(key, sizeof(key), "devices[%u]", i);
        if (!by_address(text->devices[i], &vm->device[i]) &&
            !by_class(text->devices[i], &vm->device[i])) {
            check_error(check, key,
                        "`%s` is no device: write an address like 01:00.0, or a class and an index "
                        "like network/0, network-vf/0, "
                        "nvme/0, sata/0, usb/0, 0x0200/0",
                        text->devices[i]);
            vm->device[i] =
                (struct plan_device){.by = DEVICE_ADDRESS,
                                     .rid = ~check->vm,
                                     .index = i}; /* after an error: not the same as any other */
        }
        uint64_t line = line_of_same(check, i);
        if (line)
            check_error(
                check, key,
                "device `%s` is given a second time (first on line %lu): a device has one VM",
                text->devices[i], line);
    }
}
