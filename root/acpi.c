#include <root/acpi.h>
#include <root/console.h>
#include <root/memory.h>
#include <root/port.h>
#include <root/uart.h>
#include <lib/call.h>
#include <lib/string.h>

#define BIOS_START       0xe0000u
#define BIOS_END         0x100000u
#define HEADER           36u /* bytes of every table's header (5.2.6) */
#define ENTRIES          64u
#define GAS_IO           1u
#define KEYBOARD_COMMAND 0x64
#define PULSE_RESET      0xfe

/* The table being read, and how many of its bytes are valid; the rest is zero. */
static uint8_t table[16384];
static uint32_t length;

/* A little-endian number of 1..8 bytes; what lies past the end reads as 0: a short table lacks that field. */
static uint64_t get(uint32_t offset, uint32_t bytes)
{
    uint64_t value = 0;
    if (offset + bytes <= length)
        memcpy(&value, table + offset, bytes);
    return value;
}

static bool sum_is_zero(uint32_t bytes)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + table[i]);
    return sum == 0;
}

static bool load_bytes(uint64_t base, uint32_t bytes)
{
    length = bytes <= sizeof(table) && memory_read(base, table, bytes) ? bytes : 0;
    return length != 0;
}

static bool load_table(uint64_t base)
{
    if (load_bytes(base, HEADER)) {
        uint32_t bytes = (uint32_t)get(4, 4);
        if (bytes >= HEADER && load_bytes(base, bytes) && sum_is_zero(bytes))
            return true;
    }
    console_say("ACPI table at 0x%lx is unreadable: left out", base);
    return false;
}

static bool signature_is(const char *name) { return length >= 4 && memcmp(table, name, 4) == 0; }

/* 5.2.5.3: 20 bytes with a checksum, more from revision 2 on. */
static bool load_rsdp(uint64_t base) { return load_bytes(base, HEADER) && memcmp(table, "RSD PTR ", 8) == 0 && sum_is_zero(20); }

/* 5.2.5.1: on a 16-byte boundary of the BIOS area. */
static uint64_t find_rsdp(void)
{
    static uint8_t page[PAGE_SIZE];
    for (uint64_t base = BIOS_START; base < BIOS_END; base += PAGE_SIZE) {
        if (!memory_read(base, page, PAGE_SIZE))
            continue;
        for (uint32_t at = 0; at < PAGE_SIZE; at += 16)
            if (memcmp(page + at, "RSD PTR ", 8) == 0 && load_rsdp(base + at))
                return base + at;
    }
    return 0;
}

/* 5.2.9 */
static void read_fadt(struct acpi *acpi)
{
    enum { PM_TMR_BLK = 76, FLAGS = 112, RESET_REG = 116, RESET_VALUE = 128, X_PM_TMR_BLK = 208 };
    enum { RESET_REG_SUP = 1 << 10 };
    uint64_t flags = get(FLAGS, 4);
    acpi->pm_timer = (uint16_t)get(PM_TMR_BLK, 4);
    if (get(X_PM_TMR_BLK, 1) == GAS_IO && get(X_PM_TMR_BLK + 4, 8) != 0)
        acpi->pm_timer = (uint16_t)get(X_PM_TMR_BLK + 4, 8);
    if (flags & RESET_REG_SUP && get(RESET_REG, 1) == GAS_IO) {
        acpi->reset_port = (uint16_t)get(RESET_REG + 4, 8);
        acpi->reset_value = (uint8_t)get(RESET_VALUE, 1);
    }
}

static void add_core(struct acpi *acpi, uint64_t apic_id, uint64_t flags)
{
    if (!(flags & 1))
        return;
    for (uint32_t i = 0; i < acpi->cores; i++)
        if (acpi->apic_id[i] == apic_id)
            return;
    if (acpi->cores < MAX_CORES)
        acpi->apic_id[acpi->cores++] = (uint32_t)apic_id;
}

/* 5.2.12: local APIC (type 0) and local x2APIC (type 9) structures that are enabled. */
static void read_madt(struct acpi *acpi)
{
    for (uint32_t at = 44; at + 2 <= length && get(at + 1, 1) >= 2; at += (uint32_t)get(at + 1, 1)) {
        if (get(at, 1) == 0)
            add_core(acpi, get(at + 3, 1), get(at + 4, 4));
        else if (get(at, 1) == 9)
            add_core(acpi, get(at + 4, 4), get(at + 8, 4));
    }
}

/* PCI Firmware 3.3 4.1.2: one segment, from bus 0 on; anything else forbids assignment. */
static void read_mcfg(struct acpi *acpi)
{
    enum { FIRST = 44, SIZE = 16 };
    uint64_t base = get(FIRST, 8), odd = get(FIRST + 8, 2) | get(FIRST + 10, 1);
    if (length < FIRST + SIZE || length >= FIRST + 2 * SIZE || odd || base == 0 || base % (1u << 20)) {
        acpi->scopes.wrong = "PCI configuration space is not one segment that starts with bus 0";
        return;
    }
    acpi->ecam = base;
    acpi->buses = (uint32_t)get(FIRST + 11, 1) + 1;
}

static void read_dmar(struct acpi *acpi) { scope_read_dmar(table, length, &acpi->scopes); }
static void read_ivrs(struct acpi *acpi) { scope_read_ivrs(table, length, &acpi->scopes); }

static void read_table(uint64_t base, struct acpi *acpi)
{
    static const struct {
        const char *name;
        void (*read)(struct acpi *);
    } known[] = {{"APIC", read_madt}, {"FACP", read_fadt}, {"MCFG", read_mcfg}, {"DMAR", read_dmar}, {"IVRS", read_ivrs}};
    if (!load_table(base))
        return;
    for (uint32_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (signature_is(known[i].name))
            known[i].read(acpi);
}

/* The tables' addresses from the XSDT (5.2.8), or the RSDT (5.2.7) of an old firmware; their number. */
static uint32_t read_roots(uint64_t rsdp, uint64_t entry[ENTRIES])
{
    if (!load_rsdp(rsdp))
        return 0;
    bool extended = get(15, 1) >= 2 && get(24, 8) != 0 && sum_is_zero(HEADER);
    if (!load_table(extended ? get(24, 8) : get(16, 4)) || !signature_is(extended ? "XSDT" : "RSDT"))
        return 0;
    uint32_t width = extended ? 8 : 4, count = (length - HEADER) / width;
    for (uint32_t i = 0; i < count && i < ENTRIES; i++)
        entry[i] = get(HEADER + i * width, width);
    return count < ENTRIES ? count : ENTRIES;
}

void acpi_read(uint64_t rsdp, struct acpi *acpi)
{
    uint64_t entry[ENTRIES];
    uint32_t count = read_roots(rsdp ? rsdp : find_rsdp(), entry);
    for (uint32_t i = 0; i < count; i++)
        read_table(entry[i], acpi);
    if (count == 0)
        console_say("no ACPI tables found");
}

void acpi_reset(const struct acpi *acpi)
{
    uart_finish();
    if (acpi->reset_port)
        port_out8(acpi->reset_port, acpi->reset_value);
    port_out8(KEYBOARD_COMMAND, PULSE_RESET);
    console_say("this machine cannot be reset by software: switch it off");
    uart_finish();
    for (;;)
        sm_down(SLOT_SLEEP, 0);
}
