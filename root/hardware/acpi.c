#include <root/console/console.h>
#include <root/console/uart.h>
#include <root/hardware/acpi.h>
#include <root/hardware/acpi_table.h>
#include <root/hardware/port.h>
#include <root/memory.h>
#include <lib/bell.h>

#define BIOS_START       0xe0000u
#define BIOS_END         0x100000u
#define HEADER           36u /* bytes of every table's header (5.2.6) */
#define ENTRIES          128u
#define GAS_MEMORY       0u
#define GAS_IO           1u
#define RESET_CONTROL    0xcf9 /* of Intel's chipsets since 1996, and of AMD's */
#define RESET_ALL        2u    /* not the processor alone */
#define RESET_BEGIN      4u    /* when it rises */
#define KEYBOARD_COMMAND 0x64
#define PULSE_RESET      0xfe

/* The table being read: one at a time, a copy. */
static uint8_t buffer[65536];
static struct acpi_table table = {buffer, 0};

static bool sum_is_zero(uint32_t bytes)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + buffer[i]);
    return sum == 0;
}

static bool load_bytes(uint64_t base, uint32_t bytes)
{
    table.length = bytes <= sizeof(buffer) && memory_read(base, buffer, bytes) == OK ? bytes : 0;
    return table.length != 0;
}

static bool unreadable(uint64_t base)
{
    console_say("ACPI table at 0x%lx is unreadable: left out", base);
    return false;
}

/* Of a table of which the header is loaded, all. */
static bool load_rest(uint64_t base)
{
    uint32_t bytes = (uint32_t)acpi_get(&table, 4, 4);
    return (bytes >= HEADER && load_bytes(base, bytes) && sum_is_zero(bytes)) || unreadable(base);
}

static bool load_header(uint64_t base) { return load_bytes(base, HEADER) || unreadable(base); }

/* RSDP (5.2.5.3): 20 bytes with a checksum of their own; revision 2 has more behind them. */
static bool load_rsdp(uint64_t base)
{
    return load_bytes(base, HEADER) && memcmp(buffer, "RSD PTR ", 8) == 0 && sum_is_zero(20);
}

/* RSDP search (5.2.5.1): on 16-byte boundaries of the BIOS area. Its physical address; 0: none. */
static uint64_t find_rsdp(void)
{
    static uint8_t page[PAGE_SIZE];
    for (uint64_t base = BIOS_START; base < BIOS_END; base += PAGE_SIZE) {
        if (memory_read(base, page, PAGE_SIZE) != OK)
            continue;
        for (uint32_t at = 0; at < PAGE_SIZE; at += 16)
            if (memcmp(page + at, "RSD PTR ", 8) == 0 && load_rsdp(base + at))
                return base + at;
    }
    return 0;
}

/* A block of registers that the FADT names twice: the I/O port; 0: there is none, it is in memory,
   or the names differ. */
static uint16_t fadt_port(uint32_t port, uint32_t gas)
{
    uint64_t base = acpi_get(&table, gas + 4, 8), old = acpi_get(&table, port, 4);
    bool other = base > 0xffff || (old && old != base) || acpi_get(&table, gas, 1) != GAS_IO;
    if (base && other)
        return 0;
    return (uint16_t)(base ? base : old);
}

/* FADT (5.2.9): PM timer, reset register and PM1 control, where they are I/O ports. */
static void read_fadt(struct acpi *acpi)
{
    enum { PM_TMR_BLK = 76, FLAGS = 112, RESET_REG = 116, RESET_VALUE = 128, X_PM_TMR_BLK = 208 };
    enum { RESET_REG_SUP = 1 << 10, DSDT = 40, X_DSDT = 140 };
    enum { PM1A = 64, PM1B = 68, X_PM1A = 172, X_PM1B = 184, SLEEP_CONTROL = 244 };
    uint64_t flags = acpi_get(&table, FLAGS, 4), dsdt = acpi_get(&table, X_DSDT, 8);
    acpi->place[ACPI_DSDT].base = dsdt ? dsdt : acpi_get(&table, DSDT, 4);
    acpi->pm_timer = fadt_port(PM_TMR_BLK, X_PM_TMR_BLK);
    bool more = acpi_get(&table, PM1B, 4) || acpi_get(&table, X_PM1B + 4, 8) ||
                acpi_get(&table, SLEEP_CONTROL + 4, 8);
    acpi->sleep_port = more ? 0 : fadt_port(PM1A, X_PM1A);
    if (flags & RESET_REG_SUP && acpi_get(&table, RESET_REG, 1) == GAS_IO) {
        acpi->reset_port = (uint16_t)acpi_get(&table, RESET_REG + 4, 8);
        acpi->reset_value = (uint8_t)acpi_get(&table, RESET_VALUE, 1);
    }
}

static void add_core(struct acpi *acpi, uint64_t apic_id, uint64_t flags)
{
    if (!(flags & 1))
        return;
    for (uint32_t i = 0; i < acpi->cores; i++)
        if (acpi->apic_id[i] == apic_id)
            return;
    if (acpi->cores == MAX_CORES)
        acpi->more_cores = true;
    else
        acpi->apic_id[acpi->cores++] = (uint32_t)apic_id;
}

/* MADT (5.2.12): structures of local APICs (type 0) and local x2APICs (type 9) that are enabled. */
static void read_madt(struct acpi *acpi)
{
    for (uint32_t at = 44; at + 2 <= table.length && acpi_get(&table, at + 1, 1) >= 2;
         at += (uint32_t)acpi_get(&table, at + 1, 1)) {
        if (acpi_get(&table, at, 1) == 0)
            add_core(acpi, acpi_get(&table, at + 3, 1), acpi_get(&table, at + 4, 4));
        else if (acpi_get(&table, at, 1) == 9)
            add_core(acpi, acpi_get(&table, at + 4, 4), acpi_get(&table, at + 8, 4));
    }
}

/* One entry of MCFG, at byte `at`: of segment 0 the place; of another one only that it is there.
 * What forbids assignment, or NULL. */
static const char *read_mcfg_entry(struct acpi *acpi, uint32_t at)
{
    uint64_t base = acpi_get(&table, at, 8), segment = acpi_get(&table, at + 8, 2),
             first = acpi_get(&table, at + 10, 1);
    if (segment && acpi->segments == SEGMENTS)
        return "the machine has more PCI segments than Hairline can watch";
    if (segment) {
        acpi->segment[acpi->segments++] = (uint16_t)segment;
        return 0;
    }
    if (acpi->ecam || first || base == 0 || base % (1u << 20))
        return "PCI configuration space of segment 0 is not one piece that starts with bus 0";
    acpi->ecam = base;
    acpi->buses = (uint32_t)acpi_get(&table, at + 11, 1) + 1;
    return 0;
}

/* MCFG (PCI Firmware 3.3 4.1.2). */
static void read_mcfg(struct acpi *acpi)
{
    enum { FIRST = 44, SIZE = 16 };
    for (uint32_t at = FIRST; at + SIZE <= table.length && !acpi->scopes.wrong; at += SIZE)
        acpi->scopes.wrong = read_mcfg_entry(acpi, at);
}

/* SPCR (Microsoft's Serial Port Console Redirection Table 4): the UART of the firmware's console.
 * What is no 16550, or has 16-bit accesses, is left out. */
static void read_spcr(struct acpi *acpi)
{
    enum { KIND = 36, SPACE = 40, WIDTH, ACCESS = 43, BASE, RATE = 58 };
    enum { FULL_16550 = 0, LIKE_16450, WITH_GAS = 18 };
    static const uint8_t divisor[] = {[3] = 12, [4] = 6, [6] = 2, [7] = 1}; /* 9600 to 115200 */
    uint64_t kind = acpi_get(&table, KIND, 1), space = acpi_get(&table, SPACE, 1),
             base = acpi_get(&table, BASE, 8), rate = acpi_get(&table, RATE, 1);
    bool memory = space == GAS_MEMORY,
         wide = memory && acpi_get(&table, WIDTH, 1) == 32 && acpi_get(&table, ACCESS, 1) != 1;
    if ((kind > LIKE_16450 && kind != WITH_GAS) ||
        (!memory && (space != GAS_IO || base > 0xfff8)) || acpi_get(&table, ACCESS, 1) == 2 ||
        base % (wide ? 32 : 8))
        return;
    acpi->serial = (struct serial){.memory = memory, .base = base, .stride = wide ? 4 : 1};
    if (!memory && rate < sizeof(divisor))
        acpi->serial.divisor = divisor[rate];
}

/* TPM2 (TCG ACPI 8). */
static void read_tpm2(struct acpi *acpi)
{
    enum { CONTROL = 40, METHOD = 48 };
    uint64_t method = acpi_get(&table, METHOD, 4), control = acpi_get(&table, CONTROL, 8);
    if (method == TPM_FIFO || (method == TPM_CRB && control == TPM_CONTROL))
        acpi->tpm = (uint32_t)method;
}

static void read_dmar(struct acpi *acpi) { scope_read_dmar(&table, &acpi->scopes); }
static void read_ivrs(struct acpi *acpi) { scope_read_ivrs(&table, &acpi->scopes); }

static void read_table(uint64_t base, struct acpi *acpi)
{
    static const struct {
        const char *name;
        void (*read)(struct acpi *);
    } known[ACPI_DSDT] = {
        [ACPI_MADT] = {"APIC", read_madt}, [ACPI_FADT] = {"FACP", read_fadt},
        [ACPI_MCFG] = {"MCFG", read_mcfg}, [ACPI_DMAR] = {"DMAR", read_dmar},
        [ACPI_IVRS] = {"IVRS", read_ivrs}, [ACPI_SPCR] = {"SPCR", read_spcr},
        [ACPI_TPM2] = {"TPM2", read_tpm2},
    };
    uint32_t i = 0;
    if (!load_header(base))
        return;
    while (i < sizeof(known) / sizeof(known[0]) && memcmp(buffer, known[i].name, 4) != 0)
        i++;
    if (i == sizeof(known) / sizeof(known[0]) || !load_rest(base))
        return;
    acpi->place[i] = (struct acpi_place){base, table.length};
    known[i].read(acpi);
}

/* Physical addresses of all tables, from the XSDT (5.2.8), or the RSDT (5.2.7) of old firmware.
 * Returns how many, 0..ENTRIES. */
static uint32_t read_roots(uint64_t rsdp, uint64_t entry[ENTRIES])
{
    if (!load_rsdp(rsdp))
        return 0;
    bool extended =
        acpi_get(&table, 15, 1) >= 2 && acpi_get(&table, 24, 8) != 0 && sum_is_zero(HEADER);
    uint64_t base = extended ? acpi_get(&table, 24, 8) : acpi_get(&table, 16, 4);
    if (!load_header(base) || memcmp(buffer, extended ? "XSDT" : "RSDT", 4) != 0 ||
        !load_rest(base))
        return 0;
    uint32_t width = extended ? 8 : 4, count = (table.length - HEADER) / width;
    for (uint32_t i = 0; i < count && i < ENTRIES; i++)
        entry[i] = acpi_get(&table, HEADER + i * width, width);
    return count < ENTRIES ? count : ENTRIES;
}

void acpi_read(uint64_t rsdp, struct acpi *acpi)
{
    uint64_t entry[ENTRIES];
    uint32_t count = read_roots(rsdp ? rsdp : find_rsdp(), entry);
    for (uint32_t i = 0; i < count; i++)
        read_table(entry[i], acpi);
    struct acpi_place *dsdt = &acpi->place[ACPI_DSDT];
    if (dsdt->base && load_header(dsdt->base))
        dsdt->size = (uint32_t)acpi_get(&table, 4, 4);
    if (count == 0)
        console_say("no ACPI tables found");
}

void acpi_halt(void)
{
    uart_finish();
    for (;;)
        bell_wait(SLOT_SLEEP, 0);
}

void acpi_off(const struct acpi *acpi, uint16_t value)
{
    uart_finish();
    port_out8((uint16_t)(acpi->sleep_port + 1), (uint8_t)(value >> 8));
    acpi_halt();
}

void acpi_reset(const struct acpi *acpi)
{
    uart_finish();
    if (acpi->reset_port)
        port_out8(acpi->reset_port, acpi->reset_value);
    port_out8(RESET_CONTROL, RESET_ALL);
    port_out8(RESET_CONTROL, RESET_ALL | RESET_BEGIN);
    port_out8(KEYBOARD_COMMAND, PULSE_RESET);
    console_say("this machine cannot be reset by software: switch it off");
    acpi_halt();
}
