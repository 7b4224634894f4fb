#include <cli/host.h>
#include <cli/session/line.h>
#include <cli/session/pages.h>
#include <cli/session/report.h>
#include <abi/vm.h>

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

/* hvc0 is the console: Linux numbers them in the order of their slots. */
#define LINE_DEVICE "/dev/hvc1"
#define ANSWER_MS   10000
#define TAKE_MS     5000u  /* for another user of the line to end or to rest */
#define END_MS      10000u /* for a VM that was stopped to have ended */
#define LOOK_US     20000
#define NO_LINE     "has this VM a control line (`control: own` or `all` in its plan)?"
#define EVENTS      256u /* that wait while an answer is awaited; older ones are dropped */

struct line {
    struct pages pages;             /* in a VM only their device is there: `at` is NULL */
    char bytes[2 * CONTROL_ANSWER]; /* heard, and not yet a line */
    size_t used;
    char text[CONTROL_ANSWER + 1]; /* the last line */
    char *event[EVENTS];
    unsigned events;
};

static bool is_vm(void)
{
    unsigned words[4];
    __cpuid(CPUID_HAIRLINE, words[0], words[1], words[2], words[3]);
    return memcmp(words + 1, "HairlineHair", 12) == 0;
}

bool line_is_inside(void)
{
    struct pages pages;
    if (is_vm())
        return true;
    bool is = pages_open(&pages);
    pages_close(&pages);
    return is;
}

/* ---- bytes -------------------------------------------------------------------------- */
/* Some of them, until the time `until` (host_now_ms); 0: none came. */
static size_t line_read(const struct line *line, char *to, size_t size, uint64_t until)
{
    uint64_t now = host_now_ms();
    struct pollfd wait = {.fd = line->pages.fd, .events = POLLIN};
    if (line->pages.at)
        return pages_read(&line->pages, to, size, until);
    if (poll(&wait, 1, until > now ? (int)(until - now) : 0) <= 0)
        return 0;
    ssize_t n = read(line->pages.fd, to, size);
    return n > 0 ? (size_t)n : 0;
}

static bool line_write(const struct line *line, const char *text)
{
    if (line->pages.at)
        return pages_write(&line->pages, text, host_now_ms() + ANSWER_MS);
    return write(line->pages.fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* The first line of what was heard, to line->text; false: there is no whole one yet. */
static bool cut(struct line *line)
{
    const char *end = memchr(line->bytes, '\n', line->used);
    if (!end && line->used < sizeof(line->bytes))
        return false;
    size_t size = end ? (size_t)(end - line->bytes) : line->used, next = size + (end != NULL);
    size_t kept = size < sizeof(line->text) ? size : sizeof(line->text) - 1;
    memcpy(line->text, line->bytes, kept);
    line->text[kept] = 0;
    memmove(line->bytes, line->bytes + next, line->used - next);
    line->used -= next;
    return true;
}

/* The next line, until the time `until` (host_now_ms); NULL: none came. */
static char *line_hear(struct line *line, uint64_t until)
{
    while (!cut(line)) {
        size_t size =
            line_read(line, line->bytes + line->used, sizeof(line->bytes) - line->used, until);
        if (!size)
            return NULL;
        line->used += size;
    }
    return line->text;
}

static void keep_event(struct line *line, const char *text)
{
    if (line->events == EVENTS) {
        free(line->event[0]);
        memmove(line->event, line->event + 1, sizeof(line->event) - sizeof(line->event[0]));
        line->events--;
    }
    line->event[line->events++] = strdup(text);
}

/* The answer to the request that was sent: `ok...` or `error...`; NULL: none. */
static const char *hear_answer(struct line *line)
{
    for (uint64_t until = host_now_ms() + ANSWER_MS;;) {
        const char *text = line_hear(line, until);
        if (!text || strncmp(text, "event ", 6) != 0)
            return text;
        keep_event(line, text + 6);
    }
}

static bool line_say(const struct line *line, const char *request)
{
    return line_write(line, request) && line_write(line, "\n");
}

/* All of the answer; NULL: none. */
static const char *line_answer(struct line *line, const char *request)
{
    return line_say(line, request) ? hear_answer(line) : NULL;
}

const char *line_ask(struct line *line, const char *request)
{
    const char *text = line_answer(line, request);
    if (text && strncmp(text, "ok", 2) == 0)
        return text + (text[2] == ' ' ? 3 : 2);
    if (text && strncmp(text, "error ", 6) == 0)
        host_fail("%s", text + 6);
    else
        host_fail("no answer on %s", line->pages.device);
    return NULL;
}

bool line_takes(struct line *line, const char *request)
{
    const char *text = line_answer(line, request);
    return text && strncmp(text, "ok", 2) == 0;
}

/* Lines of an earlier user may still come, and an echo of them from before the line was made raw:
   ours is known by its number. */
static bool sync_up(struct line *line)
{
    const char *mine = host_text("%d", (int)getpid());
    if (!line_say(line, host_text("\nevents off\nsync %s", mine)))
        return false;
    for (uint64_t until = host_now_ms() + ANSWER_MS;;) {
        const char *text = line_hear(line, until);
        if (!text)
            return false;
        if (strncmp(text, "ok ", 3) == 0 && strcmp(text + 3, mine) == 0)
            return true;
    }
}

static bool make_raw(const struct line *line)
{
    struct termios raw;
    if (line->pages.at)
        return true;
    if (tcgetattr(line->pages.fd, &raw) != 0)
        return false;
    cfmakeraw(&raw);
    return tcsetattr(line->pages.fd, TCSAFLUSH, &raw) == 0;
}

/* The line for ourselves: whoever has it is waited for. */
static bool line_take(struct line *line)
{
    uint64_t until = host_now_ms() + TAKE_MS;
    while (flock(line->pages.fd, LOCK_EX | LOCK_NB) != 0) {
        if (host_now_ms() >= until)
            return host_fail("another hairline has %s: wait until it ends", line->pages.device);
        usleep(LOOK_US);
    }
    return true;
}

/* A line that is ours, and whose next answer is to our next request. */
static bool line_begin(struct line *line)
{
    if (!line_take(line))
        return false;
    if (line->pages.at)
        pages_drop(&line->pages);
    if (!make_raw(line))
        return host_fail("%s: %s", line->pages.device, strerror(errno));
    if (sync_up(line))
        return true;
    return host_fail("no answer on %s; " NO_LINE, line->pages.device);
}

bool line_rest(struct line *line, unsigned ms)
{
    flock(line->pages.fd, LOCK_UN);
    usleep(ms * 1000);
    line->used = 0;
    return line_begin(line);
}

/* By a VM's device, or an installed system's pages; false after one line on stderr. */
static bool line_connect(struct line *line)
{
    if (!is_vm() && pages_open(&line->pages)) {
        if (line->pages.at)
            return true;
        return host_fail(
            "Hairline is beneath this system, but %s gives no access to its pages: %s; "
            "the module `hairline` does, once it is loaded",
            line->pages.device, strerror(errno));
    }
    line->pages = (struct pages){.device = LINE_DEVICE,
                                 .fd = open(LINE_DEVICE, O_RDWR | O_NOCTTY | O_CLOEXEC)};
    if (line->pages.fd >= 0)
        return true;
    return host_fail("%s: %s; " NO_LINE, LINE_DEVICE, strerror(errno));
}

struct line *line_open(void)
{
    struct line *line = calloc(1, sizeof(*line));
    if (line_connect(line) && line_begin(line))
        return line;
    line_close(line);
    return NULL;
}

void line_close(struct line *line)
{
    pages_close(&line->pages);
    for (unsigned i = 0; i < line->events; i++)
        free(line->event[i]);
    free(line);
}

const char *line_state(struct line *line, const char *name)
{
    const char *text = line_ask(line, host_text("vm %s", name));
    struct json_object *vm = json_object_new_object();
    report_parse(vm, text ? text : "");
    const char *state = text ? host_text("%s", report_word(vm, "state")) : NULL;
    json_object_put(vm);
    return state;
}

bool line_leaves(struct line *line, const char *name, const char *state, unsigned ms)
{
    for (uint64_t until = host_now_ms() + ms; host_now_ms() < until; usleep(LOOK_US)) {
        const char *now = line_state(line, name);
        if (!now || strcmp(now, state) != 0)
            return now;
    }
    return host_fail("%s is still %s", name, state);
}

bool line_ended(struct line *line, const char *name)
{
    return line_leaves(line, name, "ending", END_MS);
}

const char *line_event(struct line *line, int ms)
{
    if (line->events) {
        snprintf(line->text, sizeof(line->text), "%s", line->event[0]);
        free(line->event[0]);
        line->events--;
        memmove(line->event, line->event + 1, line->events * sizeof(line->event[0]));
        return line->text;
    }
    const char *text = line_hear(line, host_now_ms() + (uint64_t)ms);
    return text && strncmp(text, "event ", 6) == 0 ? text + 6 : NULL;
}

struct json_object *line_look(struct line *line)
{
    struct json_object *all = json_object_new_object(), *vms = report_group(all, "vms"), *count;
    const char *text = line_ask(line, "machine");
    if (text)
        report_parse(report_group(all, "machine"), text);
    bool good = text && json_object_object_get_ex(report_group(all, "machine"), "vms", &count);
    for (int64_t i = 1; good && i <= json_object_get_int64(count); i++) {
        struct json_object *vm = json_object_new_object();
        char request[16];
        snprintf(request, sizeof(request), "vm #%d", (int)i);
        text = line_ask(line, request);
        report_parse(vm, text ? text : "");
        json_object_object_add(vms, report_word(vm, "name"), vm);
        good = text != NULL;
    }
    if (good)
        return all;
    json_object_put(all);
    return NULL;
}
