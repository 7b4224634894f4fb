/* Volumes: disks of VMs whose blocks are another VM's, their service VM's. The tool gives each
   service VM a LAN for them, of which the plan says nothing. */
#include <cli/host.h>
#include <cli/plan/check.h>

#include <stdio.h>
#include <string.h>

static const struct limit limit_size = {unit_bytes, MEBI, 1024 * 1024 * MEBI, MEBI,
                                        "a size from 1M to 1024G in steps of 1M, like 8G"};

static struct plan_vm *vm_called(const struct check *check, const char *name)
{
    struct plan *plan = &check->job->plan;
    for (struct plan_vm *vm = plan->vm; vm < plan->vm + plan->vms; vm++)
        if (strcmp(vm->name, name) == 0)
            return vm;
    return NULL;
}

static const struct vm_text *words_of(const struct check *check, const struct plan_vm *vm)
{
    return &check->text->vms[vm - check->job->plan.vm];
}

static bool has_volume(const struct vm_text *service, const char *name)
{
    for (uint32_t i = 0; i < service->volumes_count; i++)
        if (strcmp(service->volumes[i].name, name) == 0)
            return true;
    return false;
}

/* Volume `name` of VM `server` (from 1) as a disk: in which VM, and its number there. NULL: nobody
 * has it. */
static const struct plan_vm *user_of(const struct plan *plan, uint32_t server, const char *name,
                                     uint32_t *disk)
{
    for (const struct plan_vm *vm = plan->vm; vm < plan->vm + plan->vms; vm++)
        for (uint32_t i = 0; i < vm->disks && vm->server == server; i++)
            if (vm->disk[i].flags == DISK_VOLUME && strcmp(vm->disk[i].volume, name) == 0) {
                *disk = i;
                return vm;
            }
    return NULL;
}

/* ---- what a service VM has --------------------------------------------------------- */

static void check_service(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    for (uint32_t i = 0; i < text->volumes_count; i++) {
        const char *name = text->volumes[i].name, *key = host_text("volumes[%u].name", i);
        if (!check_is_name(name) || strcmp(name, "hairline") == 0)
            check_error(check, key,
                        "a volume cannot be called `%s`: write 1 to 31 of a-z, 0-9 and -, which is "
                        "not the first, and not "
                        "hairline",
                        name);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(text->volumes[k].name, name) == 0)
                check_error(check, key, "two volumes are called `%s`: give this one another name",
                            name);
        check_number(check, host_text("vms[%u].volumes[%u].size", check->vm, i),
                     text->volumes[i].size, &limit_size);
    }
}

/* ---- who has them ------------------------------------------------------------------- */

/* The service VM's LAN for volumes; 0: there is no number left. */
static uint32_t store_of(struct check *check, struct plan_vm *service)
{
    struct plan *plan = &check->job->plan;
    if (!service->store && plan->lans < PLAN_LANS) {
        service->store = ++plan->lans;
        service->server = plan_index(service) + 1;
    }
    return service->store;
}

/* What is wrong with disk `disk` of the VM in hand as a volume of `service`; NULL: nothing. */
static const char *why_not(struct check *check, const struct disk_text *disk,
                           struct plan_vm *service)
{
    const struct plan *plan = &check->job->plan;
    const struct plan_vm *vm = &plan->vm[check->vm], *user;
    uint32_t other;
    if (!service)
        return host_text("there is no VM `%s`: mend `from`", disk->from);
    if (!has_volume(words_of(check, service), disk->volume))
        return host_text("`%s` has no volume `%s`: add it to its `volumes`, or mend the name here",
                         disk->from, disk->volume);
    if (words_of(check, vm)->volumes_count)
        return host_text("`%s` has volumes for others itself: take one of the two out", vm->name);
    user = user_of(plan, plan_index(service) + 1, disk->volume, &other);
    if (user)
        return host_text("volume `%s` is a disk of `%s` already: a volume has one VM", disk->volume,
                         user->name);
    if (vm->server && vm->server != plan_index(service) + 1)
        return host_text("the volumes of a VM are all from one VM, and `%s` has one of `%s`",
                         vm->name, plan->vm[vm->server - 1].name);
    if (!store_of(check, service))
        return host_text("the volumes of `%s` need a LAN of their own, and a plan has at most %u: "
                         "take one out",
                         disk->from, PLAN_LANS);
    return NULL;
}

static void check_volume(struct check *check, const struct disk_text *disk, uint32_t i)
{
    struct plan_vm *vm = &check->job->plan.vm[check->vm],
                   *service = disk->from ? vm_called(check, disk->from) : NULL;
    const char *wrong = NULL;
    if (disk->upload)
        return;
    if (!disk->volume == !disk->file || !disk->volume != !disk->from)
        wrong =
            "a disk is a file or a volume: write `file: FILE`, or `volume: NAME` and `from: VM`";
    else if (!disk->volume)
        return;
    else if (disk->mode)
        wrong = "`mode` is for files, and a volume is written to: take it out";
    else if (check->later)
        wrong = "volumes are for VMs of the plan that is booted: name a file";
    else
        wrong = why_not(check, disk, service);
    if (wrong) {
        check_error(check, host_text("disks[%u]", i), "%s", wrong);
        return;
    }
    vm->store = service->store;
    vm->server = service->server;
    vm->disk[i] = (struct plan_disk){.file = PLAN_NO_FILE, .flags = DISK_VOLUME};
    snprintf(vm->disk[i].volume, sizeof(vm->disk[i].volume), "%s", disk->volume);
}

void check_volumes(struct check *check)
{
    const struct plan *plan = &check->job->plan;
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        check_service(check);
    for (check->vm = 0; check->vm < plan->vms && !check->source.errors; check->vm++)
        for (uint32_t i = 0; i < plan->vm[check->vm].disks; i++)
            check_volume(check, &check->text->vms[check->vm].disks[i], i);
}

/* ---- what the service VM is told ------------------------------------------------------ */

static void write_mac(uint32_t vm, uint32_t lan, FILE *out)
{
    for (uint32_t i = 0; i < 6; i++)
        fprintf(out, "%s%02x", i ? ":" : "", plan_mac_byte(vm, lan, i));
}

/* Volumes that nobody has are not mentioned. */
void check_volume_words(const struct check *check, FILE *out)
{
    const struct plan *plan = &check->job->plan;
    const struct plan_vm *vm = &plan->vm[check->vm];
    const struct vm_text *text = &check->text->vms[check->vm];
    const char *separator = " hairline.volumes=";
    uint32_t disk;
    uint64_t size;
    if (vm->server != check->vm + 1)
        return;
    fputs(" hairline.store=", out);
    write_mac(check->vm, vm->store, out);
    for (uint32_t i = 0; i < text->volumes_count; i++) {
        const struct plan_vm *user = user_of(plan, vm->server, text->volumes[i].name, &disk);
        if (!user || !source_number(text->volumes[i].size, unit_bytes, &size))
            continue;
        fprintf(out, "%s%s,%lu,%u,%u,", separator, text->volumes[i].name, size / MEBI,
                plan_index(user) + 1, disk);
        write_mac(plan_index(user), vm->store, out);
        separator = "/";
    }
}
