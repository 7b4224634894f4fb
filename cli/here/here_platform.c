#include <cli/here/here.h>
#include <cli/host.h>

#include <abi/boot.h>
#include <root/hardware/acpi_table.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_LINES 512u /* boot/memory.c */
#define COM1      0x3f8u
#define ROOT_HINT "Linux shows it to root only"

size_t here_table(const struct here *here, const char *name, void *bytes, size_t max)
{
    return here_read(here, host_text("/sys/firmware/acpi/tables/%s", name), bytes, max);
}

bool here_has_table(const struct here *here, const char *name)
{
    return here_exists(here, host_text("/sys/firmware/acpi/tables/%s", name));
}

/* ---- memory ------------------------------------------------------------------------- */

struct map {
    uint32_t lines, runs; /* of the map; of RAM, each from its first to its last address */
    uint64_t ram;         /* bytes */
};

/* The firmware's memory map, in its order, which is that of addresses. */
static struct map read_map(const struct here *here)
{
    struct map map = {0};
    uint64_t before = 0;
    for (;; map.lines++) {
        const char *entry = host_text("/sys/firmware/memmap/%u", map.lines),
                   *type = here_line(here, host_text("%s/type", entry));
        uint64_t start = here_number(here, host_text("%s/start", entry), 0),
                 end = here_number(here, host_text("%s/end", entry), 0);
        if (!type || end <= start)
            return map;
        if (strcmp(type, "System RAM") != 0)
            continue;
        map.ram += end + 1 - start;
        map.runs += map.runs == 0 || start != before;
        before = end + 1;
    }
}

/* MemTotal, where the map is not to be had: less than all RAM by what Linux took for itself. */
static uint64_t read_meminfo(const struct here *here)
{
    const char *line = here_line(here, "/proc/meminfo");
    unsigned long kib = 0;
    return line && sscanf(line, "MemTotal: %lu kB", &kib) == 1 ? kib << 10 : 0;
}

static void tell_memory(struct here *here)
{
    struct map map = read_map(here);
    uint32_t ranges = 2 * map.runs + 3; /* RAM and what is between, the local APIC, the kernel */
    here->memory = map.lines ? map.ram : read_meminfo(here);
    if (!map.lines)
        here_say(here, UNKNOWN, "memory map", ROOT_HINT);
    else if (map.lines > MAP_LINES || ranges > BOOT_RANGES)
        here_say(here, MISSING, "memory map",
                 "too fragmented: %u lines (at most %u), about %u ranges (at most %u)", map.lines,
                 MAP_LINES, ranges, BOOT_RANGES);
    else
        here_say(here, FITS, "memory map", "%lu MiB of RAM in %u pieces, %u lines", map.ram >> 20,
                 map.runs, map.lines);
}

/* ---- firmware, clock and console ---------------------------------------------------- */

static void tell_firmware(struct here *here)
{
    uint8_t secure[8];
    size_t size = here_read(
        here, "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", secure,
        sizeof(secure)); /* four bytes of attributes, then the variable (UEFI 3.3) */
    if (!here_exists(here, "/sys/firmware/efi"))
        here_say(here, FITS, "firmware", "started Linux as a BIOS does");
    else if (size < 5)
        here_say(here, UNKNOWN, "firmware", "UEFI; whether Secure Boot is on cannot be read");
    else if (secure[4])
        here_say(here, WITHOUT, "firmware",
                 "UEFI with Secure Boot on: it starts only what is signed (hairline build --efi "
                 "FILE --sign KEY CERT) by somebody whom it trusts");
    else
        here_say(here, FITS, "firmware", "UEFI, Secure Boot is off");
}

/* The PM timer, by which root measures the TSC (FADT, ACPI 5.2.9); else it asks CPUID, or the RTC.
 */
static void tell_pm_timer(struct here *here)
{
    enum { PM_TMR_BLK = 76, X_PM_TMR_BLK = 208 };
    uint8_t bytes[512];
    struct acpi_table fadt = {bytes, (uint32_t)here_table(here, "FACP", bytes, sizeof(bytes))};
    bool found = acpi_get(&fadt, PM_TMR_BLK, 4) || acpi_get(&fadt, X_PM_TMR_BLK + 4, 8);
    if (found)
        here_say(here, FITS, "ACPI PM timer", "there");
    else if (fadt.length)
        here_say(here, FITS, "ACPI PM timer",
                 "none, so the TSC's rate is what CPUID says, or measured by the RTC");
    else if (here_has_table(here, "FACP"))
        here_say(here, UNKNOWN, "ACPI PM timer", "the FADT cannot be read: " ROOT_HINT);
    else
        here_say(here, WITHOUT, "ACPI tables", "none: only the first core is found");
}

/* The 16550 that firmware's SPCR names, as root reads it (root/hardware/acpi.c); NULL: none. */
static const char *spcr(const struct here *here)
{
    enum { KIND = 36, SPACE = 40, BASE = 44, LIKE_16450 = 1, WITH_GAS = 18, PORTS = 1 };
    uint8_t bytes[128];
    struct acpi_table table = {bytes, (uint32_t)here_table(here, "SPCR", bytes, sizeof(bytes))};
    uint64_t kind = acpi_get(&table, KIND, 1), space = acpi_get(&table, SPACE, 1),
             base = acpi_get(&table, BASE, 8);
    if (!base || space > PORTS || (kind > LIKE_16450 && kind != WITH_GAS))
        return NULL;
    return host_text("%s %lXh", space == PORTS ? "port" : "address", base);
}

static void tell_serial(struct here *here)
{
    const char *named = spcr(here);
    bool is_uart = here_number(here, "/sys/class/tty/ttyS0/type", 0) != 0;
    if (named)
        here_say(here, FITS, "serial port", "the one of the firmware's console, at %s", named);
    else if (is_uart && here_number(here, "/sys/class/tty/ttyS0/port", 0) == COM1)
        here_say(here, FITS, "serial port", "COM1, at port 3F8h");
    else
        here_say(
            here, WITHOUT, "serial port",
            "none: nothing is read on it, and nobody can type; port 80h shows how far it came");
}

static void tell_tpm(struct here *here)
{
    const char *version = here_line(here, "/sys/class/tpm/tpm0/tpm_version_major");
    if (version)
        here_say(here, FITS, "TPM", "version %s: what boots by UEFI is measured into it", version);
    else
        here_say(here, WITHOUT, "TPM", "Linux has found none: nothing of what boots is measured");
}

void here_platform(struct here *here)
{
    tell_memory(here);
    tell_firmware(here);
    tell_pm_timer(here);
    tell_serial(here);
    tell_tpm(here);
}
