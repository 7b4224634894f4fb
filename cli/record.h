/*
 * Root's records (`key=value key=value ... message="text"`) as JSON.
 */
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include <json-c/json.h>

/* The group `key` of `parent`, made if it is not there. */
struct json_object *record_group(struct json_object *parent, const char *key);

/* Put the pairs of `text` into `group`: decimal numbers as numbers, all else as strings; a key a.b is key b
   of the group a. */
void record_parse(struct json_object *group, const char *text);

/* Give each VM in `report` its vCPUs' time in microseconds beside that in ticks. */
void record_add_times(struct json_object *report);

/* Say of each VM in `report` what happened without its VMM: `left` is null if that stayed to the end; else the
   group `alone` has the exits since it left, by cause. */
void record_add_alone(struct json_object *report);

/* Give the record of a VM each key that it can have: null where nothing is known. */
void record_complete(struct json_object *vm);

#endif
