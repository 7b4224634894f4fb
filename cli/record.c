#include <cli/record.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct json_object *record_group(struct json_object *parent, const char *key)
{
    struct json_object *group;
    if (!json_object_object_get_ex(parent, key, &group)) {
        group = json_object_new_object();
        json_object_object_add(parent, key, group);
    }
    return group;
}

static struct json_object *value_of(const char *text)
{
    char *end;
    errno = 0;
    int64_t number = strtoll(text, &end, 10);
    return *text && *end == 0 && errno == 0 ? json_object_new_int64(number) : json_object_new_string(text);
}

static void add(struct json_object *group, char *key, const char *value)
{
    char *dot = strchr(key, '.');
    if (dot) {
        *dot = 0;
        group = record_group(group, key);
        key = dot + 1;
    }
    if (json_object_is_type(group, json_type_object))
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
        add(group, key, value);
}

void record_parse(struct json_object *group, const char *text)
{
    char *copy = strdup(text), *rest = copy;
    while (rest && *rest)
        if (*rest == ' ')
            rest++;
        else
            parse_pair(group, &rest);
    free(copy);
}

void record_add_times(struct json_object *report)
{
    struct json_object *hz, *ticks;
    if (!json_object_object_get_ex(record_group(report, "machine"), "tsc_hz", &hz) || json_object_get_int64(hz) <= 0)
        return;
    json_object_object_foreach(record_group(report, "vms"), name, vm)
    {
        (void)name;
        if (json_object_object_get_ex(vm, "time", &ticks)) {
            __int128 us = (__int128)json_object_get_int64(ticks) * 1000000 / json_object_get_int64(hz);
            json_object_object_add(vm, "time_us", json_object_new_int64((int64_t)us));
        }
    }
}

/* Exits of all its time less those of its VMM's time. */
static void subtract(struct json_object *vm)
{
    struct json_object *alone = record_group(vm, "alone"), *before = record_group(vm, "engaged"), *until;
    json_object_object_foreach(record_group(vm, "exits"), cause, all)
    {
        int64_t engaged = json_object_object_get_ex(before, cause, &until) ? json_object_get_int64(until) : 0;
        json_object_object_add(alone, cause, json_object_new_int64(json_object_get_int64(all) - engaged));
    }
}

void record_add_alone(struct json_object *report)
{
    struct json_object *left;
    json_object_object_foreach(record_group(report, "vms"), name, vm)
    {
        (void)name;
        if (json_object_object_get_ex(vm, "left", &left) && json_object_get_int64(left) > 0)
            subtract(vm);
        else
            json_object_object_add(vm, "left", NULL);
    }
}

void record_complete(struct json_object *vm)
{
    static const char *const keys[] = {"reason", "value",   "rip",     "cr3",     "next",   "pause_ms", "restarts",
                                       "memory", "time",    "time_us", "first",   "left",   "sha256",   "unclaimed",
                                       "exits",  "engaged", "alone",   "message", "checks", "last_line"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!json_object_object_get_ex(vm, keys[i], NULL))
            json_object_object_add(vm, keys[i], NULL);
}
