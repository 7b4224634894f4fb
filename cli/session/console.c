#include <cli/host.h>
#include <cli/session/console.h>
#include <cli/session/report.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHECKS_MARK "HAIRLINE-CHECKS: "

/* Reasons for which a VM's end is no failure: it ended itself, or the operator ended it. */
static const char *const good_ends[] = {"poweroff", "exit_port", "reboot", "stopped"};

static const char *const mode_words[] = {
    [MODE_SHARED] = "shared", [MODE_DEDICATED] = "dedicated", [MODE_HOST] = "host"};

/* What Linux says last, at any log level, before it powers a machine off (kernel/reboot.c). */
#define HOST_OFF "reboot: Power down"

static bool open_log(FILE **log, const char *folder, const char *name)
{
    const char *path = host_text("%s/%s.log", folder, name);
    *log = fopen(path, "we");
    if (!*log)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    setvbuf(*log, NULL, _IOLBF, 0); /* for `tail -f`: each line as it comes */
    return true;
}

static bool open_logs(struct console *console, const char *folder)
{
    const struct plan *plan = &console->job->plan;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return host_fail("cannot make the folder %s: %s", folder, strerror(errno));
    for (uint32_t i = 0; i < plan->vms; i++)
        if (!open_log(&console->log[i], folder, plan->vm[i].name))
            return false;
    return open_log(&console->log[PLAN_VMS], folder, "hairline");
}

/* Begin a VM's record with what is known before it runs. */
static void open_record(struct json_object *record, const struct plan_vm *vm)
{
    struct json_object *cores = json_object_new_array();
    for (int core = 0; core < MAX_CORES; core++)
        if (vm->cores >> core & 1)
            json_object_array_add(cores, json_object_new_int(core));
    json_object_object_add(record, "state", json_object_new_string("unknown"));
    json_object_object_add(record, "mode", json_object_new_string(mode_words[vm->mode]));
    json_object_object_add(record, "cores", cores);
}

bool console_open(struct console *console, const struct job *job, const char *logs)
{
    *console = (struct console){.job = job, .report = json_object_new_object()};
    for (uint32_t i = 0; i < job->plan.vms; i++)
        open_record(report_group(report_group(console->report, "vms"), job->plan.vm[i].name),
                    &job->plan.vm[i]);
    return !logs || open_logs(console, logs);
}

uint32_t console_vm(const struct console *console, const char *name)
{
    for (uint32_t i = 0; i < console->job->plan.vms; i++)
        if (strcmp(console->job->plan.vm[i].name, name) == 0)
            return i;
    return PLAN_VMS;
}

/* Take what the hypervisor says of the host system, NAME and pairs. How many cores that has is of
 * its machine's; in the record of a VM `cores` are their numbers. */
static void hear_of_host(struct console *console, const char *text)
{
    struct json_object *vms = report_group(console->report, "vms"), *vm, *cores;
    const char *name = host_text("%.*s", (int)strcspn(text, " "), text);
    if (!json_object_object_get_ex(vms, name, &vm))
        return;
    json_object_object_add(vm, "state", json_object_new_string("running"));
    json_object_object_get_ex(vm, "cores", &cores);
    cores = json_object_get(cores);
    report_parse(vm, text + strlen(name));
    json_object_object_add(vm, "vcpus", json_object_new_int64(report_number(vm, "cores")));
    json_object_object_add(vm, "cores", cores);
}

/* Take a line of the hypervisor's: records of itself and of VMs. A VM's last record counts. */
static void hear_hypervisor(struct console *console, const char *text)
{
    if (strncmp(text, "ready ", 6) == 0)
        report_parse(report_group(console->report, "machine"), text + 6);
    else if (strncmp(text, "host name=", 10) == 0)
        hear_of_host(console, text + 10);
    else if (strncmp(text, "end ", 4) == 0)
        report_parse(report_group(console->report, "kernel"), text + 4);
    else if (strncmp(text, "vm name=", 8) == 0) {
        const char *name = host_text("%.*s", (int)strcspn(text + 8, " "), text + 8);
        struct json_object *vm;
        if (json_object_object_get_ex(report_group(console->report, "vms"), name, &vm)) {
            json_object_object_del(vm, "engaged"); /* an earlier life's */
            report_parse(vm, text + 8 + strlen(name));
            console->ends[console_vm(console, name)] +=
                strcmp(report_word(vm, "state"), "off") == 0;
        }
    }
    console->ended |= strncmp(text, "end ", 4) == 0;
    console->refused |= strcmp(text, "nothing was started") == 0;
}

static void hear_vm(struct console *console, uint32_t vm, const char *text, uint64_t ms)
{
    struct heard *last = &console->last[vm];
    if (*text) {
        free(last->line);
        *last = (struct heard){strdup(text), ms};
    }
    const char *mark = strstr(text, CHECKS_MARK);
    struct json_object *group =
        report_group(report_group(console->report, "vms"), console->job->plan.vm[vm].name);
    if (mark)
        json_object_object_add(group, "checks", json_object_new_string(mark + strlen(CHECKS_MARK)));
}

void console_hear_host(struct console *console, const char *text, uint64_t ms)
{
    uint32_t host = plan_host_vm(&console->job->plan);
    if (console->log[host])
        fprintf(console->log[host], "%s\n", text);
    hear_vm(console, host, text, ms);
    console->host_off |= strstr(text, HOST_OFF) != NULL;
    /* The stub speaks on the firmware's console, which is this one. */
    console->gave_up |= !console->up && strncmp(text, "hairline: ", 10) == 0;
    console->spoke = true;
}

/* The VM that speaks in `line`; PLAN_VMS: the hypervisor, or nobody. `*text`: behind the speaker.
 */
static uint32_t speaker(const struct console *console, const char *line, const char **text)
{
    for (uint32_t i = 0; i < console->job->plan.vms; i++) {
        size_t length = strlen(console->job->plan.vm[i].name);
        if (strncmp(line, console->job->plan.vm[i].name, length) == 0 &&
            strncmp(line + length, "| ", 2) == 0) {
            *text = line + length + 2;
            return i;
        }
    }
    *text = strncmp(line, "hairline| ", 10) == 0 ? line + 10 : line;
    return PLAN_VMS;
}

void console_listen(struct console *console, bool on)
{
    if (console->ear)
        fclose(console->ear);
    free(console->heard);
    console->heard = NULL;
    console->ear = on ? open_memstream(&console->heard, &console->heard_size) : NULL;
}

const char *console_heard(struct console *console)
{
    if (console->ear)
        fflush(console->ear);
    return console->heard ? console->heard : "";
}

static void hear_line(struct console *console, uint64_t ms)
{
    const char *text;
    while (console->used && console->line[console->used - 1] == '\r')
        console->used--;
    console->line[console->used] = 0;
    console->used = 0;
    uint32_t who = speaker(console, console->line, &text);
    if (console->log[who])
        fprintf(console->log[who], "%s\n", text);
    if (who < PLAN_VMS)
        hear_vm(console, who, text, ms);
    else if (text != console->line)
        hear_hypervisor(console, text);
    console->up |= who == PLAN_VMS && text != console->line;
    if (console->ear && who == PLAN_VMS)
        fprintf(console->ear, "%s\n", text);
    /* The kernel, or before root speaks boot code, gives up. Others are a guest's in focus. */
    const char *last_words = console->up ? "hairline: kernel stopped: " : "hairline: ";
    console->gave_up |= strncmp(console->line, last_words, strlen(last_words)) == 0;
    console->spoke = true;
}

void console_feed(struct console *console, const char *bytes, size_t size, uint64_t ms)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == '\n' || console->used == sizeof(console->line) - 1)
            hear_line(console, ms);
        else if (bytes[i] != 0)
            console->line[console->used++] = bytes[i];
}

/* Did VM `i` end by a triple fault in order to be reset? Linux does so with reboot=t, and when its
   other ways fail. It says so before, at any log level (kernel/reboot.c, kernel/panic.c). */
static bool wanted_reset(const struct console *console, uint32_t i)
{
    static const char *const words[] = {"reboot: Restarting system", "reboot: machine restart",
                                        "Rebooting in "};
    const char *line = console->last[i].line;
    for (size_t w = 0; line && w < sizeof(words) / sizeof(words[0]); w++)
        if (strstr(line, words[w]))
            return true;
    return false;
}

/* `must_end`: it had to end by itself. */
static bool vm_failed(const struct console *console, uint32_t i, bool must_end)
{
    const char *name = console->job->plan.vm[i].name;
    struct json_object *vm = report_group(report_group(console->report, "vms"), name);
    const char *reason = report_word(vm, "reason"), *checks = report_word(vm, "checks");
    bool good = !must_end && strcmp(report_word(vm, "state"), "off") != 0;
    good |= console->host_off && console->job->plan.vm[i].mode == MODE_HOST;
    for (size_t end = 0; end < sizeof(good_ends) / sizeof(good_ends[0]); end++)
        good |= strcmp(reason, good_ends[end]) == 0;
    good |= strcmp(reason, "triple") == 0 && wanted_reset(console, i);
    if (!good && *reason)
        host_fail("%s did not end by itself: %s rip=%s cr3=%s %s", name, reason,
                  report_word(vm, "rip"), report_word(vm, "cr3"), report_word(vm, "message"));
    else if (!good)
        host_fail("%s did not end by itself: no record of its end", name);
    if (*checks && strcmp(checks, "ok") != 0)
        host_fail("%s: a check in the guest failed (its console has a line with FAIL)", name);
    return !good || (*checks && strcmp(checks, "ok") != 0);
}

int console_verdict(struct console *console, bool batch)
{
    const struct plan *plan = &console->job->plan;
    uint32_t host = plan_host_vm(plan);
    /* A host ends the machine, whatever the others are at. */
    bool failed = console->gave_up || (batch && host == plan->vms && !console->ended);
    if (console->used)
        hear_line(console, 0);
    if (console->refused)
        return host_fail("nothing was started: the line before says why"), EXIT_DIED;
    if (failed)
        host_fail("the machine stopped before it was done");
    if (host < plan->vms && !console->up)
        failed = !host_fail("Hairline did not start beneath %s", plan->vm[host].name);
    for (uint32_t i = 0; i < plan->vms; i++) {
        bool held = plan->held >> i & 1;
        failed |= vm_failed(console, i, batch && (host == plan->vms ? !held : i == host));
    }
    return failed ? EXIT_DIED : 0;
}

static uint64_t sum(struct json_object *group)
{
    uint64_t all = 0;
    json_object_object_foreach(group, key, value)
    {
        (void)key;
        all += (uint64_t)json_object_get_int64(value);
    }
    return all;
}

void console_status(struct console *console, uint64_t ms)
{
    for (uint32_t i = 0; i < console->job->plan.vms; i++) {
        const char *name = console->job->plan.vm[i].name, *known = "", *said = "said nothing";
        const struct heard *last = &console->last[i];
        struct json_object *vm = report_group(report_group(console->report, "vms"), name);
        bool off = strcmp(report_word(vm, "state"), "off") == 0;
        if (json_object_object_get_ex(vm, "exits", NULL)) /* of its last life that ended */
            known = host_text(": %s, rip=%s, %lu exits, restarts %s", report_word(vm, "reason"),
                              report_word(vm, "rip"), sum(report_group(vm, "exits")),
                              report_word(vm, "restarts"));
        if (last->line)
            said = host_text("said last, %lu s ago: %.100s", (ms - last->ms) / 1000, last->line);
        host_fail("%s %s%s; it %s", name,
                  off && strcmp(report_word(vm, "next"), "restart") != 0 ? "was off"
                                                                         : "was running",
                  known, said);
    }
}

bool console_close_logs(struct console *console)
{
    bool whole = true;
    for (uint32_t i = 0; i <= PLAN_VMS; i++) {
        FILE *log = console->log[i];
        console->log[i] = NULL;
        bool failed = log && ferror(log), closed = !log || fclose(log) == 0;
        whole = whole && !failed && closed;
    }
    if (whole)
        return true;
    return host_fail("the logs are not whole: make room where --logs has them");
}

void console_close(struct console *console)
{
    console_close_logs(console);
    for (uint32_t i = 0; i < PLAN_VMS; i++)
        free(console->last[i].line);
    console_listen(console, false);
    json_object_put(console->report);
}
