/*
 * The console's lines. Each starts with its speaker: `hairline| ` or `NAME| `.
 * A VM's bytes become printable ASCII and TAB before they get here, so that no
 * VM can speak for another. In focus one VM's bytes pass as they are.
 */
#ifndef ROOT_CONSOLE_H
#define ROOT_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_LOG  16384u /* bytes that are kept of a console that is shown */
#define CONSOLE_LINE 224u   /* characters of a VM's line; longer ones are broken */

/* A VM's line in the making. */
struct console_line {
    char text[CONSOLE_LINE];
    uint32_t used;
    uint32_t escape;  /* inside an escape sequence: 0 no, 1 after ESC, 2 in CSI */
    bool wide;        /* the last character was one of several bytes */
    uint64_t changed; /* TSC of its last byte */
};

/* One line by root; at most 2,000 characters. */
void console_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* `n` bytes of the VM `name`, as lines. At most 40 characters of output a byte, and one line's. */
void console_hear(const char *name, struct console_line *line, const char *bytes, uint32_t n);
/* End a line that was begun. */
void console_flush(const char *name, struct console_line *line);
/* `n` bytes as they are. */
void console_raw(const char *bytes, uint32_t n);

/* The operator typed: `text` is the whole line so far (shown again below every line), `echo` what
 * to add. */
void console_typed(const char *text, uint32_t used, const char *echo);

#endif
