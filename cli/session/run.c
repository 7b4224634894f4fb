#include <cli/host.h>
#include <cli/machine/bochs.h>
#include <cli/machine/iscsi.h>
#include <cli/machine/qemu.h>
#include <cli/options.h>
#include <cli/session/console.h>
#include <cli/session/control.h>
#include <cli/session/host_line.h>
#include <cli/session/report.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ESCAPE   0x1d  /* Ctrl-]: root's key */
#define GRACE_MS 5000u /* ms for the machine to end, once it is told to or has given up */
#define HINT     "hairline: Ctrl-] h shows the keys, Ctrl-] 1 and 2 focus a VM, Ctrl-] q quits\r\n"

struct session {
    const struct options *options;
    struct machine machine;
    struct console console;
    uint64_t start, deadline; /* ms; deadline 0: none */
    struct control control;
    struct host_line host;
    bool input;      /* the terminal's bytes go to the machine */
    char focus;      /* key of the VM that gets them; '0': root does */
    char last;       /* the key before */
    bool host_ended; /* there is no more on the host system's line */
    bool in_line;    /* the machine has shown a part of a line */
    bool quit;       /* the user asked the machine to end */
};

static struct termios terminal; /* as it was, once it is raw */

static void restore_terminal(void) { tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal); }

static void raw_terminal(void)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &terminal) != 0)
        return;
    raw = terminal;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;
    atexit(restore_terminal);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
}

/* Has the host system's own console the focus? */
static bool is_at_host(const struct session *s)
{
    return s->machine.host >= 0 && s->focus == s->host.key;
}

static void end_soon(struct session *s)
{
    uint64_t end = host_now_ms() + GRACE_MS;
    if (s->deadline == 0 || end < s->deadline)
        s->deadline = end;
}

/* Where a byte that was typed goes, and as what: to the host system's console if that has the
   focus; root, which knows of no such console, is told then that it has the focus itself. */
static bool pass_byte(struct session *s, char byte)
{
    bool selects = s->last == ESCAPE, to_host = !selects && byte != ESCAPE && is_at_host(s);
    if (selects && byte == 'q' && !s->quit) {
        s->quit = true;
        end_soon(s);
    }
    if (selects && ((byte >= '0' && byte <= '9') || byte == ESCAPE))
        s->focus = byte == ESCAPE ? '0' : byte;
    if (selects && is_at_host(s))
        byte = '0';
    s->last = selects ? 0 : byte;
    return write(to_host ? s->machine.host : s->machine.input, &byte, 1) == 1;
}

/* Pass the terminal's bytes on. At Ctrl-] q root ends the machine; if root is stuck, the deadline
 * does. */
static void pass_input(struct session *s)
{
    char bytes[256];
    ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes));
    s->input = size > 0;
    for (ssize_t i = 0; i < size && s->input; i++)
        s->input = pass_byte(s, bytes[i]);
}

/* Type a command of root's, from another terminal: out of the VM that has the focus and back, in
   place of what stands half typed at root's prompt. */
static void pass_command(struct session *s, const char *command)
{
    char rubout[81] = "";
    memset(rubout, 0x7f, sizeof(rubout) - 1);
    char focus = is_at_host(s) ? '0' : s->focus; /* root's */
    const char *leave = focus == '0' ? rubout : host_text("%c0", ESCAPE);
    const char *all = host_text("%s%s\n", leave, command);
    if (focus != '0')
        all = host_text("%s%c%c", all, ESCAPE, focus);
    if (write(s->machine.input, all, strlen(all)) < 0)
        s->input = false;
}

static void serve_control(struct session *s, bool at_door)
{
    const char *command =
        at_door ? control_accept(&s->control, &s->console, s->options->batch, host_now_ms()) : NULL;
    if (command)
        pass_command(s, command);
    control_turn(&s->control, &s->console, host_now_ms());
}

/* Has the machine said that it does nothing? Then it stands still. */
static bool stands(const struct session *s) { return s->console.gave_up || s->console.refused; }

/* Has the machine said its last line, after which it would begin anew? */
static bool is_at_end(const struct session *s)
{
    return s->machine.begins_anew && (s->console.ended || stands(s));
}

/* Pass the machine's output on. False: the machine has ended. */
static bool pass_output(struct session *s)
{
    char bytes[4096];
    bool stood = stands(s);
    ssize_t size = read(s->machine.output, bytes, sizeof(bytes));
    if (size <= 0)
        return size < 0 && errno == EINTR;
    host_show(bytes, (size_t)size);
    s->in_line = bytes[size - 1] != '\n';
    console_feed(&s->console, bytes, (size_t)size, host_now_ms());
    /* A VM in focus writes its lines itself, and could say so in root's place. */
    if (stands(s) && !stood && s->focus == '0')
        end_soon(s);
    return !is_at_end(s);
}

/* When a part of a line of the host system's is to be shown, in ms (host_now_ms), as it may wait
 * for a person's answer; 0: not before it ends. Nobody answers a batch. */
static uint64_t host_due(const struct session *s)
{
    return s->options->batch ? 0 : host_line_due(&s->host);
}

/* Pass the host system's output on, and what waits of its last line. */
static void pass_host(struct session *s, bool news)
{
    char bytes[4096];
    uint64_t now = host_now_ms(), due = host_due(s);
    ssize_t size = news ? read(s->machine.host, bytes, sizeof(bytes)) : 0;
    bool stood = stands(s);
    if (size > 0)
        host_line_feed(&s->host, bytes, (size_t)size, is_at_host(s), &s->in_line, now);
    else if (due && due <= now)
        host_line_flush(&s->host, &s->in_line);
    s->host_ended |= news && size <= 0;
    if (stands(s) && !stood)
        end_soon(s);
}

/* The machine has ended: the rest of what the host system said. */
static void hear_out_host(struct session *s)
{
    while (s->machine.host >= 0 && !s->host_ended)
        pass_host(s, true);
}

/* The earlier of two times; 0: none. */
static uint64_t earlier(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

/* Pass bytes both ways until the machine ends (true), the time is over or a signal comes (false).
 */
static bool converse(struct session *s, const sigset_t *open)
{
    while (!host_caught()) {
        struct pollfd fds[] = {{s->machine.output, POLLIN, 0},
                               {s->input ? STDIN_FILENO : -1, POLLIN, 0},
                               {s->control.client < 0 ? s->control.door : -1, POLLIN, 0},
                               {s->host_ended ? -1 : s->machine.host, POLLIN, 0}};
        bool asked = s->control.client >= 0;
        uint64_t now = host_now_ms(), asks = asked ? s->control.deadline : 0,
                 end = earlier(earlier(s->deadline, asks), host_due(s)),
                 left = end > now ? end - now : 0;
        struct timespec wait = {(time_t)(left / 1000), (long)(left % 1000) * 1000000};
        if (s->deadline && s->deadline <= now)
            return false;
        bool news = ppoll(fds, 4, end ? &wait : NULL, open) > 0;
        if (s->machine.host >= 0)
            pass_host(s, news && fds[3].revents);
        if (news && fds[0].revents && !pass_output(s)) {
            hear_out_host(s);
            return true;
        }
        if (news && fds[1].revents)
            pass_input(s);
        serve_control(s, news && fds[2].revents);
    }
    return false;
}

/* The tool's exit code. `ended`: the machine ended by itself; `code`: its emulator's. */
static int judge(struct session *s, bool ended, int code)
{
    if (host_caught())
        return 128 + host_caught();
    if (!ended && !s->quit && !stands(s)) {
        host_fail("time is over: the machine was stopped after %lu s", s->options->timeout);
        console_status(&s->console, host_now_ms());
        return EXIT_TIMEOUT;
    }
    if (ended && code != 0 && !s->console.spoke) {
        machine_show_errors(&s->machine);
        host_fail("%s did not start (exit code %d): its reason is above", s->machine.emulator,
                  code);
        return EXIT_USAGE;
    }
    return console_verdict(&s->console, s->options->batch);
}

static void begin(struct session *s, sigset_t *open)
{
    /* Lost wake-up: a signal that came between a look at host_caught() and the wait would not end
       it; ppoll lets them in and waits in one step. */
    sigprocmask(SIG_SETMASK, NULL, open);
    host_hold_signals();
    signal(SIGPIPE, SIG_IGN);
    s->start = host_now_ms();
    s->deadline = s->options->timeout ? s->start + s->options->timeout * 1000 : 0;
    s->input = !s->options->batch;
    s->focus = '0';
    if (s->input && isatty(STDIN_FILENO)) {
        raw_terminal();
        if (write(STDERR_FILENO, HINT, sizeof(HINT) - 1) < 0)
            s->input = false;
    }
}

static int converse_and_judge(struct session *s)
{
    sigset_t open;
    begin(s, &open);
    bool ended = converse(s, &open);
    if (s->machine.host >= 0)
        host_line_end(&s->host, is_at_host(s), &s->in_line, host_now_ms());
    int code = judge(s, ended, machine_stop(&s->machine, !ended || is_at_end(s)));
    if (!console_close_logs(&s->console) && code == 0)
        code = EXIT_DIED;
    if (s->options->json &&
        !report_write(&s->console, s->options->json, code, host_now_ms() - s->start))
        code = EXIT_USAGE;
    return code;
}

/* What the emulated machine of a host system must have. */
static bool host_can_run(const struct job *job)
{
    const char *name = job->kept_cores ? job->plan.vm[plan_host_vm(&job->plan)].name : NULL;
    if (name && !job->uefi)
        return host_fail(
            "`%s` is a VM of `mode: host`, which UEFI firmware starts: write `machine: "
            "{firmware: uefi}` into the plan, or run it with --firmware uefi",
            name);
    if (name && !job->host_disk.path)
        return host_fail("`%s` is a VM of `mode: host` and the machine has no disk for it: write "
                         "`machine: {host: {disk: debian-disk}}` into the plan",
                         name);
    return true;
}

static bool start_machine(struct session *s, const struct job *job)
{
    const struct options *options = s->options;
    return options->intel ? bochs_start(&s->machine, job, options->args, options->batch)
                          : qemu_start(&s->machine, job, options->args);
}

int run(const struct options *options)
{
    struct session s = {.options = options, .machine.host = -1};
    static struct job job;
    job.iscsi_port = iscsi_port();
    if (!check_plan(&job, options->plan, options->batch) ||
        (options->json && !report_may_write(options->json)))
        return EXIT_USAGE;
    if (options->firmware != FIRMWARE_OF_PLAN)
        job.uefi = options->firmware == FIRMWARE_UEFI;
    if ((options->intel && !bochs_takes(&job)) || !host_can_run(&job) || !check_make_disk(&job))
        return EXIT_USAGE;
    int code = EXIT_USAGE;
    control_open(&s.control);
    bool open = console_open(&s.console, &job, options->logs);
    if (job.kept_cores)
        host_line_open(&s.host, &s.console);
    if (open && start_machine(&s, &job))
        code = converse_and_judge(&s);
    control_close(&s.control);
    machine_remove(&s.machine);
    console_close(&s.console);
    return code;
}
