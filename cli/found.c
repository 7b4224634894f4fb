#include <cli/host.h>
#include <cli/probe.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *class, *name; /* PCI Code and ID Assignment, 1 */
} classes[] = {{"0x0106", "sata"},       {"0x0108", "nvme"},   {"0x0200", "network"}, {"0x0300", "display"}, {"0x0600", "host bridge"},
               {"0x0601", "isa bridge"}, {"0x0604", "bridge"}, {"0x0806", "iommu"},   {"0x0c03", "usb"},     {"0x0c05", "smbus"}};

static struct json_object *list(struct json_object *found, const char *key)
{
    struct json_object *array = NULL;
    json_object_object_get_ex(found, key, &array);
    return array;
}

static size_t count(struct json_object *found, const char *key)
{
    struct json_object *array = list(found, key);
    return array ? json_object_array_length(array) : 0;
}

static struct json_object *record(struct json_object *found, const char *key, size_t i)
{
    return json_object_array_get_idx(list(found, key), i);
}

static const char *word(struct json_object *record, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(record, key, &value) ? json_object_get_string(value) : "";
}

static const char *class_name(const char *class)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i].class, class) == 0)
            return classes[i].name;
    return class;
}

static bool is_yes(struct json_object *record, const char *key) { return strcmp(word(record, key), "yes") == 0; }

static void print_function(struct json_object *f)
{
    bool yes = is_yes(f, "assignable");
    const char *vfs = word(f, "vfs"), *iommu = word(f, "iommu");
    const char *more = strcmp(vfs, "0") != 0 ? host_text(" (and %s virtual functions, once its owner enables them)", vfs) : "";
    printf("%-8s  %-9s  %-11s  %-5s  %-8s  %s%s%s\n", word(f, "function"), word(f, "id"), class_name(word(f, "class")),
           strcmp(iommu, "-1") == 0 ? "-" : iommu, word(f, "group"), yes ? "yes" : "no: ", word(f, "why"), yes ? more : "");
}

void probe_print(struct json_object *found)
{
    struct json_object *assignment = list(found, "assignment");
    int64_t bytes = 0;
    for (size_t i = 0; i < count(found, "memory"); i++)
        bytes += json_object_get_int64(json_object_object_get(record(found, "memory", i), "bytes"));
    printf("cores       %zu\nmemory      %ld MiB, beside the hypervisor's\n", count(found, "cores"), bytes >> 20);
    for (size_t i = 0; i < count(found, "iommus"); i++)
        printf("iommu %-4s  %s at %s\n", word(record(found, "iommus", i), "iommu"), word(record(found, "iommus", i), "kind"),
               word(record(found, "iommus", i), "base"));
    if (!is_yes(assignment, "possible"))
        printf("no function can be assigned: %s\n", word(assignment, "why"));
    printf("\n%-8s  %-9s  %-11s  %-5s  %-8s  %s\n", "function", "id", "class", "iommu", "group", "assignable");
    for (size_t i = 0; i < count(found, "functions"); i++)
        print_function(record(found, "functions", i));
}

static void write_machine(FILE *file, const struct job *job, char *const args[])
{
    static const char *const iommus[] = {"none", "intel", "amd"};
    if (*args) {
        fputs("# Run it with these arguments for QEMU, too: --", file);
        for (; *args; args++)
            fprintf(file, " %s", *args);
        fputs("\n", file);
    }
    fprintf(file, "machine:\n  cores: %u\n  memory: %luM\n  iommu: %s\n", job->cores, job->memory >> 20, iommus[job->iommu]);
    if (job->devices)
        fputs("  devices:\n", file);
    for (uint32_t i = 0; i < job->devices; i++) {
        const struct job_file *disk = &job->device[i].disk;
        const char *image = disk->kind == FILE_EXT4 ? host_text("ext4:%luM", disk->size >> 20) : disk->path;
        fprintf(file, job->device[i].kind == DEVICE_IGB ? "    - igb: {}\n" : "    - nvme: %s\n", image);
    }
}

static void write_vm(FILE *file, const char *name, struct json_object *f)
{
    fprintf(file, "  - name: %s\n    kernel: debian\n    initrd: debian-net\n    cmdline: console=ttyS0 quiet\n    memory: 256M\n", name);
    if (f)
        fprintf(file, "    mode: dedicated\n    cores: 1\n    devices:\n      - %s # %s %s\n", word(f, "function"), word(f, "id"),
                class_name(word(f, "class")));
}

bool probe_write_plan(struct json_object *found, const struct job *job, char *const args[], const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    fputs("# Written by `hairline probe`: a plan to start from. Each function that can be assigned has a VM of its own;\n"
          "# core 0 is root's and the shared VMs'.\n",
          file);
    write_machine(file, job, args);
    fputs("vms:\n", file);
    write_vm(file, "shared", NULL);
    uint32_t used = 1;
    for (size_t i = 0; i < count(found, "functions"); i++)
        if (is_yes(record(found, "functions", i), "assignable") && used < job->cores && used < PLAN_VMS)
            write_vm(file, host_text("device-%u", used++), record(found, "functions", i));
    return fclose(file) == 0 || host_fail("cannot write %s: %s", path, strerror(errno));
}
