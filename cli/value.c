#include <cli/value.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct unit unit_none[] = {{"", 1}, {0}};
const struct unit unit_bytes[] = {{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {0}};
const struct unit unit_microseconds[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {0}};

bool value_parse(const char *text, const struct unit *units, uint64_t *value)
{
    char *end;
    bool hex = units == unit_none && strncmp(text, "0x", 2) == 0;
    if (!(hex ? isxdigit((uint8_t)text[2]) : isdigit((uint8_t)text[0])))
        return false;
    errno = 0;
    uint64_t number = strtoull(text, &end, hex ? 16 : 10);
    for (; errno == 0 && units->suffix; units++)
        if (strcmp(end, units->suffix) == 0)
            return !__builtin_mul_overflow(number, units->factor, value);
    return false;
}
