/*
 * The first process of a benchmark guest: tells when it started, then does
 * what `bench=` on the kernel's command line says, and powers off.
 *   boot  writes that moment to the exit port, before anything else
 *   off   nothing more
 *   idle  sleeps IDLE_SECONDS
 *   mix   gzip and sha256sum of DATA_BYTES of text, then EXECS times fork and exec
 *   work  the same, touched pages, and short sleeps
 * Lines: bench name=NAME ticks=N, in TSC ticks; boot: since power-on. With `alone=` of a dedicated
 * VM, the VMM is asked to leave first, and what `work` took is written to the exit port: there is
 * nobody else to tell.
 */
#include <fcntl.h>
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLE_SECONDS 10
#define EXIT_PORT    0xf4
#define COM1         0x3f8
#define DATA_BYTES   (6u << 20)
#define EXECS        200
#define TOUCHES      4
#define TOUCH_BYTES  (16u << 20)
#define WAKEUPS      100
#define PORT_MODE    0x610 /* abi/vm.h: 1: the VMM may leave */
#define ALONE_IDLE   60    /* seconds */

static uint64_t rdtsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* By the port itself: a console or an open tty without interrupts would be polled for ever. */
static void say(const char *text)
{
    for (; *text; text++) {
        while (!(inb(COM1 + 5) & 0x20))
            ;
        outb((unsigned char)*text, COM1);
    }
}

static void report(const char *name, uint64_t ticks)
{
    char line[80];
    snprintf(line, sizeof(line), "bench name=%s ticks=%llu\r\n", name, (unsigned long long)ticks);
    say(line);
}

/* Run a busybox applet on /data, its output to a file in memory. */
static void command(const char *applet, const char *option)
{
    pid_t child = fork();
    if (child == 0) {
        dup2(open("/out", O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
        execl("/busybox", applet, option, "/data", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        say("bench: a command failed\r\n");
}

/* Text of a few hundred different words. */
static void make_data(void)
{
    FILE *data = fopen("/data", "w");
    uint64_t state = 88172645463325252u;
    for (uint32_t n = 0; data && n < DATA_BYTES; n += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        fprintf(data, "%07u%c", (uint32_t)(state % 509) * 20011u, n % 64 ? ' ' : '\n');
    }
    if (data)
        fclose(data);
}

/* The leaf by which a VMM tells who it is goes with it. */
static int vmm_is_there(void)
{
    uint32_t a, b, c, d;
    __cpuid(0x4000001f, a, b, c, d);
    return b == 0x72696148; /* "Hair" */
}

static void leave(void)
{
    outb(1, PORT_MODE);
    while (vmm_is_there())
        usleep(10000);
    sleep(1); /* its domain is destroyed */
}

/* A page fault for each page. */
static void touch(void)
{
    for (int i = 0; i < TOUCHES; i++) {
        char *page =
            mmap(NULL, TOUCH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (uint32_t at = 0; at < TOUCH_BYTES; at += 4096)
            *(volatile char *)(page + at) = 1;
        munmap(page, TOUCH_BYTES);
    }
}

static uint64_t work(void)
{
    make_data();
    uint64_t start = rdtsc();
    command("gzip", "-c");
    command("sha256sum", "--");
    for (int i = 0; i < EXECS; i++)
        command("true", "--");
    touch();
    for (int i = 0; i < WAKEUPS; i++)
        usleep(1000);
    return rdtsc() - start;
}

static void mix(void)
{
    make_data();
    uint64_t start = rdtsc();
    command("gzip", "-c");
    command("sha256sum", "--");
    uint64_t middle = rdtsc();
    for (int i = 0; i < EXECS; i++)
        command("true", "--");
    uint64_t end = rdtsc();
    report("mix", end - start);
    report("execs", end - middle);
}

int main(void)
{
    uint64_t start = rdtsc();
    const char *what = getenv("bench");
    if (!what || iopl(3) < 0)
        return 1;
    if (strcmp(what, "boot") == 0)
        outl((uint32_t)start, EXIT_PORT); /* a VM ends here */
    int alone = getenv("alone") != NULL;
    if (alone)
        leave();
    else
        report("boot", start);
    if (strcmp(what, "idle") == 0)
        sleep(alone ? ALONE_IDLE : IDLE_SECONDS);
    uint64_t took = strcmp(what, "work") == 0 ? work() : 0;
    if (alone)
        outl((uint32_t)took, EXIT_PORT);
    report("work", took);
    if (strcmp(what, "mix") == 0)
        mix();
    reboot(RB_POWER_OFF);
    return 1;
}
