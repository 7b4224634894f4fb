#include <cli/host.h>
#include <cli/session/logs.h>

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FOLLOW_MS  200  /* from one look at what is new to the next */
#define KEYS       30u  /* bytes of a request that types, at most: two digits each, */
#define DIGITS     74u  /* and so many digits are there for them and the VM's name */
#define ESCAPE_KEY 0x1d /* Ctrl-] */

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

/* ---- what is typed ------------------------------------------------------------ */
struct keys {
    struct termios before; /* of the terminal, if it is one */
    bool raw, ended;
    unsigned char byte[KEYS];
    size_t most, used; /* of these; that the VM has not taken yet */
    bool moves;        /* it took some of the last ones */
};

static void stop_on(int signal)
{
    (void)signal;
    logs_stop();
}

/* Nothing is typed on a console that is not open, nor in the background of a terminal. */
static bool may_type(struct line *line, const char *name)
{
    return (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) == getpgrp()) &&
           line_takes(line, host_text("type %s", name));
}

static void keys_begin(struct line *line, const char *name, struct keys *keys)
{
    static const int ends[] = {SIGHUP, SIGQUIT, SIGPIPE}; /* else the terminal would stay raw */
    struct termios raw;
    size_t most = (DIGITS - strlen(name)) / 2;
    keys->most = most < KEYS ? most : KEYS;
    keys->ended = !may_type(line, name);
    if (keys->ended || tcgetattr(STDIN_FILENO, &keys->before) != 0)
        return;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        signal(ends[i], stop_on);
    raw = keys->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON);
    keys->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    if (keys->raw)
        host_say("Ctrl-] ends it");
}

static void keys_end(const struct keys *keys)
{
    if (keys->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &keys->before);
}

/* More of what is typed, if there is some. Of a terminal it is read even if there is no room, and
 * then lost: Ctrl-] is seen, whatever the VM takes. A pipe waits. */
static void keys_read(struct keys *keys)
{
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char typed[KEYS];
    size_t room = keys->most - keys->used;
    if (keys->ended || (!room && !keys->raw) || poll(&wait, 1, 0) <= 0)
        return;
    ssize_t size = read(STDIN_FILENO, typed, keys->raw ? KEYS : room);
    keys->ended = size <= 0;
    size_t n = size > 0 ? (size_t)size : 0;
    if (keys->raw && memchr(typed, ESCAPE_KEY, n))
        logs_stop();
    n = n < room ? n : room;
    memcpy(keys->byte + keys->used, typed, n);
    keys->used += n;
}

/* Pass on what was typed, as far as the VM takes it. False after one line on stderr. */
static bool keys_pass(struct line *line, const char *name, struct keys *keys)
{
    char hex[2 * KEYS + 1] = "";
    size_t taken = 0;
    keys_read(keys);
    keys->moves = false;
    if (!keys->used || stopped)
        return true;
    for (size_t i = 0; i < keys->used; i++)
        snprintf(hex + 2 * i, 3, "%02x", keys->byte[i]);
    const char *text = line_ask(line, host_text("type %s %s", name, hex));
    if (!text || sscanf(text, "taken=%zu", &taken) != 1 || taken > keys->used)
        return false;
    keys->moves = taken != 0;
    keys->used -= taken;
    memmove(keys->byte, keys->byte + taken, keys->used);
    return true;
}

static int follow(struct line *line, const struct options *options, struct keys *keys)
{
    uint64_t at = 0;
    for (time_t begun = time(NULL);;) {
        if (!keys_pass(line, options->plan, keys) || !show_from(line, options->plan, &at))
            return EXIT_DIED;
        if (stopped || ferror(stdout) ||
            (options->timeout && time(NULL) - begun >= (time_t)options->timeout))
            return 0;
        if (!line_rest(line, keys->moves ? 1 : FOLLOW_MS))
            return EXIT_DIED;
    }
}

int logs_follow(struct line *line, const struct options *options)
{
    struct keys keys = {0};
    keys_begin(line, options->plan, &keys);
    int code = follow(line, options, &keys);
    keys_end(&keys);
    return code;
}
