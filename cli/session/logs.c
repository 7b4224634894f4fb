#include <cli/host.h>
#include <cli/session/logs.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FOLLOW_MS 200 /* from one look at what is new to the next */

static volatile sig_atomic_t stopped;
void logs_stop(void) { stopped = 1; }

/* A guest's bytes to somebody's terminal: escape sequences and other control characters, by which
 * it could do more than be read, become `?`; so does what is not ASCII. */
static void show_byte(unsigned byte)
{
    if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte < 0x7f))
        putchar((int)byte);
    else if (byte != '\r')
        putchar('?');
}

/* Show what root has by now, from byte `*at` on; `*at` moves to the end of that. False after one
 * line on stderr. */
static bool show_from(struct line *line, const char *name, uint64_t *at)
{
    for (uint64_t by_now = 0, end; (!by_now || *at < by_now) && !stopped;) {
        unsigned byte;
        const char *text = line_ask(line, host_text("log %s %" PRIu64, name, *at));
        if (!text)
            return false;
        const char *hex = strstr(text, "hex=");
        if (sscanf(text, "at=%" SCNu64 " end=%" SCNu64, at, &end) != 2 || !hex)
            return host_fail("root is of another version");
        by_now = by_now ? by_now : end;
        if (end == 0)
            break;
        for (hex += 4; sscanf(hex, "%2x", &byte) == 1; hex += 2, ++*at)
            show_byte(byte);
    }
    fflush(stdout);
    return true;
}

int logs_show(struct line *line, const struct options *options)
{
    uint64_t at = 0;
    return show_from(line, options->plan, &at) ? 0 : EXIT_DIED;
}

int logs_follow(struct line *line, const struct options *options)
{
    uint64_t at = 0;
    for (time_t begun = time(NULL);;) {
        if (!show_from(line, options->plan, &at))
            return EXIT_DIED;
        if (stopped || (options->timeout && time(NULL) - begun >= (time_t)options->timeout))
            return 0;
        if (!line_rest(line, FOLLOW_MS))
            return EXIT_DIED;
    }
}
