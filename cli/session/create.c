#include <cli/host.h>
#include <cli/job.h>
#include <cli/plan/check.h>
#include <cli/session/create.h>
#include <cli/session/report.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char create_help[] =
    "hairline create PLAN, hairline destroy VM\n"
    "\n"
    "In a VM with `control: all` and a disk `upload`: create the VMs of PLAN and start them, all "
    "or "
    "none, out\n"
    "of the plan's `spare` cores and memory; take one that was created, and is off, out again. "
    "PLAN has `vms`\n"
    "only, whose kernels are files here; their `lan` is this VM's. They have no devices, volumes, "
    "seal, TPM or\n"
    "control line. Nothing of them was measured: each record says `unattested`. A volatile disk "
    "keeps what is\n"
    "written until the VM is destroyed.\n";

/* For root to have taken what was uploaded, and to have cleared the memory beforehand. */
#define COPY_MS      60000u
#define COPY_MEBI_MS 4u

/* ---- the upload ---------------------------------------------------------------- */

static uint64_t page_above(uint64_t size) { return (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE; }

/* The upload's number of file `number` of the job, which it takes in if it is new. */
static uint32_t take_in(struct upload *upload, uint32_t taken[static UPLOAD_FILES],
                        const struct job *job, uint32_t number)
{
    uint32_t i = 0;
    if (number == PLAN_NO_FILE)
        return PLAN_NO_FILE;
    while (i < upload->files && taken[i] != number)
        i++;
    if (i < upload->files)
        return i;
    uint64_t at = i ? upload->file[i - 1].offset + upload->file[i - 1].size : sizeof(*upload);
    taken[i] = number;
    upload->file[i].offset = page_above(at);
    upload->file[i].size = job->file[number].size;
    return upload->files++;
}

static void lay_out(struct upload *upload, uint32_t taken[static UPLOAD_FILES],
                    const struct job *job, uint32_t vm)
{
    *upload =
        (struct upload){.magic = UPLOAD_MAGIC, .version = PLAN_VERSION, .vm = job->plan.vm[vm]};
    upload->vm.kernel = take_in(upload, taken, job, upload->vm.kernel);
    upload->vm.initrd = take_in(upload, taken, job, upload->vm.initrd);
    for (uint32_t i = 0; i < upload->vm.disks; i++)
        upload->vm.disk[i].file = take_in(upload, taken, job, upload->vm.disk[i].file);
}

static bool write_all(int fd, const void *from, size_t size, uint64_t at)
{
    while (size) {
        ssize_t n = pwrite(fd, from, size, (off_t)at);
        if (n <= 0)
            return false;
        from = (const char *)from + n;
        size -= (size_t)n;
        at += (uint64_t)n;
    }
    return true;
}

/* `size` bytes of the file `path`: as many as it had when it was checked. */
static bool upload_file(int fd, const char *path, uint64_t size, uint64_t at)
{
    static char part[1 << 18];
    int from = open(path, O_RDONLY | O_CLOEXEC);
    bool good = from >= 0;
    while (good && size) {
        ssize_t n = read(from, part, size < sizeof(part) ? size : sizeof(part));
        good = n > 0 && write_all(fd, part, (size_t)n, at);
        size -= good ? (size_t)n : 0;
        at += good ? (uint64_t)n : 0;
    }
    if (from >= 0)
        close(from);
    if (!good)
        host_fail("cannot upload %s: %s", path, strerror(errno));
    return good;
}

static bool write_upload(int fd, const struct job *job, uint32_t vm)
{
    struct upload upload;
    uint32_t taken[UPLOAD_FILES];
    lay_out(&upload, taken, job, vm);
    uint64_t end = upload.file[upload.files - 1].offset + upload.file[upload.files - 1].size;
    off_t room = lseek(fd, 0, SEEK_END);
    if (room < 0 || end > (uint64_t)room)
        return host_fail("%s needs %lu MiB of the disk for uploads, which has %lu: raise its "
                         "`upload` in the plan that is booted",
                         upload.vm.name, (end + MEBI - 1) / MEBI, (uint64_t)room / MEBI);
    bool good = write_all(fd, &upload, sizeof(upload), 0);
    for (uint32_t i = 0; good && i < upload.files; i++)
        good =
            upload_file(fd, job->file[taken[i]].path, upload.file[i].size, upload.file[i].offset);
    if (fsync(fd) != 0 || !good)
        return host_fail("cannot write to the disk for uploads: %s", strerror(errno));
    return true;
}

/* ---- one VM after the other ------------------------------------------------------- */

/* What follows `key` on this VM's own command line, up to a blank; "": it is not there. */
static const char *own_word(const char *key)
{
    char text[PLAN_CMDLINE] = "";
    FILE *file = fopen("/proc/cmdline", "re");
    if (!file)
        return "";
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = 0;
    fclose(file);
    const char *at = strstr(text, key);
    at = at ? at + strlen(key) : "";
    return host_text("%.*s", (int)strcspn(at, " \n"), at);
}

/* What root has for VMs now; false after one line on stderr. */
static bool ask_later(struct line *line, struct later *later, uint32_t *disk)
{
    const char *text = line_ask(line, "machine");
    struct json_object *machine = json_object_new_object();
    report_parse(machine, text ? text : "");
    *later = (struct later){.first = (uint32_t)atoi(report_word(machine, "next")),
                            .cores = (uint32_t)atoi(report_word(machine, "cores")),
                            .spare = strtoull(report_word(machine, "spare_cores"), NULL, 16),
                            .lan = (uint32_t)atoi(report_word(machine, "lan")),
                            .mtu = (uint32_t)atoi(report_word(machine, "mtu")),
                            .gateway = own_word("hairline.gateway=")};
    *disk = (uint32_t)atoi(report_word(machine, "upload"));
    json_object_put(machine);
    if (text && *disk >= PLAN_DISKS)
        return host_fail("this VM cannot create others: the plan that was booted gives it no disk "
                         "`- upload: 128M`");
    return text;
}

/* A VM that was created, with those before it, until one could not be. */
static void take_back(struct line *line, const char *name)
{
    if (line_ask(line, host_text("stop %s", name)) && line_ended(line, name))
        line_ask(line, host_text("destroy %s", name));
}

/* VM `vm` of the plan, under the number that is free now. */
static bool create_one(struct line *line, const char *plan, uint32_t vm, struct job *job)
{
    struct later later;
    uint32_t disk;
    if (!ask_later(line, &later, &disk))
        return false;
    later.first -= vm;
    if (!check_plan_later(job, plan, &later))
        return false;
    const char *path = host_text("/dev/vd%c", 'a' + (int)disk);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return host_fail("cannot open %s: %s", path, strerror(errno));
    bool good = write_upload(fd, job, vm) && line_ask(line, "create");
    close(fd);
    /* Root has taken it all before the next one is uploaded. */
    uint64_t patience = COPY_MS + COPY_MEBI_MS * (job->plan.vm[vm].memory >> 20);
    if (good && !line_leaves(line, job->plan.vm[vm].name, "copying", (unsigned)patience)) {
        take_back(line, job->plan.vm[vm].name);
        good = false;
    }
    return good;
}

int create_vms(struct line *line, const struct options *options)
{
    static struct job job;
    static const char *name[PLAN_VMS]; /* of those created: the plan may not be there any more */
    uint32_t created = 0;
    bool good = true;
    do {
        good = create_one(line, options->plan, created, &job);
        if (good) {
            name[created] = host_text("%s", job.plan.vm[created].name);
            created++;
        }
    } while (good && created < job.plan.vms);
    while (!good && created > 0)
        take_back(line, name[--created]);
    return good ? 0 : EXIT_USAGE;
}
