#include <root/hardware/scope.h>

static void scope_refuse(struct scopes *s, const char *why)
{
    if (!s->wrong)
        s->wrong = why;
}

/* Number of the unit with registers at physical `base`, a new one if need be. SCOPE_RESERVED: too
 * many. */
static uint8_t add_unit(struct scopes *s, enum iommu_kind kind, uint64_t base, uint64_t segment)
{
    uint32_t i = 0;
    while (i < s->units && s->unit[i].base != base)
        i++;
    if (i == MAX_IOMMUS) {
        scope_refuse(s, "the machine has more IOMMUs than Hairline can use");
        return SCOPE_RESERVED;
    }
    if (base == 0 || base % PAGE_SIZE || (s->units && s->unit[0].kind != kind))
        scope_refuse(s, "the firmware's tables of IOMMUs make no sense");
    if (i == s->units)
        s->unit[s->units++] = (struct scope_unit){kind, base, false, (uint16_t)segment};
    return (uint8_t)i;
}

static void add_scope(struct scopes *s, const struct scope *scope)
{
    if (s->scopes < SCOPES)
        s->scope[s->scopes++] = *scope;
    else
        scope_refuse(s, "the firmware's list of what is behind each IOMMU is too long");
}

/* Structures, which begin at byte 48 of both tables: `read` is told of each where it is, [at, end).
 */
static void read_structures(const struct acpi_table *t, struct scopes *s, const char *damaged,
                            void (*read)(const struct acpi_table *t, uint32_t at, uint32_t end,
                                         struct scopes *s))
{
    for (uint32_t at = 48, size; at < t->length; at += size) {
        size = (uint32_t)acpi_get(t, at + 2, 2);
        if (size < 4 || size > t->length - at) {
            scope_refuse(s, damaged);
            return;
        }
        read(t, at, at + size, s);
    }
}

/* ---- VT-d ------------------------------------------------------------------------ */
enum dmar { DMAR_FLAGS = 37, INTR_REMAP = 1 };
enum remapping { DRHD, RMRR, DRHD_SCOPES = 16, RMRR_SCOPES = 24 };
enum drhd_flag { INCLUDE_PCI_ALL = 1 };
enum device_scope { PCI_ENDPOINT = 1, PCI_BELOW, SCOPE_PATH = 6 };

/* Device scope (8.3.1) of `size` bytes. Those of IOAPICs, HPETs and ACPI names do not matter here.
 */
static void read_device_scope(const struct acpi_table *t, uint32_t at, uint32_t size, uint8_t unit,
                              struct scopes *s)
{
    uint64_t type = acpi_get(t, at, 1);
    uint32_t depth = (size - SCOPE_PATH) / 2;
    struct scope scope = {.unit = unit,
                          .what = type == PCI_BELOW ? SCOPE_BELOW : SCOPE_FUNCTION,
                          .bus = (uint8_t)acpi_get(t, at + 5, 1),
                          .depth = (uint8_t)depth};
    if (type != PCI_ENDPOINT && type != PCI_BELOW)
        return;
    if (depth < 1 || depth > SCOPE_DEPTH) {
        scope_refuse(s, "the DMAR table names a device in a way that is not understood");
        return;
    }
    for (uint32_t i = 0; i < depth; i++)
        scope.path[i] = (uint8_t)(acpi_get(t, at + SCOPE_PATH + 2 * i, 1) << 3 |
                                  (acpi_get(t, at + SCOPE_PATH + 1 + 2 * i, 1) & 7));
    add_scope(s, &scope);
}

static void read_device_scopes(const struct acpi_table *t, uint32_t at, uint32_t end, uint8_t unit,
                               struct scopes *s)
{
    for (uint32_t size; at < end; at += size) {
        size = (uint32_t)acpi_get(t, at + 1, 1);
        if (size < SCOPE_PATH || size > end - at) {
            scope_refuse(s, "the DMAR table is damaged");
            return;
        }
        read_device_scope(t, at, size, unit, s);
    }
}

/* DRHD (8.3), RMRR (8.4). Other structures tell of features that Hairline does not use. */
static void read_remapping(const struct acpi_table *t, uint32_t at, uint32_t end, struct scopes *s)
{
    uint64_t type = acpi_get(t, at, 2), segment = acpi_get(t, at + 6, 2);
    if (type > RMRR)
        return;
    if (end - at < DRHD_SCOPES)
        scope_refuse(s, "the DMAR table is damaged");
    if (type == RMRR && segment == 0)
        read_device_scopes(t, at + RMRR_SCOPES, end, SCOPE_RESERVED, s);
    if (type == RMRR)
        return;
    uint8_t unit = add_unit(s, IOMMU_VTD, acpi_get(t, at + 8, 8), segment);
    if (unit != SCOPE_RESERVED)
        s->unit[unit].rest |= acpi_get(t, at + 4, 1) & INCLUDE_PCI_ALL;
    if (segment == 0)
        read_device_scopes(t, at + DRHD_SCOPES, end, unit, s);
}

void scope_read_dmar(const struct acpi_table *t, struct scopes *s)
{
    if (!(acpi_get(t, DMAR_FLAGS, 1) & INTR_REMAP))
        scope_refuse(s, "the machine has no interrupt remapping");
    read_structures(t, s, "the DMAR table is damaged", read_remapping);
}

/* ---- AMD-Vi ---------------------------------------------------------------------- */
enum block { IVHD = 0x10, IVHD_EXTENDED, IVMD_ALL = 0x20, IVMD_ONE, IVMD_RANGE, IVHD_HID = 0x40 };
enum entry { PAD, ALL, SELECT, START, END };
enum long_entry { ALIAS = 66, ALIAS_START, EXT_SELECT = 70, EXT_START, HID = 240 };

/* Bytes of an entry (table "IVHD device entry length codes"). A HID entry has the length of its
 * name at byte 21. */
static uint32_t entry_size(const struct acpi_table *t, uint32_t at)
{
    uint64_t type = acpi_get(t, at, 1);
    return type == HID ? 22 + (uint32_t)acpi_get(t, at + 21, 1) : 4u << (type >> 6);
}

/* Functions first..last are behind `unit`; SCOPE_RESERVED, SCOPE_ALIAS: they may not be assigned.
 */
static void add_range(struct scopes *s, uint8_t unit, uint64_t first, uint64_t last)
{
    add_scope(s, &(struct scope){.unit = unit,
                                 .what = SCOPE_RANGE,
                                 .first = (uint16_t)first,
                                 .last = (uint16_t)last});
}

static void read_entries(const struct acpi_table *t, uint32_t at, uint32_t end, uint8_t unit,
                         struct scopes *s)
{
    uint64_t first = 0, before = PAD;
    for (uint32_t size; at < end; at += size) {
        uint64_t type = acpi_get(t, at, 1), id = acpi_get(t, at + 1, 2);
        size = entry_size(t, at);
        if (size > end - at ||
            (type == END && before != START && before != EXT_START && before != ALIAS_START)) {
            scope_refuse(s, "the IVRS table is damaged");
            return;
        }
        if (type == ALL)
            add_range(s, unit, 0, 0xffff);
        else if (type == SELECT || type == EXT_SELECT || type == ALIAS)
            add_range(s, type == ALIAS ? SCOPE_ALIAS : unit, id, id);
        else if (type == END)
            add_range(s, before == ALIAS_START ? SCOPE_ALIAS : unit, first, id);
        first = id;
        before = type;
    }
}

/* IVMD: memory that firmware uses with all functions, one of them, or a range. None of them may be
 * assigned. */
static void read_memory_block(const struct acpi_table *t, uint32_t at, struct scopes *s)
{
    uint64_t type = acpi_get(t, at, 1), first = acpi_get(t, at + 4, 2);
    if (type == IVMD_ALL)
        add_range(s, SCOPE_RESERVED, 0, 0xffff);
    else
        add_range(s, SCOPE_RESERVED, first, type == IVMD_ONE ? first : acpi_get(t, at + 6, 2));
}

/* IVHD (5.2.2.1) or IVMD (5.2.2.2) in bytes [at, end). */
static void read_block(const struct acpi_table *t, uint32_t at, uint32_t end, struct scopes *s)
{
    uint64_t type = acpi_get(t, at, 1);
    if (type == IVHD || type == IVHD_EXTENDED || type == IVHD_HID) {
        uint64_t segment = acpi_get(t, at + 16, 2);
        uint8_t unit = add_unit(s, IOMMU_AMDVI, acpi_get(t, at + 8, 8), segment);
        if (segment == 0)
            read_entries(t, at + (type == IVHD ? 24 : 40), end, unit, s);
    } else if (type >= IVMD_ALL && type <= IVMD_RANGE) {
        read_memory_block(t, at, s);
    } else {
        scope_refuse(s, "the IVRS table has a block that is not understood");
    }
}

void scope_read_ivrs(const struct acpi_table *t, struct scopes *s)
{
    read_structures(t, s, "the IVRS table is damaged", read_block);
}
