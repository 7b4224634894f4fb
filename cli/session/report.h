/*
 * What became of the VMs, as JSON: root's records (`key=value key=value ...
 * message="text"`), gathered.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct console;

/* The group `key` of `parent`, made if it is not there. */
struct json_object *report_group(struct json_object *parent, const char *key);

/* The value of `key` in `group` as text; "" if it is not there. */
const char *report_word(struct json_object *group, const char *key);

/* The same as a number; 0 if it is not there. */
int64_t report_number(struct json_object *group, const char *key);

/* Put the pairs of `text` into `group`: decimal numbers as numbers, all else as strings; a key a.b
   is key b of the group a. */
void report_parse(struct json_object *group, const char *text);

/* Write an object to the file `path`, `-`: standard output; before there is one: could it be? False
   after one line on stderr. */
bool report_save(struct json_object *object, const char *path);
bool report_may_write(const char *path);

/* Write the console's report to `path`, with the tool's exit code and how long the machine ran;
   false after one line on stderr. */
bool report_write(struct console *console, const char *path, int code, uint64_t wall_ms);

#endif
