/* What a VM did from one look at the machine to the next, and which cores are its own. */
#ifndef CLI_RATES_H
#define CLI_RATES_H

#include <json-c/json.h>
#include <stdint.h>

struct rates {
    int64_t exits, most; /* a second: all, and the main cause */
    const char *cause;   /* lives as long as the later look */
    double cpu;          /* of one core, percent */
};

/* Looks as line_look() gives them; `before` NULL, or without the VM: zeros. */
struct rates rates_of(struct json_object *look, struct json_object *before, const char *name);

#define CORES_TEXT 256 /* of 64 cores: 93 of every other one, 128 of any pairs */

/* "0-3,5" of a mask. */
void rates_cores(char text[static CORES_TEXT], uint64_t mask);

#endif
