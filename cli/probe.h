/*
 * What `hairline probe` found, told: root's records, gathered as JSON.
 *   cores, memory, iommus, functions: arrays of records; assignment: {possible, why}
 */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include <cli/job.h>
#include <json-c/json.h>

/* A table for people on stdout. */
void probe_print(struct json_object *found);

/* A plan to start from: each function that can be assigned in a dedicated VM of its own, on the machine of `job`
   and QEMU's arguments `args`; false after one line on stderr. */
bool probe_write_plan(struct json_object *found, const struct job *job, char *const args[], const char *path);

#endif
