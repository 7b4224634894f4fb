#include <cli/host.h>
#include <cli/plan/check.h>
#include <cli/plan/kernel_image.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- kernel, initrd and disks ----------------------------------------------------- */

static const struct limit limit_ext4 = {unit_bytes, 4 << 20, 1 << 30, 1 << 20,
                                        "ext4: and a size from 4M to 1G, like ext4:16M"};

static bool is_packaged(const char *kernel)
{
    static const char *const names[] = {"debian", "debian-cloud", "debian-backports"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(kernel, names[i]) == 0)
            return true;
    return false;
}

/* Module number of a file; a file that is named twice is one module. PLAN_NO_FILE after an error.
 */
static uint32_t add_file(struct check *check, const char *key, enum file_kind kind,
                         const char *path, uint64_t size)
{
    struct job *job = check->job;
    for (uint32_t i = 0; i < job->plan.files; i++)
        if (strcmp(job->file[i].path, path) == 0)
            return i;
    if (job->plan.files == JOB_FILES) {
        check_error(check, key, "too many files: a plan can name %u different ones", JOB_FILES);
        return PLAN_NO_FILE;
    }
    job->file[job->plan.files] = (struct job_file){kind, path, size, job->plan.vm[check->vm].name};
    return job->plan.files++;
}

static uint32_t add_packaged(struct check *check, const char *key, const char *kernel,
                             const char *file)
{
    return add_file(check, key, FILE_PACKAGED, host_image(host_text("kernels/%s/%s", kernel, file)),
                    0);
}

static const char *unusable(const char *path, struct stat *status)
{
    if (stat(path, status) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? "is missing: mend the path; it starts at the plan's folder"
                   : strerror(errno);
    if (S_ISDIR(status->st_mode))
        return "is a folder: name a file in it";
    if (!S_ISREG(status->st_mode))
        return "is not a plain file: name one";
    if (access(path, R_OK) != 0)
        return "cannot be read: change its permissions";
    return status->st_size == 0 ? "is empty: name another file" : NULL;
}

/* Find a file of the user's, which `path` of the plan names; false after an error. */
static bool find_plain(struct check *check, const char *path, const char *what, const char *text,
                       struct job_file *file)
{
    struct stat status;
    char real[PATH_MAX];
    const char *name = host_text("%s%s", text[0] == '/' ? "" : check->folder, text),
               *wrong = unusable(name, &status);
    if (wrong || !realpath(name, real)) {
        source_error_at(&check->source, path, "%s `%s` %s", what, text,
                        wrong ? wrong : strerror(errno));
        return false;
    }
    *file = (struct job_file){
        .kind = FILE_PLAIN, .path = host_text("%s", real), .size = (uint64_t)status.st_size};
    return true;
}

/* The same for the VM in hand, as a module; PLAN_NO_FILE after an error. */
static uint32_t add_plain(struct check *check, const char *key, const char *text)
{
    struct job_file file;
    bool found = find_plain(check, host_text("vms[%u].%s", check->vm, key), key, text, &file);
    return found ? add_file(check, key, file.kind, file.path, file.size) : PLAN_NO_FILE;
}

static uint32_t kernel(struct check *check, const char *text)
{
    struct kernel_image *image = &check->image[check->vm];
    if (is_packaged(text))
        return add_packaged(check, "kernel", text, "vmlinuz");
    uint32_t number = add_plain(check, "kernel", text);
    const char *wrong =
        number == PLAN_NO_FILE ? NULL : kernel_image_look(check->job->file[number].path, image);
    if (wrong)
        check_error(check, "kernel", "kernel `%s` %s", text, wrong);
    check->job->plan.vm[check->vm].kernel_type = image->kind;
    return number;
}

/* The file of a packaged userland; NULL: `name` is none. */
static const char *packaged_initrd(const char *name)
{
    static const char *const names[][2] = {
        {"debian", "initrd"}, {"debian-net", "initrd-net"}, {"debian-service", "initrd-service"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i][0]) == 0)
            return names[i][1];
    return NULL;
}

static uint32_t initrd(struct check *check, const struct vm_text *text)
{
    if (!text->initrd)
        return PLAN_NO_FILE;
    const char *file = packaged_initrd(text->initrd);
    if (!file)
        return add_plain(check, "initrd", text->initrd);
    if (is_packaged(text->kernel))
        return add_packaged(check, "initrd", text->kernel, file);
    check_error(
        check, "initrd",
        "initrd `%s` is made for a packaged kernel: write `kernel: debian` or name a file here",
        text->initrd);
    return PLAN_NO_FILE;
}

static void disk_file(struct check *check, const char *text, uint32_t i)
{
    struct plan_disk *disk = &check->job->plan.vm[check->vm].disk[i];
    char key[32], path[SOURCE_PATH];
    snprintf(key, sizeof(key), "disks[%u].file", i);
    snprintf(path, sizeof(path), "vms[%u].%s", check->vm, key);
    if (strncmp(text, "ext4:", 5) == 0) {
        uint64_t size = check_number(check, path, text + 5, &limit_ext4);
        disk->file = add_file(check, key, FILE_EXT4, host_text("ext4:%u:%u", check->vm, i), size);
        return;
    }
    disk->file = add_plain(check, key, text);
    if (disk->file != PLAN_NO_FILE && check->job->file[disk->file].size % PLAN_SECTOR != 0)
        check_error(check, key,
                    "disk `%s` does not end at a sector: make its size a multiple of %u bytes",
                    text, PLAN_SECTOR);
}

static void disk_mode(struct check *check, const char *text, uint32_t i)
{
    bool is_volatile = text && strcmp(text, "volatile") == 0;
    char key[32];
    snprintf(key, sizeof(key), "disks[%u].mode", i);
    if (text && !is_volatile && strcmp(text, "read-only") != 0)
        check_error(check, key, "a disk cannot be `%s`: write read-only or volatile", text);
    check->job->plan.vm[check->vm].disk[i].flags = is_volatile ? DISK_VOLATILE : DISK_READONLY;
}

void check_image(struct check *check, const char *path, const char *text, const char *owner,
                 struct job_file *file)
{
    if (strcmp(text, "debian") == 0)
        *file = (struct job_file){.kind = FILE_PACKAGED,
                                  .path = host_image("kernels/debian/root.ext4")};
    else if (strncmp(text, "ext4:", 5) == 0)
        *file = (struct job_file){.kind = FILE_EXT4,
                                  .path = path,
                                  .size = check_number(check, path, text + 5, &limit_ext4)};
    else if (find_plain(check, path, path, text, file) && file->size % PLAN_SECTOR != 0)
        source_error_at(&check->source, path,
                        "disk `%s` does not end at a sector: make its size a multiple of %u bytes",
                        text, PLAN_SECTOR);
    file->vm = owner;
}

void check_files(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    vm->kernel = kernel(check, text->kernel);
    vm->initrd = initrd(check, text);
    vm->disks = text->disks_count;
    for (uint32_t i = 0; i < vm->disks; i++) {
        if (text->disks[i].upload)
            check_upload(check, text->disks[i].upload, i);
        if (!text->disks[i].file || text->disks[i].volume) /* check_volumes looks at it */
            continue;
        disk_file(check, text->disks[i].file, i);
        disk_mode(check, text->disks[i].mode, i);
    }
}

/* The name that the Makefile has for `path`: without the Makefile's own folder. */
static const char *make_name(const char *path)
{
    const char *source = host_source("");
    size_t n = strlen(source);
    return strncmp(path, source, n) == 0 ? path + n : path;
}

/* Is the source tree there, by which packaged files are made? A package of the tool has none. */
static bool has_makefile(void) { return access(host_source("Makefile"), R_OK) == 0; }

/* Make those of `count` files that are packaged and missing, by `flock LOCK make ... FILE...`: two
 * makes on one tree would write the same files. */
static bool make_packages(const struct job_file *const file[], uint32_t count)
{
    const char *argv[10 + JOB_FILES] = {"flock",
                                        host_image(".lock"),
                                        "make",
                                        "-s",
                                        "-C",
                                        host_source("."),
                                        host_text("O=%s", host_images())};
    uint32_t used = 7;
    for (uint32_t i = 0; i < count; i++)
        if (file[i]->kind == FILE_PACKAGED)
            argv[used++] = make_name(file[i]->path);
    return used == 7 || (has_makefile() && host_run(argv) == 0);
}

bool check_make_disk(const struct job *job)
{
    const struct job_file *const file[] = {&job->host_disk, &job->host_tool, &job->host_module};
    if (make_packages(file, sizeof(file) / sizeof(file[0])))
        return true;
    return host_fail("the installed Debian or its module could not be made: name another disk's "
                     "image in `machine.host.disk`");
}

/* All of a plan's, and the iSCSI disk. */
static bool make_files(const struct job *job)
{
    const struct job_file *file[JOB_FILES + 1];
    for (uint32_t i = 0; i < job->plan.files; i++)
        file[i] = &job->file[i];
    file[job->plan.files] = &job->iscsi;
    return make_packages(file, job->plan.files + 1);
}

/* Note the size of a packaged file, after it is made. */
static bool measure(struct job_file *file)
{
    struct stat status;
    if (file->kind != FILE_PACKAGED)
        return true;
    if (stat(file->path, &status) != 0)
        return false;
    file->size = (uint64_t)status.st_size;
    return true;
}

bool check_packages(struct check *check)
{
    struct job *job = check->job;
    bool made = make_files(job) && measure(&job->iscsi);
    for (uint32_t i = 0; made && i < job->plan.files; i++)
        made = measure(&job->file[i]);
    for (check->vm = 0; made && check->vm < job->plan.vms; check->vm++)
        made = job->plan.vm[check->vm].mode == MODE_HOST ||
               !is_packaged(check->text->vms[check->vm].kernel) ||
               !kernel_image_look(job->file[job->plan.vm[check->vm].kernel].path,
                                  &check->image[check->vm]);
    if (!made)
        source_error_at(&check->source, "vms", "%s",
                        has_makefile() ? "the packaged kernel could not be fetched: try `sudo "
                                         "apt-get update`, or name a file"
                                       : "packaged kernels need Hairline's source tree, which is "
                                         "not here: name a kernel file");
    return made;
}

/* ---- the command line: words of the plan's that no guest bears, and the tool's own words, which
   tell a guest who and where it is */

/* Words of a command line with which no Linux comes up in a VM. */
static const struct {
    const char *word, *unless, *why; /* `unless`: a word that cures it; NULL: none */
} bad_words[] = {
    {"nox2apic", NULL, "a VM's local APIC is in x2APIC mode only"},
    {"acpi=off", NULL, "a VM's x2APIC is found by ACPI only"},
    {"no-kvmclock", "tsc_early_khz=", "Linux learns the TSC's frequency from that clock only"},
};

/* Does `text` have the word `word`, or, if that ends with =, one that begins with it? */
static bool has_word(const char *text, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        if ((at == text || at[-1] == ' ') &&
            (word[size - 1] == '=' || at[size] == 0 || at[size] == ' '))
            return true;
    return false;
}

void check_words(struct check *check)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const char *text =
        check->text->vms[check->vm].cmdline ? check->text->vms[check->vm].cmdline : "";
    for (size_t i = 0;
         i < sizeof(bad_words) / sizeof(bad_words[0]) && check->image[check->vm].is_linux; i++)
        if (has_word(text, bad_words[i].word) &&
            !(bad_words[i].unless && (vm->sealed || has_word(text, bad_words[i].unless))))
            check_error(check, "cmdline",
                        "no Linux comes up here with `%s`: %s; take that word out",
                        bad_words[i].word, bad_words[i].why);
}

/* Append the tool's words, which tell a guest who and where it is. */
static void add_words(const struct check *check, const struct plan_vm *vm, FILE *out)
{
    const struct plan *plan = &check->job->plan;
    uint32_t first = check_first(check);
    fprintf(out, "hairline.name=%s", vm->name);
    if (vm->lan)
        fprintf(out, " hairline.ip=10.0.%u.%u/24", vm->lan, first + check->vm + 1);
    const char *separator = " hairline.peers=";
    for (uint32_t i = 0; vm->lan && i < plan->vms; i++)
        if (i != check->vm && plan->vm[i].lan == vm->lan &&
            !check_is_gateway(check, &plan->vm[i])) {
            fprintf(out, "%s%s:10.0.%u.%u", separator, plan->vm[i].name, vm->lan, first + i + 1);
            separator = ",";
        }
    check_gateway_words(check, out);
    check_volume_words(check, out);
    if (vm->mode == MODE_DEDICATED)
        fprintf(out, " hairline.disengage=%s", disengages[vm->disengage].word);
    if (vm->mode == MODE_DEDICATED && check->job->iscsi.path)
        fprintf(out, " hairline.iscsi=10.0.2.2:%u", check->job->iscsi_port);
    if (check->batch)
        fputs(" hairline.batch", out);
}

/* Bytes of a command line that are for the kernel: what follows a word `--` outside quotes is
 * init's (Linux, kernel/params.c). */
static size_t kernel_part(const char *text)
{
    bool quoted = false;
    size_t i = 0;
    for (; text[i]; i++) {
        bool word = !quoted && (i == 0 || text[i - 1] == ' ') && strncmp(text + i, "--", 2) == 0 &&
                    (text[i + 2] == 0 || text[i + 2] == ' ');
        if (word)
            break;
        quoted ^= text[i] == '"';
    }
    while (i > 0 && text[i - 1] == ' ')
        i--;
    return i;
}

/* The plan's command line. The tool's words go before `--`: behind that the kernel ignores them. */
void check_cmdline(struct check *check)
{
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const char *text =
        check->text->vms[check->vm].cmdline ? check->text->vms[check->vm].cmdline : "";
    if (vm->mode == MODE_HOST)
        return;
    size_t kernels = kernel_part(text), size,
           most = sizeof(vm->cmdline) - (vm->sealed ? PLAN_CMDLINE_SEALED : 0);
    char *line;
    FILE *out = open_memstream(&line, &size);
    fprintf(out, "%.*s%s", (int)kernels, text, kernels ? " " : "");
    add_words(check, vm, out);
    fprintf(out, "%s%s", text[kernels] && text[kernels] != ' ' ? " " : "", text + kernels);
    fclose(out);
    if (size >= most)
        check_error(check, "cmdline",
                    "the command line has %zu bytes with what the tool adds: keep it below %zu",
                    size, most);
    snprintf(vm->cmdline, sizeof(vm->cmdline), "%s", line);
    free(line);
}
