#include <cli/host.h>
#include <cli/session/console.h>
#include <cli/session/report.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct json_object *report_group(struct json_object *parent, const char *key)
{
    struct json_object *group = NULL;
    json_object_object_get_ex(parent, key, &group);
    if (!json_object_is_type(group, json_type_object)) {
        group = json_object_new_object();
        json_object_object_add(parent, key, group);
    }
    return group;
}

const char *report_word(struct json_object *group, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(group, key, &value) ? json_object_get_string(value) : "";
}

int64_t report_number(struct json_object *group, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(group, key, &value) ? json_object_get_int64(value) : 0;
}

static struct json_object *value_of(const char *text)
{
    char *end;
    errno = 0;
    int64_t number = strtoll(text, &end, 10);
    return *text && *end == 0 && errno == 0 ? json_object_new_int64(number)
                                            : json_object_new_string(text);
}

static void add_value(struct json_object *group, char *key, const char *value)
{
    char *dot = strchr(key, '.');
    if (dot) {
        *dot = 0;
        group = report_group(group, key);
        key = dot + 1;
    }
    json_object_object_add(group, key, value_of(value));
}

/* Cut one pair off `*text`; a quoted value ends at the next quote. */
static void parse_pair(struct json_object *group, char **text)
{
    char *key = *text, *value = key + strcspn(key, "= ");
    char *end = value;
    if (*value == '=') {
        *value++ = 0;
        bool quoted = *value == '"';
        value += quoted;
        end = value + strcspn(value, quoted ? "\"" : " ");
    }
    *text = end + (*end != 0);
    *end = 0;
    if (end > value)
        add_value(group, key, value);
}

void report_parse(struct json_object *group, const char *text)
{
    char *copy = strdup(text), *rest = copy;
    while (rest && *rest)
        if (*rest == ' ')
            rest++;
        else
            parse_pair(group, &rest);
    free(copy);
}

bool report_may_write(const char *path)
{
    struct stat status;
    bool there = stat(path, &status) == 0, folder = there && S_ISDIR(status.st_mode);
    if (strcmp(path, "-") == 0 || (there && !folder && access(path, W_OK) == 0))
        return true;
    int fd = there ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return host_fail("cannot write %s: %s", path, strerror(folder ? EISDIR : errno));
    close(fd);
    unlink(path);
    return true;
}

bool report_save(struct json_object *object, const char *path)
{
    const int format = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
    if (strcmp(path, "-") == 0)
        puts(json_object_to_json_string_ext(object, format)); /* main() sees if it failed */
    else if (json_object_to_file_ext(path, object, format) != 0)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    return true;
}

/* Give each VM in `report` its vCPUs' time in microseconds beside that in ticks. */
static void add_times(struct json_object *report)
{
    struct json_object *hz, *ticks;
    if (!json_object_object_get_ex(report_group(report, "machine"), "tsc_hz", &hz) ||
        json_object_get_int64(hz) <= 0)
        return;
    json_object_object_foreach(report_group(report, "vms"), name, vm)
    {
        (void)name;
        if (json_object_object_get_ex(vm, "time", &ticks)) {
            __int128 us =
                (__int128)json_object_get_int64(ticks) * 1000000 / json_object_get_int64(hz);
            json_object_object_add(vm, "time_us", json_object_new_int64((int64_t)us));
        }
    }
}

/* Exits since its VMM left: those of the whole life less those of the time with it. */
static void subtract(struct json_object *vm)
{
    struct json_object *alone = report_group(vm, "alone"), *before = report_group(vm, "engaged"),
                       *until;
    json_object_object_foreach(report_group(vm, "exits"), cause, all)
    {
        int64_t engaged =
            json_object_object_get_ex(before, cause, &until) ? json_object_get_int64(until) : 0;
        json_object_object_add(alone, cause,
                               json_object_new_int64(json_object_get_int64(all) - engaged));
    }
}

/* Say of each VM in `report` what happened without its VMM: `left` is null if that stayed to the
   end; else the group `alone` has the exits since it left, by cause. */
static void add_alone(struct json_object *report)
{
    struct json_object *left;
    json_object_object_foreach(report_group(report, "vms"), name, vm)
    {
        (void)name;
        if (json_object_object_get_ex(vm, "left", &left) && json_object_get_int64(left) > 0)
            subtract(vm);
        else
            json_object_object_add(vm, "left", NULL);
    }
}

/* Give the record of a VM each key that it can have: null where nothing is known. */
static void complete(struct json_object *vm)
{
    static const char *const keys[] = {"reason",   "value",    "rip",     "cr3",       "next",
                                       "pause_ms", "restarts", "memory",  "time",      "time_us",
                                       "first",    "left",     "sha256",  "unclaimed", "exits",
                                       "engaged",  "alone",    "message", "checks",    "last_line"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!json_object_object_get_ex(vm, keys[i], NULL))
            json_object_object_add(vm, keys[i], NULL);
}

bool report_write(struct console *console, const char *path, int code, uint64_t wall_ms)
{
    json_object_object_add(console->report, "exit_code", json_object_new_int(code));
    json_object_object_add(console->report, "wall_ms", json_object_new_int64((int64_t)wall_ms));
    add_times(console->report);
    add_alone(console->report);
    for (uint32_t i = 0; i < console->job->plan.vms; i++) {
        struct json_object *vm =
            report_group(report_group(console->report, "vms"), console->job->plan.vm[i].name);
        if (console->last[i].line)
            json_object_object_add(vm, "last_line", json_object_new_string(console->last[i].line));
        complete(vm);
    }
    return report_save(console->report, path);
}
