/* The VM of `mode: host`: an installed system, which the machine's firmware starts with Hairline
   beneath it (docs/host-mode.md). */
#include <cli/host.h>
#include <cli/plan/check.h>

#include <string.h>

static const struct choice launches[] = {{"power-on", 0}, {"late", 1}, {0}};

/* The emulated machine's installed system: its disk, and who puts Hairline beneath it, firmware or
   itself. The machine's IOMMU is Intel's, if the plan does not say: Linux takes x2APIC then. */
void check_host_machine(struct check *check)
{
    const struct machine_text *text = &check->text->machine;
    if (!text->host)
        return;
    if (strncmp(text->host->disk, "ext4:", 5) == 0)
        source_error_at(&check->source, "machine.host.disk",
                        "`%s` has no system on it: name the image of a disk, or debian-disk",
                        text->host->disk);
    else if (strcmp(text->host->disk, "debian-disk") == 0) {
        check->job->host_disk =
            (struct job_file){.kind = FILE_PACKAGED, .path = host_image("debian-disk")};
        check->job->host_tool =
            (struct job_file){.kind = FILE_PACKAGED, .path = host_image("hairline-static")};
        check->job->host_module = (struct job_file){
            .kind = FILE_PACKAGED, .path = host_image("kernels/debian-disk/hairline.ko")};
    } else
        check_image(check, "machine.host.disk", text->host->disk, "host", &check->job->host_disk);
    check->job->host_late =
        check_choice(check, "machine.host.launch", text->host->launch, launches);
    if (!text->iommu)
        check->job->iommu = IOMMU_VTD;
}

/* It has all that no other VM and not Hairline has, so it has nothing to say but its name, and
   whether it commands the others. */
static void refuse_all_keys(struct check *check)
{
    for (uint32_t i = 0; check_vm_key(i); i++) {
        const char *key = check_vm_key(i);
        bool is_its =
            strcmp(key, "name") == 0 || strcmp(key, "mode") == 0 || strcmp(key, "control") == 0;
        if (!is_its && source_find(&check->source, host_text("vms[%u].%s", check->vm, key)))
            check_error(check, key,
                        "`%s` is not for `%s`: a VM of `mode: host` has all that no other VM has, "
                        "and starts from its own disk; take it out",
                        key, check->text->vms[check->vm].name);
    }
}

void check_host_vm(struct check *check)
{
    struct plan *plan = &check->job->plan;
    struct plan_vm *vm = &plan->vm[check->vm];
    refuse_all_keys(check);
    if (plan_host_vm(plan) != check->vm)
        check_error(check, "mode", "`%s` is the host already: a machine has one VM of `mode: host`",
                    plan->vm[plan_host_vm(plan)].name);
    vm->vcpus = 1;
    vm->priority = PLAN_PRIORITY;
    vm->budget_us = PLAN_BUDGET_US;
    vm->after = AFTER_QUIET;
    if (vm->control == CONTROL_OWN)
        check_error(check, "control",
                    "`%s` has no console or end of its own: say `control: all`, "
                    "or take it out",
                    vm->name);
    vm->kernel = vm->initrd = PLAN_NO_FILE;
    for (uint32_t i = 0; i < sizeof(vm->mac); i++)
        vm->mac[i] = plan_mac_byte(check_first(check) + check->vm, 0, i);
}

/* The host has the machine's devices and its TPM. Root refuses a sealed VM below level L1. */
static void refuse_beside(struct check *check, const char *host)
{
    static const struct {
        const char *key, *why;
    } keys[] = {{"devices", "the machine's devices are the host's"},
                {"tpm", "the machine's TPM is the host's"}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (source_find(&check->source, host_text("vms[%u].%s", check->vm, keys[i].key)))
            check_error(check, keys[i].key, "no `%s` beside `%s`: %s; take it out", keys[i].key,
                        host, keys[i].why);
}

void check_host(struct check *check)
{
    const struct job *job = check->job;
    const struct plan *plan = &job->plan;
    uint32_t host = plan_host_vm(plan);
    if (host == plan->vms && check->text->machine.host)
        source_error_at(&check->source, "machine.host",
                        "`machine.host` is the disk of a VM of `mode: host`, and there is none: "
                        "take it out, or add one");
    if (host == plan->vms)
        return;
    check->vm = host;
    if (host != plan->vms - 1 && !check->source.errors)
        check_error(check, "mode", "`%s` is the host: move it behind the other VMs",
                    plan->vm[host].name);
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        if (check->vm != host)
            refuse_beside(check, plan->vm[host].name);
    if (source_find(&check->source, "spare"))
        source_error_at(&check->source, "spare",
                        "nothing is spare beside a VM of `mode: host`: take this out");
    if (job->kept_cores >= job->cores)
        source_error_at(&check->source, "machine.cores",
                        "Hairline keeps core%s 0%s and the machine has %u: no core is left for "
                        "`%s`; raise machine.cores",
                        job->kept_cores == 1 ? "" : "s",
                        job->kept_cores == 1 ? "" : host_text(" to %u", job->kept_cores - 1),
                        job->cores, plan->vm[host].name);
}
