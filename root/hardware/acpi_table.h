/* A table of the firmware's, which may hold anything. */
#ifndef ROOT_TABLE_H
#define ROOT_TABLE_H

#include <lib/string.h>
#include <stdint.h>

struct acpi_table {
    const uint8_t *at;
    uint32_t length; /* bytes at `at` */
};

/* The little-endian number in `bytes` (1..8) bytes from `offset` on. 0 where not all of them are in
 * the table: a short one lacks that field. */
static inline uint64_t acpi_get(const struct acpi_table *table, uint32_t offset, uint32_t bytes)
{
    uint64_t value = 0;
    if (offset <= table->length && bytes <= table->length - offset)
        memcpy(&value, table->at + offset, bytes);
    return value;
}

#endif
