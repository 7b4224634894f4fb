/*
 * What the root user of an installed system can do to the machine beneath it: every way of `ways`
 * is tried, and one line says what was seen. With words, only those ways. Where nobody keeps them
 * from it they bite, and then put back what they changed, so that they run on a bare machine, too.
 * `sleep` is only tried when it is named: such a machine sleeps then. So is `peek`, which harms
 * nobody.
 */
#include "attack.h"
#include <stdarg.h>
#include <sys/mman.h>

/* The console is opened for each line: a getty hangs the line up. */
void say(const char *name, const char *format, ...)
{
    FILE *console = fopen("/dev/console", "w");
    va_list list;
    if (!console)
        return;
    va_start(list, format);
    fprintf(console, "ATTACK %s ", name);
    vfprintf(console, format, list);
    fputc('\n', console);
    va_end(list);
    fclose(console);
}

bool put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

unsigned long get(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        text[0] = 0;
    if (fd >= 0)
        close(fd);
    return strtoul(text, NULL, 0);
}

volatile void *physical(uint64_t base, uint64_t size)
{
    int fd = open("/dev/mem", O_RDWR);
    void *at =
        fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)base);
    if (fd >= 0)
        close(fd);
    return at == MAP_FAILED ? NULL : at;
}

static const struct {
    const char *name;
    void (*go)(const char *name);
    bool only_by_name;
} ways[] = {
    {"iommu", attack_iommu, false},
    {"memory", attack_memory, false},
    {"dma", attack_dma, false},
    {"msr", attack_msrs, false},
    {"interrupts", attack_interrupts, false},
    {"chipset", attack_chipset, false},
    {"peek", attack_peek, true},
    {"sleep", attack_sleep, true},
};

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        bool named = argc == 1 && !ways[i].only_by_name;
        for (int word = 1; word < argc; word++)
            named |= strcmp(argv[word], ways[i].name) == 0;
        if (named)
            ways[i].go(ways[i].name);
    }
    say("end", "of %s", argc > 1 ? argv[1] : "all");
    return 0;
}
