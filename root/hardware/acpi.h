/*
 * What root wants from ACPI (6.5, chapter 5): processors, the PM timer, the
 * reset register, the serial port, PCI configuration space and IOMMUs. Tables of these are copied,
 * then checked (length, checksum), then read; one that is wrong is left out and named on the
 * console.
 */
#ifndef ROOT_ACPI_H
#define ROOT_ACPI_H

#include <root/hardware/scope.h>

/* The registers of a 16550, `stride` bytes apart, from `base` on. */
struct serial {
    bool memory;      /* else I/O ports */
    uint64_t base;    /* physical address, or port; 0: none */
    uint32_t stride;  /* 1; in memory 1 or 4, and then each access has 32 bits */
    uint32_t divisor; /* of a clock of 1.8432 MHz; 0: it has its rate from firmware */
    bool only;        /* COM1 does not do in its place */
};

#define SEGMENTS 16u

/* The tables that are read. */
enum acpi_known {
    ACPI_MADT,
    ACPI_FADT,
    ACPI_MCFG,
    ACPI_DMAR,
    ACPI_IVRS,
    ACPI_SPCR,
    ACPI_TPM2,
    ACPI_DSDT, /* only its place: none of those that are read */
    ACPI_TABLES
};
struct acpi_place {
    uint64_t base; /* physical; 0: there is none, or it was left out */
    uint32_t size; /* bytes */
};

struct acpi {
    uint32_t cores;  /* usable processors, 0..MAX_CORES */
    bool more_cores; /* and there are others */
    uint32_t apic_id[MAX_CORES];
    uint16_t pm_timer;   /* I/O port; 0: none */
    uint16_t reset_port; /* 0: none */
    uint8_t reset_value;
    uint16_t sleep_port; /* PM1 control; 0: none, or more than one register */
    struct acpi_place place[ACPI_TABLES];
    uint32_t tpm;         /* how the one at TPM_PAGE takes commands (TPM_*); 0: there is none */
    struct serial serial; /* of the firmware's console (SPCR) */
    uint64_t ecam;        /* configuration space of bus 0 of segment 0, physical; 0: none */
    uint32_t buses;       /* that it has, from 0 on: 1..256 */
    uint32_t segments;    /* other ones, none of whose functions is assigned */
    uint16_t segment[SEGMENTS];
    struct scopes scopes;
};

/* Fill `acpi`, which is zero, from the tables behind the RSDP at physical address `rsdp`; 0: search
 * E0000h..FFFFFh. Before memory_open: it maps the tables for the time of the copy. */
void acpi_read(uint64_t rsdp, struct acpi *acpi);

/* End of the machine: the reset register, then that of most chipsets, then the keyboard
 * controller's reset line; then a halt. */
void acpi_reset(const struct acpi *acpi) __attribute__((noreturn));
/* The same by PM1 control, whose upper byte has what powers the machine off (`value`). */
void acpi_off(const struct acpi *acpi, uint16_t value) __attribute__((noreturn));
/* All stands still, with what the console said last. */
void acpi_halt(void) __attribute__((noreturn));

#endif
