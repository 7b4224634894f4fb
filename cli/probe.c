#include <cli/host.h>
#include <cli/machine.h>
#include <cli/options.h>
#include <cli/probe.h>
#include <cli/record.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MARK    "hairline| probe "
#define SECONDS 60 /* for a machine to boot and tell */

struct hearing {
    struct json_object *found;
    char line[2048];
    size_t used;
    bool complete, spoke;
};

/* The first word of a record and where it goes. */
static const struct {
    const char *word, *key;
} kinds[] = {{"core", "cores"}, {"memory", "memory"}, {"iommu", "iommus"}, {"function", "functions"}};

static volatile sig_atomic_t caught;

static void on_signal(int signal) { caught = signal; }

/* Signals and the end of the time interrupt read(). */
static void catch_signals(unsigned seconds)
{
    static const int ending[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        sigaction(ending[i], &action, NULL);
    alarm(seconds);
}

static void hear_record(struct hearing *h, const char *text)
{
    size_t length = strcspn(text, "= ");
    if (strncmp(text, "assignment ", 11) == 0)
        record_parse(record_group(h->found, "assignment"), text + 11);
    h->complete |= strncmp(text, "end=", 4) == 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strlen(kinds[i].word) == length && strncmp(kinds[i].word, text, length) == 0) {
            struct json_object *record = json_object_new_object();
            record_parse(record, text);
            json_object_array_add(json_object_object_get(h->found, kinds[i].key), record);
        }
}

static void hear_line(struct hearing *h)
{
    h->line[h->used] = 0;
    h->line[strcspn(h->line, "\r")] = 0;
    h->used = 0;
    h->spoke = true;
    if (strncmp(h->line, MARK, strlen(MARK)) == 0)
        hear_record(h, h->line + strlen(MARK));
    else if (strncmp(h->line, "hairline: ", 10) == 0)
        fprintf(stderr, "%s\n", h->line);
}

/* Until the machine ends, or a signal. */
static void listen(struct hearing *h, int output)
{
    char bytes[4096];
    for (ssize_t size; !caught && (size = read(output, bytes, sizeof(bytes))) > 0;)
        for (ssize_t i = 0; i < size; i++)
            if (bytes[i] == '\n' || h->used == sizeof(h->line) - 1)
                hear_line(h);
            else
                h->line[h->used++] = bytes[i];
}

/* Without a plan: one of each device, behind an Intel IOMMU. */
static bool choose_machine(struct job *job, const char *plan)
{
    static const struct job usual = {
        .cores = 4,
        .memory = 2048ul << 20,
        .iommu = IOMMU_VTD,
        .devices = 2,
        .device = {{DEVICE_IGB, "", {0}}, {DEVICE_NVME, NULL, {FILE_EXT4, "nvme", 16 << 20, "probe"}}},
    };
    if (plan && !job_machine(job, plan))
        return false;
    if (!plan)
        *job = usual;
    job->iscsi.path = NULL;
    job->plan = (struct plan){.magic = PLAN_MAGIC, .version = PLAN_VERSION, .flags = PLAN_BATCH | PLAN_PROBE};
    return true;
}

static bool find_out(const struct options *options, const struct job *job, struct hearing *h)
{
    struct machine machine = {0};
    bool started = machine_start(&machine, job, options->args);
    if (started) {
        catch_signals(options->timeout ? (unsigned)options->timeout : SECONDS);
        listen(h, machine.output);
        int qemu = machine_stop(&machine, true);
        if (!h->spoke && qemu && !caught) {
            machine_show_errors(&machine);
            host_fail("QEMU did not start (exit code %d): its reason is above", qemu);
        }
    }
    machine_remove(&machine);
    return started;
}

static int tell(const struct options *options, const struct job *job, struct json_object *found)
{
    probe_print(found);
    if (options->json && json_object_to_file_ext(options->json, found, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE) != 0) {
        host_fail("cannot write %s: %s", options->json, strerror(errno));
        return EXIT_USAGE;
    }
    return !options->output || probe_write_plan(found, job, options->args, options->output) ? 0 : EXIT_USAGE;
}

int probe(const struct options *options)
{
    static struct job job;
    static struct hearing h;
    int code = EXIT_USAGE;
    if (!choose_machine(&job, options->plan))
        return EXIT_USAGE;
    h.found = json_object_new_object();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        json_object_object_add(h.found, kinds[i].key, json_object_new_array());
    if (find_out(options, &job, &h) && h.complete) {
        code = tell(options, &job, h.found);
    } else if (caught == SIGALRM) {
        host_fail("time is over: the machine did not tell what it has");
        code = EXIT_TIMEOUT;
    } else if (h.spoke) {
        host_fail("the machine stopped before it was done");
        code = EXIT_DIED;
    }
    json_object_put(h.found);
    return caught && caught != SIGALRM ? 128 + caught : code;
}
