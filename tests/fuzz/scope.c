/* The firmware's tables of IOMMUs, as root reads them: whatever they hold, what was read is within
 * its bounds. */
#include "fuzz.h"
#include <root/hardware/scope.h>
#include <stdlib.h>

void fuzz_begin(void) {}

static void check(const struct scopes *s)
{
    fuzz_must(s->units <= MAX_IOMMUS && s->scopes <= SCOPES, "the lists are within their sizes");
    for (uint32_t i = 0; i < s->units; i++)
        for (uint32_t other = 0; other < i; other++)
            fuzz_must(s->unit[i].base != s->unit[other].base, "a unit is there once");
    for (uint32_t i = 0; i < s->units && !s->wrong; i++)
        fuzz_must(s->unit[i].base && s->unit[i].base % PAGE_SIZE == 0 &&
                      s->unit[i].kind == s->unit[0].kind,
                  "units have a page, and one kind");
    for (uint32_t i = 0; i < s->scopes; i++) {
        const struct scope *one = &s->scope[i];
        fuzz_must(one->unit == SCOPE_RESERVED || one->unit == SCOPE_ALIAS || one->unit < s->units,
                  "a scope is behind a unit that is there");
        fuzz_must(one->what == SCOPE_RANGE || (one->depth >= 1 && one->depth <= SCOPE_DEPTH),
                  "a path fits its place");
    }
}

/* The table is in a block of just its size: the sanitizer sees every step beyond. */
void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    uint8_t kind = feed_8(&f);
    struct scopes s = {0};
    uint32_t length = (uint32_t)f.left;
    uint8_t *table = malloc(length ? length : 1);
    feed_bytes(&f, table, length);
    if (kind & 1)
        scope_read_ivrs(&(struct acpi_table){table, length}, &s);
    else
        scope_read_dmar(&(struct acpi_table){table, length}, &s);
    check(&s);
    if (kind & 2) /* firmware of both kinds */
        scope_read_dmar(&(struct acpi_table){table, length}, &s);
    check(&s);
    free(table);
}
