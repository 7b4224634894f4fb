#include <cli/host.h>
#include <cli/image/efi.h>
#include <cli/job.h>
#include <cli/machine/machine.h>
#include <cli/options.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "00000000-0000-4000-8000-000000000001"

#define KERNEL "hairline.elf"

static const char *const images[] = {"root.img", "vmm.img", "lan.img"};

static bool copy_file(const char *from, const char *to)
{
    ssize_t moved = -1;
    int in = open(from, O_RDONLY | O_CLOEXEC),
        out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (in >= 0 && out >= 0)
        do
            moved = host_goes_on() ? sendfile(out, in, NULL, 1 << 20) : -1;
        while (moved > 0);
    if (in >= 0)
        close(in);
    bool ok = out >= 0 && close(out) == 0 && moved == 0;
    if (!ok)
        host_fail("cannot copy %s to %s: %s", from, to, strerror(errno));
    return ok;
}

static bool place(const char *from, const char *to, bool copy)
{
    if (access(from, R_OK) != 0)
        return host_fail("%s is missing: build it with ./hairline or make", from);
    if (copy)
        return copy_file(from, to);
    if (symlink(from, to) != 0)
        return host_fail("cannot link %s: %s", to, strerror(errno));
    return true;
}

static bool write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "we");
    bool written = file && fwrite(bytes, 1, size, file) == size;
    bool ok = file && fclose(file) == 0 && written;
    if (!ok)
        host_fail("cannot write %s: %s", path, strerror(errno));
    return ok;
}

static bool place_kernel(const struct job *job, const char *to, bool copy)
{
    struct efi_bytes longer;
    if (!job->more_frames)
        return place(host_image(KERNEL), to, copy);
    return kernel_pool_lengthen(host_image(KERNEL), job->more_frames, &longer) &&
           write_file(to, longer.at, longer.size);
}

/* Make a fresh file system of `size` bytes in `path`. Its identifiers and times are fixed, so that
   two runs have the same bytes: what is measured can be known before. Not by mke2fs -d, which takes
   the time of the file's last change from where that is now. */
static bool make_ext4(const char *path, uint64_t size, const char *vm)
{
    const char *readme = host_text("%s.readme", path), *log = host_text("%s.log", path),
               *text = host_text("This is the disk of %s.\n", vm);
    const char *same = "root_owner=0:0,hash_seed=" UUID;
    const char *make[] = {"mke2fs", "-qF", "-t", "ext4", "-U", UUID, "-E", same, path, NULL};
    const char *fill[] = {"debugfs", "-w", "-R", host_text("write \"%s\" README", readme),
                          path,      NULL};
    setenv("E2FSPROGS_FAKE_TIME", "1767225600", 1);
    bool ok = write_file(path, "", 0) && truncate(path, (off_t)size) == 0;
    ok = ok && write_file(readme, text, strlen(text));
    if (ok && (host_run(make) != 0 || host_run_into(log, fill) != 0))
        ok = host_fail("mke2fs and debugfs could not make a disk for %s", vm);
    unlink(readme);
    unlink(log);
    return ok;
}

static bool stage_file(const struct job_file *file, const char *to, bool copy)
{
    return file->kind == FILE_EXT4 ? make_ext4(to, file->size, file->vm)
                                   : place(file->path, to, copy);
}

bool build_stage(const struct job *job, const char *folder, bool copy)
{
    bool ok = write_file(host_text("%s/plan.bin", folder), &job->plan, sizeof(job->plan)) &&
              place_kernel(job, host_text("%s/" KERNEL, folder), copy);
    for (size_t i = 0; ok && i < sizeof(images) / sizeof(images[0]); i++)
        ok = place(host_image(images[i]), host_text("%s/%s", folder, images[i]), copy);
    for (uint32_t i = 0; ok && i < job->plan.files; i++)
        ok = stage_file(&job->file[i], host_text("%s/f%u", folder, i), copy);
    uint32_t old =
        job->plan.files; /* from here on: files of a larger plan that was built here before */
    while (ok && unlink(host_text("%s/f%u", folder, old)) == 0)
        old++;
    return ok;
}

bool build_stage_devices(const struct job *job, const char *folder)
{
    bool ok = !job->iscsi.path || stage_file(&job->iscsi, host_text("%s/iscsi", folder), true);
    ok = ok &&
         (!job->kept_cores || stage_file(&job->host_disk, host_text("%s/host", folder), false));
    for (uint32_t i = 0; ok && i < job->devices; i++)
        ok = job->device[i].kind != DEVICE_NVME ||
             stage_file(&job->device[i].disk, host_text("%s/d%u", folder, i), false);
    return ok;
}

static bool build_folder(const struct options *options, const struct job *job)
{
    if (mkdir(options->output, 0777) != 0 && errno != EEXIST)
        return host_fail("cannot make the folder %s: %s", options->output, strerror(errno));
    return build_stage(job, options->output, true);
}

/* An image for disc or stick, of the files in `folder`. */
static bool build_image(const char *folder, const char *image, const char *efi)
{
    const char *mkiso[] = {host_source("scripts/mkiso"), folder, image, efi, NULL};
    return host_run(mkiso) == 0;
}

/* What UEFI firmware starts: the file, and images that have it. `folder`: staged. */
static bool build_efi(const struct options *options, const struct job *job, const char *folder)
{
    struct efi_expected expected;
    const char *efi = options->efi ? options->efi : host_text("%s/hairline.efi", folder);
    if (!efi_write(job, folder, efi, options->key, options->cert, &expected) ||
        (options->usb && !build_image(folder, options->usb, efi)) ||
        (options->iso && !build_image(folder, host_text("%s/hairline.iso", options->output), efi)))
        return false;
    efi_show(&expected);
    return true;
}

static bool build_in_folder_of_its_own(const struct options *options, const struct job *job)
{
    struct machine machine = {0}; /* only its folder */
    bool ok = machine_folder(&machine) && build_stage(job, machine.folder, false) &&
              build_efi(options, job, machine.folder);
    machine_remove(&machine);
    return ok;
}

static const char *misused(const struct options *options)
{
    if (!options->output && !options->efi && !options->usb)
        return "none of -o DIR, --efi FILE and --usb FILE is there: say what to write";
    if (options->iso && !options->output)
        return "--iso needs -o DIR";
    if (options->key && !options->efi && !options->usb && !options->iso)
        return "--sign needs --efi FILE, --usb FILE or --iso";
    return NULL;
}

/* Only firmware starts Hairline beneath a host: what else is there to write would start it without.
 */
static bool goes_with_host(const struct options *options, const struct job *job)
{
    if (!job->kept_cores || (!options->output && !options->usb))
        return true;
    return host_fail("build: `%s` is a VM of `mode: host`: only --efi FILE goes with it",
                     job->plan.vm[plan_host_vm(&job->plan)].name);
}

/* ---- what is there already ---------------------------------------------------------- */

/* A stick is often named by a link (/dev/disk/by-id). */
static bool usb_may_be(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISBLK(status.st_mode))
        return host_may_write(path);
    return host_fail("%s is a device: write a file, then `dd if=FILE of=%s bs=4M conv=fsync`", path,
                     path);
}

static bool is_empty(const char *folder)
{
    uint32_t entries = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        entries++;
    if (dir)
        closedir(dir);
    return entries <= 2; /* . and .. */
}

/* Is the folder new, empty, or one that was built before? */
static bool folder_may_be(const char *folder)
{
    uint64_t magic = 0;
    FILE *plan = fopen(host_text("%s/plan.bin", folder), "re");
    bool ours = plan && fread(&magic, sizeof(magic), 1, plan) == 1 && magic == PLAN_MAGIC;
    if (plan)
        fclose(plan);
    if (ours || is_empty(folder))
        return true;
    return host_fail("%s has files of others: name a new folder", folder);
}

static bool outputs_may_be(const struct options *options)
{
    return (!options->output || folder_may_be(options->output)) &&
           (!options->iso || host_may_write(host_text("%s/hairline.iso", options->output))) &&
           (!options->efi || host_may_write(options->efi)) &&
           (!options->usb || usb_may_be(options->usb));
}

/* Would `file`, which the plan names, be overwritten or removed in `folder`? */
static bool is_within(const struct job_file *file, const char *folder)
{
    char path[PATH_MAX], there[PATH_MAX];
    if (!file->path || file->kind == FILE_EXT4 || !realpath(file->path, path) ||
        !realpath(folder, there))
        return false;
    *strrchr(path, '/') = 0;
    bool within = strcmp(path, there) == 0;
    if (within)
        host_fail("the plan names %s, which is in %s: name another folder", file->path, folder);
    return within;
}

static bool folder_has_none(const char *folder, const struct job *job)
{
    bool within = is_within(&job->iscsi, folder);
    for (uint32_t i = 0; !within && i < job->plan.files; i++)
        within = is_within(&job->file[i], folder);
    for (uint32_t i = 0; !within && i < job->devices; i++)
        within = is_within(&job->device[i].disk, folder);
    return !within;
}

int build(const struct options *options)
{
    static struct job job;
    const char *wrong = misused(options);
    bool uefi = options->efi || options->usb || options->iso;
    if (wrong)
        host_fail("build: %s", wrong);
    bool ok = !wrong && outputs_may_be(options) &&
              check_plan(&job, options->plan, options->batch) && goes_with_host(options, &job) &&
              (!options->output ||
               (folder_has_none(options->output, &job) && build_folder(options, &job))) &&
              (!uefi || build_in_folder_of_its_own(options, &job));
    return ok ? 0 : EXIT_USAGE;
}
