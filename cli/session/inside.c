#include <cli/host.h>
#include <cli/picture/picture.h>
#include <cli/session/create.h>
#include <cli/session/inside.h>
#include <cli/session/line.h>
#include <cli/session/logs.h>
#include <cli/session/rates.h>
#include <cli/session/report.h>
#include <cli/session/stop.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;
static void interrupt(int signal)
{
    interrupted = signal;
    logs_stop();
}

/* ---- the table ---------------------------------------------------------------- */

static void show_table(struct json_object *look, struct json_object *before)
{
    struct json_object *machine = report_group(look, "machine");
    printf("%s: %" PRId64 " cores, pool %" PRId64 " of %" PRId64 " frames free, %" PRId64
           " of %" PRId64 " objects free\n",
           report_word(machine, "self"), report_number(machine, "cores"),
           report_number(machine, "pool_free"), report_number(machine, "pool_frames"),
           report_number(machine, "objects_free"), report_number(machine, "objects"));
    printf("%-16s %-9s %-9s %5s %-12s %7s %7s %9s %-10s %8s %8s\n", "VM", "mode", "state", "vCPUs",
           "cores", "MiB", "CPU %", "exits/s", "most by", "restarts", "lost");
    json_object_object_foreach(report_group(look, "vms"), name, vm)
    {
        const struct rates rates = rates_of(look, before, name);
        struct json_object *lost = report_group(vm, "lost");
        char cores[CORES_TEXT];
        rates_cores(cores, strtoull(report_word(vm, "cores"), NULL, 16));
        printf("%-16s %-9s %-9s %5" PRId64 " %-12s %7" PRId64 " %7.1f %9" PRId64 " %-10s %8" PRId64
               " %8" PRId64 "\n",
               name, report_word(vm, "mode"), report_word(vm, "state"), report_number(vm, "vcpus"),
               cores, report_number(vm, "memory") >> 20, rates.cpu, rates.exits, rates.cause,
               report_number(vm, "restarts"),
               report_number(lost, "sent") + report_number(lost, "received"));
    }
}

static int inside_list(struct line *line, const struct options *options)
{
    struct json_object *look = line_look(line);
    if (!look)
        return EXIT_DIED;
    bool good = true;
    if (options->json)
        good = report_save(look, options->json);
    else
        show_table(look, NULL);
    json_object_put(look);
    return good ? 0 : EXIT_USAGE;
}

static bool write_page(const char *path, struct json_object *look, struct json_object *before,
                       bool live)
{
    static struct picture picture;
    const struct picture_page page = {look, before, live};
    picture_of_look(&picture, look);
    return page_write(path, &picture, &page);
}

/* A look of `top`'s, after the one before it. */
static bool show_look(const struct options *options, struct json_object *look,
                      struct json_object *before, bool screen)
{
    if (options->output && !write_page(options->output, look, before, true))
        return false;
    if (options->json)
        puts(json_object_to_json_string_ext(look, JSON_C_TO_STRING_PLAIN));
    else if (!options->output) {
        if (screen)
            fputs("\033[H\033[J", stdout); /* ECMA-48: home, erase */
        show_table(look, before);
    }
    fflush(stdout);
    return true;
}

/* Each second a new table, until a signal or for --timeout seconds; as JSON, one a line. The page
 * that stays is a still one. */
static int inside_top(struct line *line, const struct options *options)
{
    if (options->output && !host_may_write(options->output))
        return EXIT_USAGE;
    struct json_object *before = NULL, *look = line_look(line);
    bool screen = isatty(STDOUT_FILENO) && !options->json, good = true;
    for (uint64_t i = 0;
         good && look && !interrupted && (!options->timeout || i < options->timeout); i++) {
        json_object_put(before);
        before = look;
        look = line_rest(line, 1000) ? line_look(line) : NULL;
        if (!look)
            break;
        good = show_look(options, look, before, screen);
    }
    if (look && good && options->output)
        good = write_page(options->output, look, before, false);
    json_object_put(before);
    int code = look ? 0 : EXIT_DIED;
    if (!good)
        code = EXIT_USAGE;
    json_object_put(look);
    return code;
}

/* ---- events and commands ------------------------------------------------------ */

static void show_event(const char *text, bool json)
{
    struct json_object *event = json_object_new_object();
    report_parse(event, text);
    puts(json ? json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN) : text);
    fflush(stdout);
    json_object_put(event);
}

/* First what is, then what happens: nothing is missed in between. */
static bool show_states(struct line *line, bool json)
{
    struct json_object *look = line_ask(line, "events on") ? line_look(line) : NULL;
    if (!look)
        return false;
    json_object_object_foreach(report_group(look, "vms"), name, vm)
    {
        show_event(host_text("name=%s state=%s", name, report_word(vm, "state")), json);
    }
    json_object_put(look);
    return true;
}

static int inside_events(struct line *line, const struct options *options)
{
    if (!show_states(line, options->json))
        return EXIT_DIED;
    for (time_t begun = time(NULL); !interrupted;) {
        const char *text = line_event(line, 1000);
        if (options->timeout && time(NULL) - begun >= (time_t)options->timeout)
            break;
        if (text)
            show_event(text, options->json);
    }
    return 0;
}

static bool inside_tell(void *line, const char *verb, const char *name)
{
    return line_ask(line, host_text("%s %s", verb, name)) != NULL;
}

/* Not yet: its last words are on their way. It stays off once it was asked. */
static enum stop_state look_at(void *line, const char *name)
{
    const char *state = line_rest(line, STOP_LOOK_MS) ? line_state(line, name) : NULL;
    if (!state)
        return STOP_LOST;
    return strcmp(state, "off") == 0 ? STOP_OFF : STOP_RUNS;
}

static int inside_stop(struct line *line, const struct options *options)
{
    const struct stop_way by = {line, inside_tell, look_at};
    int code = stop_vm(&by, options->plan, options->timeout);
    if (code)
        return code;
    return line_ended(line, options->plan) ? 0 : EXIT_DIED;
}

/* start, destroy, restart, kill: what root calls stop. The last two return once the VM has ended.
 */
static int change(struct line *line, const struct options *options)
{
    const char *verb = strcmp(options->verb, "kill") == 0 ? "stop" : options->verb;
    if (!inside_tell(line, verb, options->plan))
        return EXIT_DIED;
    bool ends = strcmp(verb, "stop") == 0 || strcmp(verb, "restart") == 0;
    return !ends || line_ended(line, options->plan) ? 0 : EXIT_DIED;
}

int inside(const struct options *options)
{
    const struct {
        const char *verb;
        int (*act)(struct line *line, const struct options *options);
        bool looks_on; /* until a signal ends it in good order: the others just end */
    } acts[] = {{"list", inside_list, false},    {"top", inside_top, true},
                {"events", inside_events, true}, {"stop", inside_stop, false},
                {"logs", logs_show, true},       {"console", logs_follow, true},
                {"create", create_vms, false},   {options->verb, change, false}};
    size_t i = 0;
    bool is_list = strcmp(options->verb, "list") == 0;
    if (options->json && !is_list && strcmp(options->json, "-") != 0) {
        host_fail("%s: a line each goes to standard output only: write --json -", options->verb);
        return EXIT_USAGE;
    }
    struct line *line = line_open();
    if (!line)
        return EXIT_USAGE;
    while (strcmp(acts[i].verb, options->verb) != 0)
        i++;
    if (acts[i].looks_on) {
        signal(SIGINT, interrupt);
        signal(SIGTERM, interrupt);
    }
    int code = acts[i].act(line, options);
    line_close(line);
    return code;
}
