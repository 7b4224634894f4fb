/* What the installed system is not to see: the firmware's tables are changed in place before it
 * reads them (ACPI 6.5); and registers of the chipset. */
#include <root/host/host.h>
#include <root/hardware/acpi_table.h>

/* AMD's chipsets show registers in this page, whatever the ports: at 300h power management's, at
   800h ACPI's, PM1 control among them. */
#define CHIPSET 0xfed80000ull

enum { CHECKSUM = 9, FIRST = 44, APIC = 0, X2APIC = 9, OEM = 0x80 };

/* A table of the firmware's, to be written; NULL: there is none. */
static uint8_t *open_table(enum acpi_known which)
{
    static bool open[ACPI_TABLES];
    const struct acpi_place *p = &machine.acpi.place[which];
    uint64_t va = ROOT_TABLE_AT(which);
    if (!p->base)
        return 0;
    if (!open[which] && memory_map(p->base, p->size, SLOT_ROOT_PD, MR_READ | MR_WRITE, va) != OK)
        return 0;
    open[which] = true;
    return (uint8_t *)va + p->base % PAGE_SIZE;
}

/* Byte `at` of the table, with the checksum, which is that of all bytes together. */
static void set(uint8_t *table, uint32_t at, uint8_t value)
{
    table[CHECKSUM] = (uint8_t)(table[CHECKSUM] + table[at] - value);
    table[at] = value;
}

/* Is the structure at `at` of that processor (5.2.12.2, 5.2.12.12)? */
static bool is_of(const uint8_t *table, uint32_t at, uint32_t apic_id)
{
    uint32_t id;
    memcpy(&id, table + at + 4, sizeof(id));
    return table[at] == APIC ? table[at + 3] == apic_id : table[at] == X2APIC && id == apic_id;
}

/* Its structures become the maker's own, which no system reads: one that is merely disabled would
   be a processor that can be plugged in (5.2.12, table 5.21). From its third byte
   on it has two letters and the number by which the system's tool finds its line
   (cli/session/pages.c). */
uint64_t hide_processor(uint32_t apic_id, uint32_t line)
{
    uint8_t *table = open_table(ACPI_MADT);
    uint32_t size = machine.acpi.place[ACPI_MADT].size;
    uint64_t status = BAD_ARG;
    uint8_t own[2 + sizeof(line)];
    memcpy(own, BOOT_LINE, 2);
    memcpy(own + 2, &line, sizeof(line));
    for (uint32_t at = FIRST; table && at + 8 <= size && table[at + 1] >= 2; at += table[at + 1])
        if (is_of(table, at, apic_id)) {
            set(table, at, OEM);
            for (uint32_t i = 0; i < sizeof(own); i++)
                set(table, at + 2 + i, own[i]);
            status = OK;
        }
    return status;
}

/* The name _S1 to _S5, with the package that says how to enter that state (7.4.2; in AML a name is
   four letters, and 12h begins a package: 20.2.2, 20.2.5.4). NULL: the DSDT has none. */
static uint8_t *find_sleep(uint8_t *table, char state)
{
    const uint8_t name[] = {'_', 'S', (uint8_t)state, '_', 0x12};
    uint32_t size = machine.acpi.place[ACPI_DSDT].size;
    for (uint32_t at = 0; table && at + 16 <= size; at++)
        if (memcmp(table + at, name, sizeof(name)) == 0)
            return table + at;
    return 0;
}

/* Suspend to RAM ends in the firmware, which resumes the system on bare processors. Without the
   object _S3 none of it is offered (7.4.2.4), nor the other states, whose writes would vanish, too:
   a system that hibernates powers off instead. Of _S5, behind the name: 12h, the package's length
   (its first byte says how many more there are), the number of elements, and the first of them, 0Ah
   and a byte, or 0 or 1 alone (20.2.3 to 20.2.5). */
uint64_t hide_suspend(uint16_t *power_off)
{
    enum { LENGTH = 5, BYTE = 0x0a, SLP_TYP = 10, SLP_EN = 1 << 13 };
    uint8_t *table = open_table(ACPI_DSDT), *s5 = find_sleep(table, '5');
    for (char state = '1'; state < '5' && !host_is_late(); state++)
        for (uint8_t *at = find_sleep(table, state); at; at = find_sleep(table, state))
            set(table, (uint32_t)(at - table), 'X');
    if (!s5 || !machine.acpi.sleep_port)
        return BAD_ARG;
    s5 += LENGTH + (s5[LENGTH] >> 6) + 2;
    uint32_t type = *s5 == BYTE ? s5[1] : *s5;
    *power_off = (uint16_t)(SLP_EN | type << SLP_TYP);
    return type < 8 ? OK : BAD_ARG;
}

uint64_t hide_table(enum acpi_known which)
{
    uint8_t *table = open_table(which);
    if (!table)
        return BAD_ARG;
    set(table, 0, 'X');
    return OK;
}

/* ---- the chipset ------------------------------------------------------------------ */
/* QEMU's AMD-Vi unit has that page; beneath a launch it is the system's own. */
static bool has_iommu(uint64_t page)
{
    for (uint32_t i = 0; i < machine.acpi.scopes.units; i++)
        if (machine.acpi.scopes.unit[i].base == page)
            return true;
    return false;
}

/* Firmware, its methods (AML) and drivers read there what they did, as it is now: power management
   with its neighbours, and from C00h on the HPET, pins and clocks. All else is ones: buses, of
   which a read may have effects, and the watchdog, which must not seem to be there. */
uint64_t hide_chipset(uint64_t pd)
{
    if (has_iommu(CHIPSET))
        return OK;
    const volatile uint32_t *from = memory_open_device(CHIPSET, PAGE_SIZE, MR_READ);
    uint32_t *to = memory_open(host_pages.base, PAGE_SIZE, MR_READ | MR_WRITE);
    if (!to || !from)
        return BAD_ARG;
    for (uint32_t at = 0; at < PAGE_SIZE; at += 4)
        to[at / 4] = at - 0x200 < 0x400 || at >= 0xc00 ? from[at / 4] : ~0u;
    return memory_map(host_pages.base, PAGE_SIZE, pd, MR_READ | MR_WRITE, CHIPSET);
}
