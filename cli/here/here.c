#include <cli/here/here.h>
#include <cli/host.h>
#include <cli/job.h>
#include <cli/options.h>
#include <cli/session/report.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is read, and what is said ------------------------------------------------ */

static const char *const words[] = {"fits", "without", "missing", "unknown"};

void here_say(struct here *here, enum verdict verdict, const char *item, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("%-8s %s: %s\n", words[verdict], item, text);
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "verdict", json_object_new_string(words[verdict]));
    json_object_object_add(line, "item", json_object_new_string(item));
    json_object_object_add(line, "text", json_object_new_string(text));
    json_object_array_add(here->lines, line);
    here->count[verdict]++;
}

static int here_open(const struct here *here, const char *path)
{
    return open(host_text("%s%s", here->root, path), O_RDONLY | O_CLOEXEC);
}

size_t here_read(const struct here *here, const char *path, void *bytes, size_t max)
{
    int fd = here_open(here, path);
    size_t used = 0;
    for (ssize_t part = 1; fd >= 0 && part > 0 && used<max; used += part> 0 ? (size_t)part : 0)
        part = read(fd, (char *)bytes + used, max - used);
    if (fd >= 0)
        close(fd);
    return used;
}

const char *here_line(const struct here *here, const char *path)
{
    char line[512];
    size_t size = here_read(here, path, line, sizeof(line) - 1);
    line[size] = 0;
    line[strcspn(line, "\n")] = 0;
    return size ? host_text("%s", line) : NULL;
}

uint64_t here_number(const struct here *here, const char *path, uint64_t fallback)
{
    const char *line = here_line(here, path);
    char *end = NULL;
    uint64_t value = line ? strtoull(line, &end, 0) : 0;
    return line && end != line ? value : fallback;
}

bool here_exists(const struct here *here, const char *path)
{
    return access(host_text("%s%s", here->root, path), F_OK) == 0;
}

bool here_msr(const struct here *here, uint32_t number, uint64_t *value)
{
    int fd = here_open(here, "/dev/cpu/0/msr");
    bool ok = fd >= 0 && pread(fd, value, sizeof(*value), number) == sizeof(*value);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- the plan to start from ------------------------------------------------------- */

static void write_here_vm(FILE *file, const char *name, const char *device, const char *what)
{
    fprintf(file,
            "  - name: %s\n    kernel: debian\n    initrd: %s\n    cmdline: console=ttyS0 quiet\n"
            "    memory: 256M\n",
            name, device ? "debian-net" : "debian");
    if (device)
        fprintf(file, "    mode: dedicated\n    cores: 1\n    devices:\n      - %s # %s\n", device,
                what);
}

/* A shared VM, and one for each function that was chosen, as far as there are cores. What the plan
   calls the machine is what was found, within what a plan can say. */
static void write_here_plan(FILE *file, const struct here *here)
{
    static const char *const iommus[] = {"none", "intel", "amd"};
    uint64_t most = 1024ul << 30, memory = here->memory ? here->memory : 1ul << 30;
    fputs("# Written by `hairline probe --here`: a plan to start from. Core 0 is root's and the "
          "shared VMs'.\n",
          file);
    fprintf(file, "machine:\n  cores: %u\n  memory: %" PRIu64 "M\n  iommu: %s\n%svms:\n",
            here->cores, (memory < most ? memory : most) >> 20, iommus[here->iommu],
            here->small_pages ? "  small_pages: true\n" : "");
    write_here_vm(file, "shared", NULL, NULL);
    for (uint32_t i = 0; i < here->devices && i + 1 < here->cores; i++)
        write_here_vm(file, host_text("device-%u", i + 1), here->device[i], here->device_name[i]);
}

static bool is_taken(const char *path)
{
    return host_fail("%s is there already: remove it, or name another file", path);
}

/* False after one line on stderr; a file that is there stays as it is. */
static bool save_plan(const struct here *here, const char *path)
{
    FILE *file = fopen(path, "wxe");
    if (!file && errno == EEXIST)
        return is_taken(path);
    if (!file)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    write_here_plan(file, here);
    if (fclose(file) == 0)
        return true;
    return host_fail("cannot write %s: %s", path, strerror(errno));
}

/* ---- the command ------------------------------------------------------------------ */

static bool is_folder(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return true;
    return host_fail("%s is no folder", path);
}

static bool here_usage(const struct options *options)
{
    if (options->plan || options->timeout || *options->args)
        return host_fail("probe --here starts no machine: it takes no plan, no --timeout and "
                         "nothing for QEMU");
    if (options->output && access(options->output, F_OK) == 0)
        return is_taken(options->output);
    return is_folder(options->root ? options->root : "/");
}

/* Is all there that Hairline needs in order to start? */
static bool tell_sum(const struct here *here)
{
    uint32_t missing = here->count[MISSING], unknown = here->count[UNKNOWN];
    if (missing)
        printf("\nHairline does not start on this machine as it is: %u missing\n", missing);
    else if (unknown)
        printf("\nNothing is known to be missing, but %u could not be looked at\n", unknown);
    else
        printf("\nHairline has what it needs to start on this machine\n");
    return !missing && !unknown;
}

int here_probe(const struct options *options)
{
    struct here here = {.root = options->root ? options->root : "", .cores = 1};
    if (!here_usage(options))
        return EXIT_USAGE;
    here.lines = json_object_new_array();
    here_processor(&here);
    here_platform(&here);
    here_devices(&here);
    bool fits = tell_sum(&here), saved = true;
    if (options->json)
        saved = report_save(here.lines, options->json);
    if (options->output)
        saved = save_plan(&here, options->output) && saved;
    json_object_put(here.lines);
    if (!saved)
        return EXIT_USAGE;
    return fits ? 0 : EXIT_DIED;
}
