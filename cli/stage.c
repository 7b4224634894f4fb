#include <cli/host.h>
#include <cli/job.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "00000000-0000-4000-8000-000000000001"

static const char *const images[] = {"hairline.elf", "root.img", "vmm.img", "lan.img"};

static bool copy_file(const char *from, const char *to)
{
    ssize_t moved = -1;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (in >= 0 && out >= 0)
        do
            moved = sendfile(out, in, NULL, 1 << 20);
        while (moved > 0);
    if (in >= 0)
        close(in);
    return (out >= 0 && close(out) == 0 && moved == 0) || host_fail("cannot copy %s to %s: %s", from, to, strerror(errno));
}

static bool place(const char *from, const char *to, bool copy)
{
    if (access(from, R_OK) != 0)
        return host_fail("%s is missing: build it with ./hairline or make", from);
    if (copy)
        return copy_file(from, to);
    return symlink(from, to) == 0 || host_fail("cannot link %s: %s", to, strerror(errno));
}

static bool write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "we");
    bool ok = file && fwrite(bytes, 1, size, file) == size;
    return (file && fclose(file) == 0 && ok) || host_fail("cannot write %s: %s", path, strerror(errno));
}

/* A fresh file system of `size` bytes in `path`. Fixed identifiers, so that runs can be repeated exactly. */
static bool make_ext4(const char *path, uint64_t size, const char *vm)
{
    const char *folder = host_text("%s.d", path), *readme = host_text("%s/README", folder),
               *text = host_text("This is the disk of %s.\n", vm);
    const char *same = "root_owner=0:0,hash_seed=" UUID;
    const char *argv[] = {"mke2fs", "-qF", "-t", "ext4", "-d", folder, "-U", UUID, "-E", same, path, NULL};
    setenv("E2FSPROGS_FAKE_TIME", "1767225600", 1);
    bool ok = write_file(path, "", 0) && truncate(path, (off_t)size) == 0 && mkdir(folder, 0755) == 0 &&
              write_file(readme, text, strlen(text)) && (host_run(argv) == 0 || host_fail("mke2fs could not make a disk for %s", vm));
    unlink(readme);
    rmdir(folder);
    return ok;
}

static bool stage_file(const struct job_file *file, const char *to, bool copy)
{
    return file->kind == FILE_EXT4 ? make_ext4(to, file->size, file->vm) : place(file->path, to, copy);
}

bool job_stage(const struct job *job, const char *folder, bool copy)
{
    bool ok = write_file(host_text("%s/plan.bin", folder), &job->plan, sizeof(job->plan));
    for (size_t i = 0; ok && i < sizeof(images) / sizeof(images[0]); i++)
        ok = place(host_image(images[i]), host_text("%s/%s", folder, images[i]), copy);
    for (uint32_t i = 0; ok && i < job->plan.files; i++)
        ok = stage_file(&job->file[i], host_text("%s/f%u", folder, i), copy);
    uint32_t old = job->plan.files; /* the files of a larger plan that was here before */
    while (ok && unlink(host_text("%s/f%u", folder, old)) == 0)
        old++;
    return ok;
}

bool job_stage_devices(const struct job *job, const char *folder)
{
    bool ok = !job->iscsi.path || stage_file(&job->iscsi, host_text("%s/iscsi", folder), true);
    for (uint32_t i = 0; ok && i < job->devices; i++)
        ok = job->device[i].kind != DEVICE_NVME || stage_file(&job->device[i].disk, host_text("%s/d%u", folder, i), false);
    return ok;
}
