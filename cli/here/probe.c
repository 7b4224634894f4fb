#include <cli/host.h>
#include <cli/machine/qemu.h>
#include <cli/options.h>
#include <cli/session/report.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MARK    "hairline| probe "
#define SECONDS 60 /* that a machine may take to boot and report */

/* ---- what root tells: records, gathered as JSON --------------------------------
   cores, memory, iommus, functions: arrays of records; assignment: {possible, why} */

struct hearing {
    struct json_object *found;
    char line[2048];
    size_t used;
    bool complete, spoke;
};

/* The first word of a record and where it goes. */
static const struct {
    const char *word, *key;
} kinds[] = {
    {"core", "cores"}, {"memory", "memory"}, {"iommu", "iommus"}, {"function", "functions"}};

static volatile sig_atomic_t probe_late; /* the alarm came */

static void probe_on_alarm(int signal) { probe_late = signal; }

/* Have an alarm after `seconds` interrupt read(), as other signals do. */
static void set_alarm(unsigned seconds)
{
    struct sigaction action = {.sa_handler = probe_on_alarm};
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

static bool is_cut(void) { return probe_late || host_caught(); }

static void probe_hear_record(struct hearing *h, const char *text)
{
    size_t length = strcspn(text, "= ");
    if (strncmp(text, "assignment ", 11) == 0)
        report_parse(report_group(h->found, "assignment"), text + 11);
    h->complete |= strncmp(text, "end=", 4) == 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strlen(kinds[i].word) == length && strncmp(kinds[i].word, text, length) == 0) {
            struct json_object *record = json_object_new_object();
            report_parse(record, text);
            json_object_array_add(json_object_object_get(h->found, kinds[i].key), record);
        }
}

static void probe_hear_line(struct hearing *h)
{
    h->line[h->used] = 0;
    h->line[strcspn(h->line, "\r")] = 0;
    h->used = 0;
    h->spoke = true;
    if (strncmp(h->line, MARK, strlen(MARK)) == 0)
        probe_hear_record(h, h->line + strlen(MARK));
    else if (strncmp(h->line, "hairline: ", 10) == 0)
        fprintf(stderr, "%s\n", h->line);
}

/* Gather records until the machine ends or a signal comes. */
static void listen(struct hearing *h, int output)
{
    char bytes[4096];
    while (!is_cut()) {
        ssize_t size = read(output, bytes, sizeof(bytes));
        if (size <= 0)
            return;
        for (ssize_t i = 0; i < size; i++)
            if (bytes[i] == '\n' || h->used == sizeof(h->line) - 1)
                probe_hear_line(h);
            else
                h->line[h->used++] = bytes[i];
    }
}

/* Without a plan: one of each device, behind an Intel IOMMU. */
static bool choose_machine(struct job *job, const char *plan)
{
    static const struct job usual = {
        .cores = 4,
        .memory = 2048ul << 20,
        .iommu = IOMMU_VTD,
        .devices = 2,
        .device = {{DEVICE_IGB, "", {0}},
                   {DEVICE_NVME, NULL, {FILE_EXT4, "nvme", 16 << 20, "probe"}}},
    };
    if (plan && !check_plans_machine(job, plan))
        return false;
    if (!plan)
        *job = usual;
    job->iscsi.path = NULL;
    job->plan = (struct plan){
        .magic = PLAN_MAGIC, .version = PLAN_VERSION, .flags = PLAN_BATCH | PLAN_PROBE};
    return true;
}

static bool find_out(const struct options *options, const struct job *job, struct hearing *h)
{
    struct machine machine = {0};
    bool started = qemu_start(&machine, job, options->args);
    if (started) {
        set_alarm(options->timeout ? (unsigned)options->timeout : SECONDS);
        listen(h, machine.output);
        int qemu = machine_stop(&machine, true);
        if (!h->spoke && qemu && !is_cut()) {
            machine_show_errors(&machine);
            host_fail("QEMU did not start (exit code %d): its reason is above", qemu);
        }
    }
    machine_remove(&machine);
    return started;
}

/* ---- what the user is told ------------------------------------------------------ */

static const struct {
    const char *class, *name; /* PCI Code and ID Assignment, 1 */
} class_names[] = {{"0x0106", "sata"},    {"0x0108", "nvme"},        {"0x0200", "network"},
                   {"0x0300", "display"}, {"0x0600", "host bridge"}, {"0x0601", "isa bridge"},
                   {"0x0604", "bridge"},  {"0x0806", "iommu"},       {"0x0c03", "usb"},
                   {"0x0c05", "smbus"}};

static struct json_object *list(struct json_object *found, const char *key)
{
    struct json_object *array = NULL;
    json_object_object_get_ex(found, key, &array);
    return array;
}

static size_t count_of(struct json_object *found, const char *key)
{
    struct json_object *array = list(found, key);
    return array ? json_object_array_length(array) : 0;
}

static struct json_object *record(struct json_object *found, const char *key, size_t i)
{
    return json_object_array_get_idx(list(found, key), i);
}

static const char *class_name(const char *class)
{
    for (size_t i = 0; i < sizeof(class_names) / sizeof(class_names[0]); i++)
        if (strcmp(class_names[i].class, class) == 0)
            return class_names[i].name;
    return class;
}

static bool is_yes(struct json_object *record, const char *key)
{
    return strcmp(report_word(record, key), "yes") == 0;
}

/* Can `f` be assigned, and is it of `group`? */
static bool is_of_group(struct json_object *f, const char *group)
{
    return is_yes(f, "assignable") && strcmp(report_word(f, "group"), group) == 0;
}

/* The first function that is; NULL: none. */
static struct json_object *first_of_group(struct json_object *found, const char *group)
{
    for (size_t i = 0; i < count_of(found, "functions"); i++)
        if (is_of_group(record(found, "functions", i), group))
            return record(found, "functions", i);
    return NULL;
}

/* The others of its group, which go to the same VM as `f`: ", only with 00:06.1"; or nothing. */
static const char *companions(struct json_object *found, struct json_object *f)
{
    const char *text = "";
    for (size_t i = 0; i < count_of(found, "functions"); i++) {
        struct json_object *other = record(found, "functions", i);
        if (other != f && is_of_group(other, report_word(f, "group")))
            text = host_text("%s%s %s", text, *text ? "," : ", only with",
                             report_word(other, "function"));
    }
    return text;
}

static void print_function(struct json_object *found, struct json_object *f)
{
    bool yes = is_yes(f, "assignable");
    const char *vfs = report_word(f, "vfs"), *iommu = report_word(f, "iommu");
    const char *more =
        strcmp(vfs, "0") != 0
            ? host_text(" (and %s virtual functions, once its owner enables them)", vfs)
            : "";
    printf("%-8s  %-9s  %-11s  %-5s  %-8s  %s%s%s%s\n", report_word(f, "function"),
           report_word(f, "id"), class_name(report_word(f, "class")),
           strcmp(iommu, "-1") == 0 ? "-" : iommu, report_word(f, "group"),
           yes ? "yes" : "no: ", report_word(f, "why"), yes ? companions(found, f) : "",
           yes ? more : "");
}

/* A table for people on stdout. */
static void print_found(struct json_object *found)
{
    struct json_object *assignment = list(found, "assignment");
    int64_t bytes = 0;
    for (size_t i = 0; i < count_of(found, "memory"); i++)
        bytes += json_object_get_int64(json_object_object_get(record(found, "memory", i), "bytes"));
    printf("cores       %zu\nmemory      %ld MiB, beside the hypervisor's\n",
           count_of(found, "cores"), bytes >> 20);
    for (size_t i = 0; i < count_of(found, "iommus"); i++)
        printf("iommu %-4s  %s at %s\n", report_word(record(found, "iommus", i), "iommu"),
               report_word(record(found, "iommus", i), "kind"),
               report_word(record(found, "iommus", i), "base"));
    if (!is_yes(assignment, "possible"))
        printf("no function can be assigned: %s\n", report_word(assignment, "why"));
    printf("\n%-8s  %-9s  %-11s  %-5s  %-8s  %s\n", "function", "id", "class", "iommu", "group",
           "assignable");
    for (size_t i = 0; i < count_of(found, "functions"); i++)
        print_function(found, record(found, "functions", i));
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
    fprintf(file, "machine:\n  cores: %u\n  memory: %luM\n  iommu: %s\n", job->cores,
            job->memory >> 20, iommus[job->iommu]);
    if (job->devices)
        fputs("  devices:\n", file);
    for (uint32_t i = 0; i < job->devices; i++) {
        const struct job_file *disk = &job->device[i].disk;
        const char *image =
            disk->kind == FILE_EXT4 ? host_text("ext4:%luM", disk->size >> 20) : disk->path;
        fprintf(file, job->device[i].kind == DEVICE_IGB ? "    - igb: {}\n" : "    - nvme: %s\n",
                image);
    }
}

/* `f`: a function that it is to have, with all of its group; or NULL. */
static void write_vm(FILE *file, const char *name, struct json_object *found, struct json_object *f)
{
    fprintf(file,
            "  - name: %s\n    kernel: debian\n    initrd: debian-net\n    cmdline: console=ttyS0 "
            "quiet\n    memory: 256M\n",
            name);
    if (!f)
        return;
    fputs("    mode: dedicated\n    cores: 1\n    devices:\n", file);
    for (size_t i = 0; i < count_of(found, "functions"); i++) {
        struct json_object *one = record(found, "functions", i);
        if (is_of_group(one, report_word(f, "group")))
            fprintf(file, "      - %s # %s %s\n", report_word(one, "function"),
                    report_word(one, "id"), class_name(report_word(one, "class")));
    }
}

/* A plan to start from: each isolation group that can be assigned in a dedicated VM of its own, on
   the machine of `job` and QEMU's arguments `args`; false after one line on stderr. */
static bool write_plan(struct json_object *found, const struct job *job, char *const args[],
                       const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    fputs("# Written by `hairline probe`: a plan to start from. Each function that can be assigned "
          "has a VM of its own,\n"
          "# with all others of its group; core 0 is root's and the shared VMs'.\n",
          file);
    write_machine(file, job, args);
    fputs("vms:\n", file);
    write_vm(file, "shared", found, NULL);
    uint32_t used = 1;
    for (size_t i = 0; i < count_of(found, "functions"); i++) {
        struct json_object *f = record(found, "functions", i);
        if (first_of_group(found, report_word(f, "group")) == f && used < job->cores &&
            used < PLAN_VMS)
            write_vm(file, host_text("device-%u", used++), found, f);
    }
    if (fclose(file) != 0)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    return true;
}

static int tell(const struct options *options, const struct job *job, struct json_object *found)
{
    print_found(found);
    bool saved = !options->json || report_save(found, options->json);
    if (saved && options->output)
        saved = write_plan(found, job, options->args, options->output);
    return saved ? 0 : EXIT_USAGE;
}

int probe(const struct options *options)
{
    static struct job job;
    static struct hearing h;
    int code = EXIT_USAGE;
    if (!choose_machine(&job, options->plan) || (options->json && !report_may_write(options->json)))
        return EXIT_USAGE;
    h.found = json_object_new_object();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        json_object_object_add(h.found, kinds[i].key, json_object_new_array());
    if (find_out(options, &job, &h) && h.complete) {
        code = tell(options, &job, h.found);
    } else if (probe_late) {
        host_fail("time is over: the machine did not tell what it has");
        code = EXIT_TIMEOUT;
    } else if (h.spoke && !host_caught()) {
        host_fail("the machine stopped before it was done");
        code = EXIT_DIED;
    }
    json_object_put(h.found);
    return code;
}
