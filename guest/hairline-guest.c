/*
 * hairline-guest mode | leave: how this machine runs, and the word that a
 * dedicated one is settled. A static program for any Linux guest.
 *   mode   prints shared, dedicated (it has a VMM) or disengaged (its VMM has left)
 *   leave  has the VMM leave, if the plan says `disengage: guest` or `auto`; returns when it is
 * gone. Needs root Exit codes: 0 done, 1 cannot, 2 bad usage.
 */
#include <abi/vm.h>
#include <cpuid.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#define LINE        4096
#define LOOK_US     100000u
#define PATIENCE_US 60000000u
#define SIGNATURE   "HairlineHair"
#define NAME_OPTION "hairline.name=" /* on the kernel's command line of every guest of a plan */
#define NOT_OURS    (-1)
#define DISENGAGED  (MODE_DEDICATED + 1)

static const char *const names[] = {
    [MODE_SHARED] = "shared", [MODE_DEDICATED] = "dedicated", [DISENGAGED] = "disengaged"};

static int fail(const char *why)
{
    fprintf(stderr, "hairline-guest: %s\n", why);
    return 1;
}

static bool named_by_hairline(void)
{
    char line[LINE] = "";
    FILE *f = fopen("/proc/cmdline", "r");
    if (!f)
        return false;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = 0;
    return strstr(line, NAME_OPTION) != NULL;
}

/* enum plan_mode, DISENGAGED or NOT_OURS. The leaf is the VMM's: where it is gone, so is the VMM.
 */
static int mode(void)
{
    unsigned eax, signature[3];
    __cpuid(CPUID_HAIRLINE, eax, signature[0], signature[1], signature[2]);
    if (memcmp(signature, SIGNATURE, sizeof(signature)) == 0 && eax <= MODE_DEDICATED)
        return (int)eax;
    return named_by_hairline() ? DISENGAGED : NOT_OURS;
}

static int print_mode(void)
{
    int now = mode();
    if (now == NOT_OURS)
        return fail("this is no guest of Hairline");
    puts(names[now]);
    return 0;
}

static int leave(void)
{
    int now = mode();
    if (now == DISENGAGED)
        return 0;
    if (now != MODE_DEDICATED)
        return fail("only the VMM of a dedicated guest can leave");
    if (ioperm(PORT_MODE, 1, 1) != 0)
        return fail("may not touch the port: run it as root");
    outb(1, PORT_MODE);
    for (unsigned waited = 0; mode() == MODE_DEDICATED; waited += LOOK_US) {
        if (waited >= PATIENCE_US)
            return fail("the VMM did not leave in a minute: does the plan say `disengage: never`?");
        usleep(LOOK_US);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "mode") == 0)
        return print_mode();
    if (argc == 2 && strcmp(argv[1], "leave") == 0)
        return leave();
    fputs("usage: hairline-guest mode | leave\n", stderr);
    return 2;
}
