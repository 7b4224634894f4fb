/* What the installed system is not to see: the firmware's tables are changed in place before it
 * reads them (ACPI 6.5). */
#include <root/host/host.h>
#include <root/hardware/acpi_table.h>

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
   be a processor that can be plugged in (5.2.12, table 5.21). */
uint64_t hide_processor(uint32_t apic_id)
{
    uint8_t *table = open_table(ACPI_MADT);
    uint32_t size = machine.acpi.place[ACPI_MADT].size;
    uint64_t status = BAD_ARG;
    for (uint32_t at = FIRST; table && at + 8 <= size && table[at + 1] >= 2; at += table[at + 1])
        if (is_of(table, at, apic_id)) {
            set(table, at, OEM);
            status = OK;
        }
    return status;
}

/* Suspend to RAM ends in the firmware, which resumes the system on bare processors. Without the
   object _S3 none of it is offered (7.4.2.4); a name in AML is 08h and four letters (20.2.2). */
void hide_suspend(void)
{
    static const uint8_t name[] = {8, '_', 'S', '3', '_'};
    uint8_t *table = open_table(ACPI_DSDT);
    uint32_t size = machine.acpi.place[ACPI_DSDT].size;
    for (uint32_t at = 0; table && at + sizeof(name) <= size; at++)
        if (memcmp(table + at, name, sizeof(name)) == 0)
            set(table, at + 1, 'X');
}

uint64_t hide_table(enum acpi_known which)
{
    uint8_t *table = open_table(which);
    if (!table)
        return BAD_ARG;
    set(table, 0, 'X');
    return OK;
}
