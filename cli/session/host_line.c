#include <cli/host.h>
#include <cli/session/host_line.h>

#include <stdio.h>
#include <string.h>

#define QUIET_MS 300u

void host_line_open(struct host_line *line, struct console *console)
{
    uint32_t host = plan_host_vm(&console->job->plan);
    *line = (struct host_line){.console = console, .name = console->job->plan.vm[host].name};
    line->key = host < 9 ? (char)('1' + host) : 0;
}

/* Show what is new of the text, as a line. */
static void show(struct host_line *line, bool *in_line)
{
    char all[64 + sizeof(line->text)];
    int size = snprintf(all, sizeof(all), "%s%s| %.*s\n", *in_line ? "\n" : "", line->name,
                        (int)(line->used - line->shown), line->text + line->shown);
    host_show(all, (size_t)size);
    line->shown = line->used;
    *in_line = false;
}

static void end_line(struct host_line *line, bool raw, bool *in_line, uint64_t ms)
{
    if (!raw && (line->used > line->shown || !line->shown))
        show(line, in_line);
    line->text[line->used] = 0;
    console_hear_host(line->console, line->text, ms);
    line->used = line->shown = 0;
    line->escape = PLAIN;
}

/* Is `c` part of an escape sequence (ECMA-48 5.4: ESC [ ... final, or ESC final)? */
static bool is_escaped(struct host_line *line, char c)
{
    bool inside = line->escape != PLAIN;
    if (c == 0x1b)
        line->escape = ESCAPED;
    else if (line->escape == ESCAPED)
        line->escape = c == '[' ? IN_SEQUENCE : PLAIN;
    else if (line->escape == IN_SEQUENCE && (c < 0x20 || c > 0x3f))
        line->escape = PLAIN;
    return inside || c == 0x1b;
}

static void host_line_hear(struct host_line *line, char c, bool raw, bool *in_line, uint64_t ms)
{
    if (c == '\n' || line->used == sizeof(line->text) - 1)
        end_line(line, raw, in_line, ms);
    if (c == '\n' || is_escaped(line, c) || c == '\r' || c == 0)
        return;
    line->text[line->used++] = (c >= 0x20 && c < 0x7f) || c == '\t' ? c : '?';
    line->changed = ms;
}

void host_line_feed(struct host_line *line, const char *bytes, size_t size, bool raw, bool *in_line,
                    uint64_t ms)
{
    if (raw)
        host_show(bytes, size);
    if (raw && size)
        *in_line = bytes[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        host_line_hear(line, bytes[i], raw, in_line, ms);
    if (raw)
        line->shown = line->used;
}

void host_line_end(struct host_line *line, bool raw, bool *in_line, uint64_t ms)
{
    if (line->used)
        end_line(line, raw, in_line, ms);
}

uint64_t host_line_due(const struct host_line *line)
{
    return line->used > line->shown ? line->changed + QUIET_MS : 0;
}

void host_line_flush(struct host_line *line, bool *in_line)
{
    if (line->used > line->shown)
        show(line, in_line);
}
