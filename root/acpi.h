/*
 * What root wants from ACPI (6.5, chapter 5): processors, the PM timer, the
 * reset register, PCI configuration space and IOMMUs. Tables are copied, then checked (length, checksum), then
 * read; one that is wrong is left out and named on the console.
 */
#ifndef ROOT_ACPI_H
#define ROOT_ACPI_H

#include <root/scope.h>

struct acpi {
    uint32_t cores; /* usable processors, 0..MAX_CORES */
    uint32_t apic_id[MAX_CORES];
    uint16_t pm_timer;   /* I/O port; 0: none */
    uint16_t reset_port; /* 0: none */
    uint8_t reset_value;
    uint64_t ecam;  /* configuration space of bus 0 of segment 0, physical; 0: none */
    uint32_t buses; /* that it has, from 0 on: 1..256 */
    struct scopes scopes;
};

/* `rsdp`: physical address, or 0 to search E0000h..FFFFFh. */
void acpi_read(uint64_t rsdp, struct acpi *acpi);

/* End of the machine: the reset register, then the keyboard controller's reset line; then a halt. */
void acpi_reset(const struct acpi *acpi) __attribute__((noreturn));

#endif
