#include <cli/host.h>
#include <cli/plan/source.h>

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_MAX (1u << 20)

const struct unit unit_none[] = {{"", 1}, {0}};
const struct unit unit_bytes[] = {{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {0}};
const struct unit unit_microseconds[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {0}};

bool source_number(const char *text, const struct unit *units, uint64_t *value)
{
    char *end;
    bool hex = units == unit_none && strncmp(text, "0x", 2) == 0;
    if (!(hex ? isxdigit((uint8_t)text[2]) : isdigit((uint8_t)text[0])))
        return false;
    errno = 0;
    uint64_t number = strtoull(text, &end, hex ? 16 : 10);
    for (; errno == 0 && units->suffix; units++)
        if (strcmp(end, units->suffix) == 0)
            return !__builtin_mul_overflow(number, units->factor, value);
    return false;
}

bool source_open(struct source *source, const char *name)
{
    *source = (struct source){.name = name, .bytes = malloc(SOURCE_MAX + 1)};
    FILE *file = fopen(name, "re");
    if (file && source->bytes)
        source->size = fread(source->bytes, 1, SOURCE_MAX + 1, file);
    if (!file || !source->bytes || ferror(file))
        source_error(source, 1, "cannot read this plan: %s", strerror(errno));
    else if (source->size > SOURCE_MAX)
        source_error(source, 1, "larger than 1 MiB: this is no plan");
    if (file)
        fclose(file);
    return source->errors == 0;
}

void source_close(struct source *source)
{
    free(source->bytes);
    free(source->mark);
}

static void error(struct source *source, uint64_t line, const char *format, va_list args)
{
    fprintf(stderr, "%s:%lu: ", source->name, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    source->errors++;
}

void source_error(struct source *source, uint64_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error(source, line, format, args);
    va_end(args);
}

void source_mark(struct source *source, const char *path, uint64_t line, const char *value)
{
    struct mark *grown = reallocarray(source->mark, source->marks + 1, sizeof(*grown));
    if (!grown)
        return;
    source->mark = grown;
    struct mark *mark = &grown[source->marks++];
    snprintf(mark->path, sizeof(mark->path), "%s", path);
    mark->line = line;
    mark->value = value ? host_text("%s", value) : NULL;
}

const struct mark *source_find(const struct source *source, const char *path)
{
    for (uint32_t i = 0; i < source->marks; i++)
        if (strcmp(source->mark[i].path, path) == 0)
            return &source->mark[i];
    return NULL;
}

void source_error_at(struct source *source, const char *path, const char *format, ...)
{
    char around[SOURCE_PATH];
    snprintf(around, sizeof(around), "%s", path);
    const struct mark *mark = source_find(source, around);
    while (!mark && strpbrk(around, ".[")) {
        char *dot = strrchr(around, '.'), *bracket = strrchr(around, '[');
        *(dot > bracket ? dot : bracket) = 0;
        mark = source_find(source, around);
    }
    va_list args;
    va_start(args, format);
    error(source, mark ? mark->line : 1, format, args);
    va_end(args);
}
