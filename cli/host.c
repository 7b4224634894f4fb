#include <cli/host.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Set `folder` to the folder `levels` above the tool's own file. */
static void tool_folder(char folder[PATH_MAX], int levels)
{
    ssize_t size = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[size > 0 ? size : 0] = 0;
    for (; levels > 0; levels--) {
        char *slash = strrchr(folder, '/');
        if (slash)
            *slash = 0;
    }
}

const char *host_images(void)
{
    char folder[PATH_MAX];
    tool_folder(folder, 1);
    return host_text("%s", folder);
}

const char *host_image(const char *name) { return host_text("%s/%s", host_images(), name); }

const char *host_source(const char *name)
{
    char folder[PATH_MAX];
    const char *home = getenv("HAIRLINE_HOME");
    tool_folder(folder, 2);
    return host_text("%s/%s", home ? home : folder, name);
}

bool host_may_write(const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0 || S_ISREG(status.st_mode))
        return true;
    return host_fail("%s is a device, a folder or a link: name a file", path);
}

static void say(const char *format, va_list args)
{
    fputs("hairline: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void host_show(const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t part = write(STDOUT_FILENO, bytes + done, size - done);
        if (part <= 0)
            return;
        done += (size_t)part;
    }
}

void host_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

bool host_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    return false;
}

uint64_t host_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- signals ------------------------------------------------------------------ */

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static volatile sig_atomic_t caught;

static void on_signal(int signal) { caught = signal; }

void host_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        sigaction(ending[i], &action, NULL);
}

int host_caught(void) { return caught; }

bool host_goes_on(void)
{
    if (caught)
        errno = EINTR;
    return !caught;
}

void host_hold_signals(void)
{
    sigset_t held;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        sigaddset(&held, ending[i]);
    sigprocmask(SIG_BLOCK, &held, NULL);
}

/* ---- programs and texts --------------------------------------------------------- */

char *const *host_argv(const char *const argv[]) { return (char *const *)(uintptr_t)argv; }

static int spawn_and_wait(const char *const argv[], const posix_spawn_file_actions_t *actions)
{
    pid_t pid;
    int status;
    if (!host_goes_on() ||
        posix_spawnp(&pid, argv[0], actions, NULL, host_argv(argv), environ) != 0)
        return 127;
    pid_t gone = waitpid(pid, &status, 0);
    while (gone < 0 && errno == EINTR) {
        kill(pid, SIGTERM);
        gone = waitpid(pid, &status, 0);
    }
    return gone == pid && WIFEXITED(status) && !caught ? WEXITSTATUS(status) : 127;
}

int host_run(const char *const argv[]) { return spawn_and_wait(argv, NULL); }

int host_run_into(const char *log, const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    int code = spawn_and_wait(argv, &actions);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

const char *host_text(const char *format, ...)
{
    static struct text {
        struct text *next;
        char *bytes;
    } * all;
    va_list args;
    struct text *text = malloc(sizeof(*text));
    va_start(args, format);
    if (!text || vasprintf(&text->bytes, format, args) < 0)
        abort();
    va_end(args);
    text->next = all;
    all = text;
    return text->bytes;
}
