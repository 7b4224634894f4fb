#include <cli/host.h>

#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The folder `levels` above the tool's own file. */
static void tool_folder(char folder[PATH_MAX], int levels)
{
    ssize_t size = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[size > 0 ? size : 0] = 0;
    while (levels-- > 0) {
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

static void say(const char *format, va_list args)
{
    fputs("hairline: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
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

char *const *host_argv(const char *const argv[]) { return (char *const *)(uintptr_t)argv; }

int host_run(const char *const argv[])
{
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, host_argv(argv), environ) != 0 || waitpid(pid, &status, 0) != pid)
        return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 127;
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
