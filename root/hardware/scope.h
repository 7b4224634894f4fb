/*
 * Which IOMMUs there are, and what is behind each, as firmware tells: DMAR (VT-d 4.1 chapter 8) and
 * IVRS (AMD IOMMU 3.10 chapter 5.2). Of PCI segments other than 0 only the units are noted. What
 * does not matter here is passed over; what is not understood goes into `wrong`, and then nothing
 * is assigned.
 */
#ifndef ROOT_SCOPE_H
#define ROOT_SCOPE_H

#include <root/hardware/acpi_table.h>
#include <abi/call.h>
#include <stdbool.h>

#define SCOPES      512u
#define SCOPE_DEPTH 4u
/* Instead of a unit: functions that may not be assigned, because firmware uses memory with them; or
 * because their requests carry another function's requester ID (alias), so that the IOMMU cannot
 * tell the two apart. */
#define SCOPE_RESERVED 0xffu
#define SCOPE_ALIAS    0xfeu

struct scope_unit {
    enum iommu_kind kind;
    uint64_t base; /* of its registers, physical */
    bool rest;     /* serves all of its segment that no other unit names */
    uint16_t segment;
};

enum scope_what {
    SCOPE_FUNCTION, /* the one at the end of the path             */
    SCOPE_BELOW,    /* the bridge there, and all behind it        */
    SCOPE_RANGE,    /* requester IDs first..last                  */
};

struct scope {
    uint8_t unit; /* or SCOPE_RESERVED, SCOPE_ALIAS */
    uint8_t what; /* enum scope_what */
    uint8_t bus, depth;
    uint8_t path[SCOPE_DEPTH]; /* device << 3 | function, from `bus` on down through bridges */
    uint16_t first, last;
};

struct scopes {
    const char *wrong; /* the first thing that forbids assignment; NULL: all is understood */
    uint32_t units, scopes;
    struct scope_unit unit[MAX_IOMMUS];
    struct scope scope[SCOPES];
};

/* Add what a whole table says. It may hold anything: what is wrong with it goes into `wrong`. */
void scope_read_dmar(const struct acpi_table *table, struct scopes *scopes);
void scope_read_ivrs(const struct acpi_table *table, struct scopes *scopes);

#endif
