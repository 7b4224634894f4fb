/*
 * A plan's text: where each value stands in the file, for messages of the form
 * FILE:LINE: what is wrong, and numbers as plans write them: 2, 512M, 10ms. A
 * value's path is its keys from the top, like "vms[0].disks[1].file".
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#define SOURCE_PATH 96 /* bytes of a path, with its end */

struct mark {
    char path[SOURCE_PATH];
    uint64_t line;
    const char *value; /* what stands there, if that is one value; else NULL */
};

struct source {
    const char *name; /* as the user wrote it */
    uint8_t *bytes;
    uint64_t size;
    struct mark *mark;
    uint32_t marks, errors;
};

struct unit {
    const char *suffix;
    uint64_t factor;
};

extern const struct unit unit_none[], unit_bytes[], unit_microseconds[];

/* Read the whole file (1 MiB at most); false after a message. */
bool source_open(struct source *source, const char *name);
void source_close(struct source *source);

/* One line on stderr for `line` (from 1); counted in source->errors. */
void source_error(struct source *source, uint64_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for the line of `path`, or of the nearest thing around it that the file has. */
void source_error_at(struct source *source, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void source_mark(struct source *source, const char *path, uint64_t line, const char *value);

/* The mark of `path`, NULL: the file has no such key. */
const struct mark *source_find(const struct source *source, const char *path);

/* Decimal digits (or 0x and hexadecimal ones where the unit is none) and one of the suffixes;
   false for anything else and for what does not fit 64 bits. */
bool source_number(const char *text, const struct unit *units, uint64_t *value);

#endif
