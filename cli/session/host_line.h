/*
 * The console of a machine's host system (`mode: host`), which is a serial line of its own: shown
 * like that of a VM, each line behind the VM's name, or as it is while it has the focus.
 */
#ifndef CLI_HOST_LINE_H
#define CLI_HOST_LINE_H

#include <cli/session/console.h>

#include <stdbool.h>
#include <stdint.h>

struct host_line {
    struct console *console;
    const char *name;
    char key; /* that gives it the focus */
    char text[512];
    uint32_t used;
    uint64_t changed; /* ms: when the text did */
    uint32_t shown;   /* bytes of the text that were shown before its line had an end */
    enum { PLAIN, ESCAPED, IN_SEQUENCE } escape;
};

void host_line_open(struct host_line *line, struct console *console);

/* Take the next bytes, at time `ms`. `raw`: it has the focus. `in_line`: the last line on stdout
   has no end. */
void host_line_feed(struct host_line *line, const char *bytes, size_t size, bool raw, bool *in_line,
                    uint64_t ms);

/* The machine has ended, or is given up: what it said of its last line is that line. */
void host_line_end(struct host_line *line, bool raw, bool *in_line, uint64_t ms);

/* When it wants host_line_flush, ms; 0: never. A prompt has no end of line: it is shown once
   nothing has followed for a while. */
uint64_t host_line_due(const struct host_line *line);
void host_line_flush(struct host_line *line, bool *in_line);

#endif
