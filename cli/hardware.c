#include <cli/check.h>
#include <cli/host.h>

#include <stdio.h>
#include <string.h>

#define MEBI       0x100000ul
#define FIRST_DHCP "10.0.2.15" /* whom QEMU's user network gives its first address */
#define ISCSI_PORT 3260        /* RFC 7143, 6.1 */

static const struct limit limit_cores = {unit_none, 1, MAX_CORES, 1, "a number from 1 to 16"};
static const struct limit limit_memory = {unit_bytes, 64 * MEBI, 1024 * 1024 * MEBI, MEBI, "a size from 64M to 1024G, like 4G"};
static const struct choice iommus[] = {{"none", IOMMU_NONE}, {"intel", IOMMU_VTD}, {"amd", IOMMU_AMDVI}, {0}};

/* HOST:GUEST or HOST:ADDRESS:GUEST as an option of QEMU's user network. */
static const char *forward(struct check *check, const char *path, const char *text)
{
    unsigned host = 0, guest = 0, a[4];
    int used = 0;
    bool here = sscanf(text, "%5u:%5u%n", &host, &guest, &used) == 2 && !text[used];
    bool there = !here && sscanf(text, "%5u:%3u.%3u.%3u.%3u:%5u%n", &host, &a[0], &a[1], &a[2], &a[3], &guest, &used) == 6 && !text[used];
    const char *address = there ? host_text("%u.%u.%u.%u", a[0], a[1], a[2], a[3]) : FIRST_DHCP;
    if ((!here && !there) || !host || !guest || host > 0xffff || guest > 0xffff)
        source_error_at(&check->source, path, "`%s` cannot be forwarded: write HOSTPORT:PORT, like 8080:80, or HOSTPORT:ADDRESS:PORT",
                        text);
    return host_text(",hostfwd=tcp:127.0.0.1:%u-%s:%u", host, address, guest);
}

static void igb(struct check *check, const char *path, const struct forward_text *text, struct job_device *device)
{
    device->kind = DEVICE_IGB;
    device->forward = "";
    for (uint32_t i = 0; i < text->forward_count; i++)
        device->forward = host_text("%s%s", device->forward, forward(check, host_text("%s.igb.forward[%u]", path, i), text->forward[i]));
}

static void nvme(struct check *check, const char *path, const char *text, struct job_device *device)
{
    device->kind = DEVICE_NVME;
    check_image(check, host_text("%s.nvme", path), text, "nvme", &device->disk);
}

static void devices(struct check *check)
{
    const struct machine_text *text = &check->text->machine;
    check->job->devices = text->devices_count;
    for (uint32_t i = 0; i < text->devices_count; i++) {
        const struct device_text *one = &text->devices[i];
        const char *path = host_text("machine.devices[%u]", i);
        if (!one->igb == !one->nvme)
            source_error_at(&check->source, path, "`%s` is not one device: write `- igb: {}` or `- nvme: FILE`", path);
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
    job->cores = text->cores ? (uint32_t)check_number(check, "machine.cores", text->cores, &limit_cores) : 4;
    job->memory = text->memory ? check_number(check, "machine.memory", text->memory, &limit_memory) : 4096 * MEBI;
    job->iommu = check_choice(check, "machine.iommu", text->iommu, iommus);
    devices(check);
    if (text->iscsi)
        check_image(check, "machine.iscsi", text->iscsi, "iscsi", &job->iscsi);
    if (!job->iscsi_port)
        job->iscsi_port = ISCSI_PORT;
}
