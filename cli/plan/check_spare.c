/* What a plan has to spare for VMs that are created while the machine runs; and the plans of such
   VMs. */
#include <cli/host.h>
#include <cli/plan/check.h>
#include <lib/cores.h>

#include <string.h>

static const struct limit limit_spare = {unit_bytes, 2 * MEBI, PLAN_SPARE_MAX, 2 * MEBI,
                                         "a size from 2M to 1024G in steps of 2M, like 1G"};
static const struct limit limit_upload = {unit_bytes, PLAN_UPLOAD_STEP, PLAN_UPLOAD_MAX,
                                          PLAN_UPLOAD_STEP,
                                          "a size from 1M to 1G in steps of 1M, like 128M"};

static uint64_t spare_cores(struct check *check)
{
    uint64_t mask = 0, core;
    for (uint32_t i = 0;; i++) {
        const char *path = host_text("spare.cores[%u]", i);
        const struct mark *mark = source_find(&check->source, path);
        if (!mark)
            break;
        bool is_number = mark->value && source_number(mark->value, unit_none, &core);
        if (is_number && core > 0 && core < check->job->cores)
            mask |= 1ull << core;
        else
            source_error_at(&check->source, path,
                            "core `%s` cannot be spare: write numbers from 1 to %u",
                            mark->value ? mark->value : "", check->job->cores - 1);
    }
    if (!mask && !check->source.errors)
        source_error_at(&check->source, "spare.cores", "`spare.cores` is not a list: write [ , ]");
    return mask;
}

/* Is there a disk for uploads? */
static bool has_upload(const struct check *check)
{
    for (uint32_t i = 0; i < check->text->vms_count; i++)
        for (uint32_t k = 0; k < check->text->vms[i].disks_count; k++)
            if (check->text->vms[i].disks[k].upload)
                return true;
    return false;
}

void check_spare(struct check *check)
{
    struct plan *plan = &check->job->plan;
    if (check->later) {
        check->job->cores = check->later->cores;
        check->cores = check->later->spare;
        return;
    }
    if (source_find(&check->source, "spare")) {
        plan->spare_memory =
            check_number(check, "spare.memory", check->text->spare.memory, &limit_spare);
        plan->spare_cores = spare_cores(check);
        if (!has_upload(check))
            source_error_at(&check->source, "spare",
                            "nobody can use what is spare: give a VM with `control: all` the disk "
                            "`- upload: 128M`");
    }
    check->cores = cores_mask(check->job->cores) & ~plan->spare_cores;
}

void check_upload(struct check *check, const char *text, uint32_t disk)
{
    struct plan *plan = &check->job->plan;
    const struct disk_text *words = &check->text->vms[check->vm].disks[disk];
    const char *key = host_text("disks[%u].upload", disk);
    uint64_t size =
        check_number(check, host_text("vms[%u].%s", check->vm, key), text, &limit_upload);
    if (words->file || words->volume || words->mode || words->from)
        check_error(check, key, "a disk for uploads has nothing but its size: take the rest out");
    else if (plan->vm[check->vm].control != CONTROL_ALL)
        check_error(check, key, "`upload` is for a VM with `control: all`");
    else if (plan->upload)
        check_error(check, key, "there is one disk for uploads: take this out");
    else if (!plan->spare_memory)
        check_error(check, key,
                    "there is nothing to create VMs from: add `spare: {cores: [ , ], memory: 1G}`");
    plan->upload = size;
    plan->vm[check->vm].disk[disk] = (struct plan_disk){PLAN_NO_FILE, DISK_UPLOAD, ""};
}

/* ---- plans of VMs that are created ----------------------------------------------------- */

static void refuse_keys(struct check *check)
{
    static const char *const keys[] = {"devices", "sealed",  "tpm",  "control",
                                       "volumes", "gateway", "start"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (source_find(&check->source, host_text("vms[%u].%s", check->vm, keys[i])))
            check_error(check, keys[i], "`%s` is for VMs of the plan that is booted: take it out",
                        keys[i]);
    if (check->job->plan.vm[check->vm].mode == MODE_HOST)
        check_error(check, "mode", "`mode: host` is for the plan that is booted: take this VM out");
    if (check->job->plan.lans && !check->later->lan)
        check_error(check, "lan", "the VM that creates it has no LAN: take this out");
}

/* Each file is there: nothing is fetched or made in a VM. */
static void refuse_packages(struct check *check)
{
    const struct job *job = check->job;
    for (uint32_t i = 0; i < job->plan.files; i++)
        if (job->file[i].kind != FILE_PLAIN && !check->source.errors)
            source_error_at(&check->source, "vms",
                            "`%s` names what is not a file: copy kernel, initrd and disks here, "
                            "and name those",
                            job->file[i].vm);
}

void check_later(struct check *check)
{
    static const char *const keys[] = {"machine", "spare"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (source_find(&check->source, keys[i]))
            source_error_at(&check->source, keys[i],
                            "`%s` is for the plan that is booted: take it out", keys[i]);
    for (check->vm = 0; check->vm < check->job->plan.vms; check->vm++)
        refuse_keys(check);
    refuse_packages(check);
    for (check->vm = 0; check->vm < check->job->plan.vms && !check->source.errors; check->vm++) {
        check_words(check);
        check_fits(check);
    }
}
