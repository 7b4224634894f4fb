#include <cli/host.h>
#include <cli/image/boot_entry.h>
#include <cli/image/slots.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LABEL        "Hairline, other slot"
#define NO_VARIABLES 2 /* efibootmgr's exit code */

/* Run it with its output in `log`, and that alone. */
static int manager(const char *log, const char *const argv[])
{
    unlink(log);
    return host_run_into(log, argv);
}

/* What efibootmgr itself said last, for a message. */
static bool manager_fail(const char *log, const char *what)
{
    char line[256] = "";
    FILE *file = fopen(log, "re");
    while (file && fgets(line, sizeof(line), file))
        ;
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = 0;
    return host_fail("efibootmgr cannot %s: %s", what, line[0] ? line : "it did not say why");
}

/* The disk and the number of the partition that is mounted at `esp` (sysfs: partition). */
static bool find_partition(struct boot_entry *entry, const char *esp)
{
    struct stat here, above;
    char target[256];
    if (stat(esp, &here) != 0 || stat(host_text("%s/..", esp), &above) != 0 ||
        here.st_dev == above.st_dev)
        return false;
    const char *block = host_text("/sys/dev/block/%u:%u", major(here.st_dev), minor(here.st_dev));
    ssize_t size = readlink(block, target, sizeof(target) - 1);
    FILE *file = fopen(host_text("%s/partition", block), "re");
    bool read = file && fscanf(file, "%u", &entry->part) == 1;
    if (file)
        fclose(file);
    target[size > 0 ? size : 0] = 0;
    char *slash = strrchr(target, '/'); /* .../DISK/PARTITION */
    if (!read || !slash)
        return false;
    *slash = 0;
    const char *disk = strrchr(target, '/');
    return disk &&
           (size_t)snprintf(entry->disk, sizeof(entry->disk), "/dev%s", disk) < sizeof(entry->disk);
}

/* Lines `Boot0003* LABEL...` and `BootNext: 0003` of what efibootmgr shows. */
static void read_entries(struct boot_entry *entry, const char *log)
{
    char line[1024], next[5] = "", number[5], rest[128];
    FILE *file = fopen(log, "re");
    entry->ours[0] = 0;
    while (file && fgets(line, sizeof(line), file)) {
        sscanf(line, "BootNext: %4[0-9A-Fa-f]", next);
        if (sscanf(line, "Boot%4[0-9A-F]%*1[* ] %127[^\t\n]", number, rest) == 2 &&
            strncmp(rest, LABEL, strlen(LABEL)) == 0)
            memcpy(entry->ours, number, sizeof(number));
    }
    if (file)
        fclose(file);
    entry->is_next = entry->ours[0] && strcasecmp(entry->ours, next) == 0;
}

bool boot_entry_look(struct boot_entry *entry, const char *esp, const char *log)
{
    const char *show[] = {"efibootmgr", NULL};
    int code = manager(log, show);
    *entry = (struct boot_entry){.have = code == 0};
    if (code == NO_VARIABLES)
        return true;
    if (code == 127)
        return host_fail("efibootmgr is missing: install it, or let ./hairline do it");
    if (code != 0)
        return manager_fail(log, "show the boot entries");
    read_entries(entry, log);
    if (find_partition(entry, esp))
        return true;
    return host_fail("%s is not where a partition is mounted: mount the stick's second one, and "
                     "name that folder",
                     esp);
}

bool boot_entry_forget(struct boot_entry *entry, const char *log)
{
    const char *show[] = {"efibootmgr", NULL}, *not_next[] = {"efibootmgr", "-q", "-N", NULL},
               *drop[] = {"efibootmgr", "-q", "-B", "-b", entry->ours, NULL};
    if (entry->is_next && manager(log, not_next) != 0)
        return manager_fail(log, "clear what firmware starts next");
    while (entry->ours[0]) {
        if (manager(log, drop) != 0)
            return manager_fail(log, "take an old boot entry away");
        if (manager(log, show) != 0)
            return manager_fail(log, "show the boot entries");
        read_entries(entry, log);
    }
    return true;
}

bool boot_entry_try(struct boot_entry *entry, const char *log)
{
    const char *part = host_text("%u", entry->part);
    const char *make[] = {"efibootmgr", "-C",  "-d", entry->disk, "-p", part,
                          "-L",         LABEL, "-l", SLOTS_OTHER, NULL};
    const char *next[] = {"efibootmgr", "-q", "-n", entry->ours, NULL};
    if (manager(log, make) != 0)
        return manager_fail(log, "make a boot entry");
    read_entries(entry, log);
    if (!entry->ours[0])
        return manager_fail(log, "make a boot entry");
    if (manager(log, next) != 0)
        return manager_fail(log, "set what firmware starts next");
    return true;
}
