/*
 * Numbers with units as plans write them: 2, 512M, 10ms.
 */
#ifndef CLI_VALUE_H
#define CLI_VALUE_H

#include <stdbool.h>
#include <stdint.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

extern const struct unit unit_none[], unit_bytes[], unit_microseconds[];

/* Decimal digits (or 0x and hexadecimal ones where the unit is none) and one of the suffixes;
   false for anything else and for what does not fit 64 bits. */
bool value_parse(const char *text, const struct unit *units, uint64_t *value);

#endif
