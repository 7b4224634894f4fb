#include <root/console/console.h>
#include <root/console/uart.h>
#include <lib/call.h>
#include <lib/format.h>
#include <lib/string.h>

static bool in_line; /* the cursor is not at the start of a line */
static const char *typed = "";
static uint32_t typed_used;

void console_raw(const char *bytes, uint32_t n)
{
    if (n == 0)
        return;
    uart_put(bytes, n);
    in_line = bytes[n - 1] != '\n';
}

static void put_string(const char *text) { console_raw(text, (uint32_t)strlen(text)); }

static void show_typed(void)
{
    if (typed_used == 0)
        return;
    put_string("hairline> ");
    console_raw(typed, typed_used);
}

static void put_line(const char *speaker, const char *text, uint32_t n)
{
    if (in_line)
        put_string("\n");
    put_string(speaker);
    put_string("| ");
    console_raw(text, n);
    put_string("\n");
    show_typed();
}

void console_say(const char *fmt, ...)
{
    static char text[2000];
    va_list args;
    va_start(args, fmt);
    uint32_t n = format_va(text, sizeof(text), fmt, args);
    va_end(args);
    put_line("hairline", text, n);
}

void console_flush(const char *name, struct console_line *line)
{
    if (line->used)
        put_line(name, line->text, line->used);
    line->used = 0;
}

/* Is `c` a further byte of a UTF-8 character, 80h..BFh (RFC 3629, 3)? One `?` stands for the whole
 * character. */
static bool continues(struct console_line *line, char c)
{
    bool more = line->wide && ((uint8_t)c & 0xc0) == 0x80;
    line->wide = more || ((uint8_t)c & 0xc0) == 0xc0;
    return more;
}

/* Is `c` part of an escape sequence (ECMA-48 5.4: ESC [ ... final, or ESC final)? */
static bool escaped(struct console_line *line, char c)
{
    bool inside = line->escape != 0;
    if (c == 0x1b)
        line->escape = 1;
    else if (line->escape == 1)
        line->escape = c == '[' ? 2 : 0;
    else if (line->escape == 2 && (c < 0x20 || c > 0x3f))
        line->escape = 0;
    return inside || c == 0x1b;
}

static void hear_byte(const char *name, struct console_line *line, char c)
{
    if (continues(line, c))
        return;
    if (c == '\n') {
        put_line(name, line->text, line->used);
        line->used = line->escape = 0;
        return;
    }
    if (escaped(line, c) || c == '\r' || c == 0)
        return;
    if (line->used == CONSOLE_LINE)
        console_flush(name, line);
    line->text[line->used++] = (c >= 0x20 && c < 0x7f) || c == '\t' ? c : '?';
}

void console_hear(const char *name, struct console_line *line, const char *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        hear_byte(name, line, bytes[i]);
    line->changed = tsc();
}

void console_typed(const char *text, uint32_t used, const char *echo)
{
    bool begun = typed_used != 0;
    typed = text;
    typed_used = used;
    if (begun)
        put_string(echo);
    else
        show_typed();
}
