/*
 * ACPI in memory that holds anything: RSDP, the list of tables, and tables of
 * every kind that root reads. The input says where each is and what is in it;
 * lengths and checksums are right unless it says otherwise.
 */
#include "fuzz.h"
#include <root/console/console.h>
#include <root/console/uart.h>
#include <root/hardware/acpi.h>
#include <root/memory.h>

#define BASE   0xe0000u
#define SIZE   0x10000u
#define TABLES 8u
#define FIRST  0x1000u /* of the tables, in steps of STEP */
#define STEP   0x1000u

static uint8_t memory[SIZE];

void fuzz_begin(void) {}
void console_say(const char *fmt, ...) { (void)fmt; }
void uart_finish(void) {}

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    if (size > SIZE || base < BASE || base - BASE > SIZE - size)
        return BAD_ARG;
    memcpy(to, memory + (base - BASE), size);
    return OK;
}

static void put(uint32_t at, uint64_t value, size_t bytes) { memcpy(memory + at, &value, bytes); }

static void fix_sum(uint32_t at, uint32_t size, uint32_t sum_at)
{
    uint8_t sum = 0;
    memory[at + sum_at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + sum_at] = (uint8_t)-sum;
}

static void put_table(struct feed *f, uint32_t at)
{
    static const char names[][5] = {"APIC", "FACP", "MCFG", "DMAR", "IVRS", "XSDT", "RSDT", "SPCR"};
    uint8_t kind = feed_8(f), how = feed_8(f);
    uint32_t size = 36 + feed_16(f) % (STEP - 36);
    feed_bytes(f, memory + at + 36, f->left < size - 36 ? f->left : size - 36);
    memcpy(memory + at, names[kind % 8], 4);
    put(at + 4, how & 1 ? (uint32_t)feed_value(f) : size, 4);
    if (!(how & 2))
        fix_sum(at, size, 9);
}

/* `lists`: bytes of an entry of the list, 4 or 8. */
static void put_roots(struct feed *f, uint32_t tables)
{
    uint8_t how = feed_8(f);
    uint32_t wide = how & 1 ? 8 : 4, list = 0x200, count = how & 2 ? feed_8(f) : tables;
    memcpy(memory + list, how & 1 ? "XSDT" : "RSDT", 4);
    put(list + 4, 36 + count * wide, 4);
    for (uint32_t i = 0; i < count && list + 36 + (i + 1) * wide < FIRST; i++)
        put(list + 36 + i * wide,
            how & 4 && feed_8(f) & 1 ? feed_value(f) : BASE + FIRST + i % TABLES * STEP, wide);
    fix_sum(list, 36 + count * wide, 9);
    memcpy(memory + 0x20, "RSD PTR ", 8);
    memory[0x20 + 15] = how & 1 ? 2 : 0;
    put(0x20 + 16, BASE + list, 4);
    put(0x20 + 24, how & 1 ? BASE + list : 0, 8);
    fix_sum(0x20, 20, 8);
    fix_sum(0x20, 36, 32);
}

static void check(const struct acpi *a)
{
    fuzz_must(a->cores <= MAX_CORES, "no more cores than the list has room for");
    for (uint32_t i = 0; i < a->cores; i++)
        for (uint32_t other = 0; other < i; other++)
            fuzz_must(a->apic_id[i] != a->apic_id[other], "a core is there once");
    fuzz_must(a->ecam % (1u << 20) == 0 && a->buses <= 256 && !a->ecam == !a->buses,
              "configuration space is whole buses");
    fuzz_must(a->serial.base % (8 * (a->serial.stride ? a->serial.stride : 1)) == 0 &&
                  (a->serial.memory || a->serial.base <= 0xfff8),
              "the serial port is in one page, or in the I/O space");
    fuzz_must(a->scopes.units <= MAX_IOMMUS && a->scopes.scopes <= SCOPES,
              "the lists of IOMMUs are within their sizes");
}

static bool same(const struct acpi *a, const struct acpi *b)
{
    return a->cores == b->cores && memcmp(a->apic_id, b->apic_id, sizeof a->apic_id) == 0 &&
           a->pm_timer == b->pm_timer && a->reset_port == b->reset_port &&
           a->reset_value == b->reset_value &&
           memcmp(&a->serial, &b->serial, sizeof a->serial) == 0 && a->ecam == b->ecam &&
           a->buses == b->buses && a->scopes.wrong == b->scopes.wrong &&
           a->scopes.units == b->scopes.units && a->scopes.scopes == b->scopes.scopes &&
           memcmp(a->scopes.scope, b->scopes.scope, sizeof a->scopes.scope) == 0;
}

/* What was read before, which lies where the next table is copied to, must not matter. */
static void read_after(uint8_t byte, struct acpi *a)
{
    static uint8_t kept[SIZE];
    struct acpi before;
    memcpy(kept, memory, SIZE);
    memset(memory, byte, SIZE);
    put(FIRST + 4, 0x3ff0, 4);
    memcpy(memory + 0x40, "RSD PTR ", 8);
    memset(memory + 0x40 + 8, 0, 28);
    put(0x40 + 16, BASE + FIRST, 4);
    fix_sum(0x40, 20, 8);
    fix_sum(FIRST, 0x3ff0, 9);
    memset(&before, 0, sizeof before);
    acpi_read(BASE + 0x40, &before);
    memcpy(memory, kept, SIZE);
    memset(a, 0, sizeof *a);
    acpi_read(0, a);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    static struct acpi a, b;
    memset(memory, 0, SIZE);
    uint32_t tables = 1 + feed_8(&f) % (TABLES - 1);
    put_roots(&f, tables);
    for (uint32_t i = 0; i < tables; i++)
        put_table(&f, FIRST + i * STEP);
    read_after(0, &a);
    check(&a);
    read_after(0xff, &b);
    fuzz_must(same(&a, &b), "nothing is read past the end of a table");
}
