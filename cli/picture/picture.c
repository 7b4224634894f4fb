#include <cli/picture/picture.h>
#include <cli/session/rates.h>
#include <cli/session/report.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Append to a line, after a comma. */
static void __attribute__((format(printf, 2, 3)))
add(char text[static PICTURE_TEXT], const char *format, ...)
{
    va_list args;
    size_t used = strlen(text);
    if (used)
        used += (size_t)snprintf(text + used, PICTURE_TEXT - used, ", ");
    va_start(args, format);
    if (used < PICTURE_TEXT)
        vsnprintf(text + used, PICTURE_TEXT - used, format, args);
    va_end(args);
}

static void add_place(struct picture_vm *vm, uint64_t vcpus)
{
    char cores[CORES_TEXT];
    rates_cores(cores, vm->cores);
    add(vm->place, "%" PRIu64 " vCPU%s on %s %s", vcpus, vcpus == 1 ? "" : "s",
        __builtin_popcountll(vm->cores) == 1 ? "core" : "cores", cores);
    add(vm->place, "%" PRIu64 " MiB", vm->memory >> 20);
}

/* ---- of a plan ---------------------------------------------------------------- */

static const char *seal_of(const struct plan_vm *vm)
{
    if (vm->sealed)
        return "sealed";
    if (!plan_has_virtual(vm))
        return "not sealed, its VMM leaves";
    return "not sealed, keeps its VMM";
}

static void add_virtual(char has[static PICTURE_TEXT], const struct plan *plan,
                        const struct plan_vm *vm)
{
    static const char *const control[] = {"", "commands itself", "commands all VMs"};
    if (vm->lan)
        add(has, "LAN %u", vm->lan);
    if (vm->server && &plan->vm[vm->server - 1] == vm)
        add(has, "serves volumes");
    for (uint32_t i = 0; i < vm->disks; i++) {
        const struct plan_disk *disk = &vm->disk[i];
        if (disk->flags & DISK_UPLOAD)
            add(has, "disk %u (for uploads)", i + 1);
        else if (disk->flags & DISK_VOLUME)
            add(has, "volume %s of %s", disk->volume, plan->vm[vm->server - 1].name);
        else
            add(has, "disk %u (%s)", i + 1, disk->flags & DISK_READONLY ? "read-only" : "volatile");
    }
    if (vm->control)
        add(has, "%s", control[vm->control]);
    if (plan->tpm && &plan->vm[plan->tpm - 1] == vm)
        add(has, "TPM");
}

static void of_plan_vm(struct picture_vm *to, const struct plan *plan, const struct plan_vm *vm)
{
    *to = (struct picture_vm){.cores = vm->cores, .memory = vm->memory};
    snprintf(to->name, sizeof(to->name), "%s", vm->name);
    add(to->how, "%s", vm->mode == MODE_DEDICATED ? "dedicated" : "shared");
    add(to->how, "%s", seal_of(vm));
    add_place(to, vm->vcpus);
    add_virtual(to->has, plan, vm);
    for (uint32_t i = 0; i < vm->devices; i++)
        check_device_text(to->device[i], &vm->device[i]);
}

void picture_of_job(struct picture *p, const struct job *job, const char *plan)
{
    const char *slash = strrchr(plan, '/');
    *p = (struct picture){.cores = job->cores, .vms = job->plan.vms, .memory = job->memory};
    snprintf(p->title, sizeof(p->title), "%s", slash ? slash + 1 : plan);
    snprintf(p->note, sizeof(p->note), "%u cores, %" PRIu64 " MiB, %u VMs, as planned", p->cores,
             p->memory >> 20, p->vms);
    for (uint32_t i = 0; i < p->vms; i++)
        of_plan_vm(&p->vm[i], &job->plan, &job->plan.vm[i]);
}

/* ---- of what there is --------------------------------------------------------- */

static void of_look_vm(struct picture_vm *to, const char *name, struct json_object *vm)
{
    const char *state = report_word(vm, "state");
    bool sealed = report_number(vm, "sealed"), alone = strcmp(state, "alone") == 0;
    *to = (struct picture_vm){.cores = strtoull(report_word(vm, "cores"), NULL, 16),
                              .memory = (uint64_t)report_number(vm, "memory"),
                              .off = strcmp(state, "off") == 0};
    snprintf(to->name, sizeof(to->name), "%s", name);
    add(to->how, "%s", report_word(vm, "mode"));
    add(to->how, "%s", state);
    add(to->how, "%s", sealed ? "sealed" : "not sealed");
    if (alone)
        add(to->how, "its VMM has left");
    add_place(to, (uint64_t)report_number(vm, "vcpus"));
    if (report_number(vm, "restarts"))
        add(to->has, "restarts: %" PRId64, report_number(vm, "restarts"));
    const char *rest = report_word(vm, "devices");
    for (uint32_t i = 0; i < PLAN_DEVICES && *rest; i++) {
        char *end;
        struct plan_device device = {.by = DEVICE_ADDRESS,
                                     .rid = (uint32_t)strtoul(rest, &end, 16)};
        check_device_text(to->device[i], &device);
        rest = *end == ',' ? end + 1 : "";
    }
}

void picture_of_look(struct picture *p, struct json_object *look)
{
    struct json_object *machine = report_group(look, "machine");
    int64_t cores = report_number(machine, "cores");
    *p = (struct picture){.cores = cores > 0 && cores < MAX_CORES ? (uint32_t)cores : MAX_CORES};
    json_object_object_foreach(report_group(look, "vms"), name, vm)
    {
        if (p->vms < PLAN_VMS)
            of_look_vm(&p->vm[p->vms++], name, vm);
    }
    snprintf(p->title, sizeof(p->title), "The machine as %s sees it", report_word(machine, "self"));
    snprintf(p->note, sizeof(p->note), "%u cores, %u VMs; objects free: %" PRId64 " of %" PRId64,
             p->cores, p->vms, report_number(machine, "objects_free"),
             report_number(machine, "objects"));
}
