/* See rig_iommu.h. */
#include "rig_iommu.h"

enum vtd {
    CAP = 0x08,
    ECAP = 0x10,
    GCMD = 0x18,
    GSTS = 0x1c,
    RTADDR = 0x20,
    FSTS = 0x34,
    PMEN = 0x64,
    IQH = 0x80,
    IQT = 0x88,
    IQA = 0x90,
    IRTA = 0xb8,
    RECORD = 0x220
};
enum amdvi {
    DEVICES = 0x00,
    COMMANDS = 0x08,
    EVENTS_BASE = 0x10,
    CONTROL = 0x18,
    EXCLUSION = 0x20,
    EXCLUSION_LIMIT = 0x28,
    FEATURES = 0x30,
    COMMAND_HEAD = 0x2000,
    COMMAND_TAIL = 0x2008,
    EVENT_HEAD = 0x2010,
    EVENT_TAIL = 0x2018,
    STATUS = 0x2020
};
enum { ENABLE = 1, LOG = 1 << 2, RUN = 1 << 12 };
enum { STALE_CONTEXTS = 1, STALE_IOTLB = 2, STALE_INTERRUPTS = 4, STALE = 7 };
#define ONE_SHOT (1u << 30 | 1u << 24)

struct fake fake[FAKES];
bool fake_slow;
static enum iommu_kind kind;

uint64_t *fake64(uint32_t unit, uint32_t reg)
{
    return (uint64_t *)(void *)(fake[unit].regs + reg);
}
uint32_t *fake32(uint32_t unit, uint32_t reg)
{
    return (uint32_t *)(void *)(fake[unit].regs + reg);
}

static struct fake *unit_at(uint64_t va, uint32_t *reg)
{
    assert_in_range(va, IOMMU_WINDOW, IOMMU_WINDOW + FAKES * FAKE_REGS - 1);
    *reg = (uint32_t)(va - IOMMU_WINDOW) % FAKE_REGS;
    return &fake[(va - IOMMU_WINDOW) / FAKE_REGS];
}

static uint64_t on_read(uint64_t va, unsigned bytes)
{
    uint32_t reg;
    struct fake *f = unit_at(va, &reg);
    uint64_t v = 0;
    assert_int_equal(reg % bytes, 0);
    memcpy(&v, f->regs + reg, bytes);
    /* What runs on for a while (48882 3.4.16; VT-d 6.5.2) stops when it was looked at. */
    if (kind == IOMMU_AMDVI && reg == STATUS && !(*fake64((uint32_t)(f - fake), CONTROL) & RUN))
        *fake64((uint32_t)(f - fake), STATUS) &= ~(3ull << 3);
    if (kind == IOMMU_VTD && reg == IQH)
        *fake64((uint32_t)(f - fake), IQH) = *fake64((uint32_t)(f - fake), IQT);
    return v;
}

/* What an invalidation command of VT-d (6.5.2) makes fresh. */
static uint32_t refreshed(uint64_t command)
{
    switch (command & 0xf) {
    case 1: return STALE_CONTEXTS;
    case 2: return STALE_IOTLB;
    case 4: return STALE_INTERRUPTS;
    default: return 0;
    }
}

/* The kernel waits with a store to memory: VT-d 6.5.2.8, 48882 2.4.1. */
void fake_tell(uint32_t unit)
{
    const uint64_t *command = fake[unit].wait;
    assert_non_null(command);
    fake[unit].wait = NULL;
    if (kind == IOMMU_VTD)
        *(uint32_t *)command[1] = (uint32_t)(command[0] >> 32);
    else
        *(uint64_t *)(command[0] & 0xffffffffffff8) = command[1];
}

static void take_command(struct fake *f, const uint64_t *command)
{
    memcpy(f->command[f->commands++ % FAKE_COMMANDS], command, 16);
    if (kind == IOMMU_VTD)
        f->stale &= ~refreshed(command[0]);
    if (kind == IOMMU_VTD ? (command[0] & 0xf) != 5 : command[0] >> 60 != 1)
        return;
    f->wait = command;
    if (!fake_slow)
        fake_tell((uint32_t)(f - fake));
}

static void take_commands(struct fake *f, uint64_t queue, uint64_t tail)
{
    assert_true(tail < PAGE_SIZE && tail % 16 == 0);
    for (; f->head != tail; f->head = (f->head + 16) % PAGE_SIZE)
        take_command(f, (const uint64_t *)(queue + f->head));
}

/* What the manuals allow: a register by its name, how wide, which bits a write may set. Not here:
   it does not exist, or is for reading only. VT-d 3.3, 11.4; 48882, 3.4. */
static const struct row {
    enum iommu_kind kind;
    const char *name;
    uint32_t at, bytes;
    uint64_t writable;
} rows[] = {
    {IOMMU_VTD, "GCMD", GCMD, 4, 0xff800000},
    {IOMMU_VTD, "RTADDR", RTADDR, 8, 0xffffffffff000},
    {IOMMU_VTD, "FSTS", FSTS, 4, 0x71},
    {IOMMU_VTD, "PMEN", PMEN, 4, 1ull << 31},
    {IOMMU_VTD, "IQT", IQT, 8, 0x7fff0},
    {IOMMU_VTD, "IQA", IQA, 8, 0xffffffffff007},
    {IOMMU_VTD, "IRTA", IRTA, 8, 0xffffffffff80f},
    {IOMMU_VTD, "fault record", RECORD + 8, 8, 1ull << 63},
    {IOMMU_VTD, "fault record", RECORD + 24, 8, 1ull << 63},
    {IOMMU_AMDVI, "device table", DEVICES, 8, 0xffffffffff1ff},
    {IOMMU_AMDVI, "command buffer", COMMANDS, 8, 0x0f0ffffffffff000},
    {IOMMU_AMDVI, "event log", EVENTS_BASE, 8, 0x0f0ffffffffff000},
    {IOMMU_AMDVI, "control", CONTROL, 8, ENABLE | LOG | 1 << 10 | RUN | 1 << 17 | 1ull << 50},
    {IOMMU_AMDVI, "exclusion", EXCLUSION, 8, 0xffffffffff000},
    {IOMMU_AMDVI, "exclusion limit", EXCLUSION_LIMIT, 8, 0xffffffffff000},
    {IOMMU_AMDVI, "command head", COMMAND_HEAD, 8, 0x7fff0},
    {IOMMU_AMDVI, "command tail", COMMAND_TAIL, 8, 0x7fff0},
    {IOMMU_AMDVI, "event head", EVENT_HEAD, 8, 0x7fff0},
    {IOMMU_AMDVI, "event tail", EVENT_TAIL, 8, 0x7fff0},
    {IOMMU_AMDVI, "status", STATUS, 8, 1},
};

/* One command at a time (11.4.4); what it uses is set before, and nothing stale is left in caches
 * (6.5, 6.6). */
static const char *global_rule(const struct fake *f, uint32_t unit, uint32_t v)
{
    uint32_t done = *fake32(unit, GSTS), changed = (v ^ done) & ~ONE_SHOT, once = v & ONE_SHOT;
    if (__builtin_popcount(changed) + __builtin_popcount(once) > 1)
        return "one command at a time, with the others as they are (11.4.4)";
    if (~v & changed & (1u << 31 | 1u << 25))
        return "devices would get a moment without translation";
    if (~v & changed & 1u << 26 && *fake64(unit, IQH) != *fake64(unit, IQT))
        return "the queue ends while it has commands (6.5.2)";
    if (once &&
        ((once >> 30 && !*fake64(unit, RTADDR)) || (once >> 24 & 1 && !*fake64(unit, IRTA))))
        return "the table is not set yet";
    if (v & changed & 1u << 26 && (!*fake64(unit, IQA) || *fake64(unit, IQT)))
        return "the queue is not set, or its tail is not 0 (6.5.2)";
    if ((v & changed & 1u << 31 && !(done >> 30 & 1)) ||
        (v & changed & 1u << 25 && !(done >> 24 & 1)))
        return "the unit has not taken its table (11.4.4)";
    return v & changed & (1u << 31 | 1u << 25) && f->stale
               ? "caches may hold what was before the table (6.6)"
               : NULL;
}

static const char *vtd_rule(const struct fake *f, uint32_t unit, uint32_t reg, uint64_t v)
{
    uint32_t done = *fake32(unit, GSTS);
    if (reg == GCMD)
        return global_rule(f, unit, (uint32_t)v);
    if (reg == IQA && done & 1 << 26)
        return "the queue is in use (11.4.9.4)";
    return reg == PMEN && (!(done >> 31) || f->stale) ? "nothing else keeps DMA out yet" : NULL;
}

/* Bases, and heads that the unit moves, change while what they are for is off (3.4.2
 * to 3.4.4, 3.4.16). */
static const char *amdvi_rule(uint32_t unit, uint32_t reg, uint64_t v)
{
    uint64_t on = *fake64(unit, CONTROL);
    bool commands = reg == COMMANDS || reg == COMMAND_HEAD,
         events = reg == EVENTS_BASE || reg == EVENT_TAIL;
    if ((commands || events) && *fake64(unit, STATUS) & 3 << 3 && !(on & RUN))
        return "it has not stopped yet (3.4.16)";
    if ((commands && on & RUN) || (events && on & LOG) || (reg == DEVICES && on & ENABLE))
        return "it is in use";
    if (reg == STATUS && v & 1 && on & LOG)
        return "a log that has run over is off before it is cleared (2.5.13)";
    if (reg == CONTROL && ((v & RUN && *fake64(unit, COMMANDS) >> 56 < 8) ||
                           (v & LOG && *fake64(unit, EVENTS_BASE) >> 56 < 8)))
        return "a ring has 256 entries at least (3.4.2)";
    return reg == CONTROL && v & ENABLE && !*fake64(unit, DEVICES) ? "there is no device table"
                                                                   : NULL;
}

const char *fake_rule(uint32_t unit, uint32_t reg, unsigned bytes, uint64_t v)
{
    const struct row *r = rows;
    while (r < rows + COUNT(rows) && (r->kind != kind || r->at != reg || r->bytes != bytes))
        r++;
    if (r == rows + COUNT(rows))
        return "no register of this width is to be written here";
    if (v & ~r->writable)
        return "reserved bits are set";
    return kind == IOMMU_VTD ? vtd_rule(&fake[unit], unit, reg, v) : amdvi_rule(unit, reg, v);
}

static void on_global(struct fake *f, uint32_t unit, uint32_t v)
{
    f->global[f->globals++] = v;
    f->stale |= v & ONE_SHOT ? STALE : 0;
    *fake32(unit, GSTS) = v | (*fake32(unit, GSTS) & ONE_SHOT);
}

static void on_write(uint64_t va, unsigned bytes, uint64_t v)
{
    uint32_t reg;
    struct fake *f = unit_at(va, &reg);
    uint32_t unit = (uint32_t)(f - fake);
    assert_int_equal(reg % bytes, 0);
    const char *rule = fake_rule(unit, reg, bytes, v);
    if (rule)
        fail_msg("IOMMU register %x, %llx: %s", reg, (unsigned long long)v, rule);
    if (kind == IOMMU_VTD && (reg == RECORD + 8 || reg == RECORD + 24)) {
        *fake64(unit, reg) &= ~v; /* cleared by writing 1 */
        return;
    }
    memcpy(f->regs + reg, &v, bytes);
    if (kind == IOMMU_VTD && reg == PMEN)
        *fake32(unit, PMEN) = (uint32_t)v | (uint32_t)(v >> 31); /* bit 0: in force */
    else if (kind == IOMMU_VTD && reg == GCMD)
        on_global(f, unit, (uint32_t)v);
    else if (kind == IOMMU_VTD && reg == IQT && *fake32(unit, GSTS) & 1 << 26)
        take_commands(f, *fake64(unit, IQA), v);
    else if (kind == IOMMU_AMDVI && reg == COMMAND_TAIL && *fake64(unit, CONTROL) & RUN)
        take_commands(f, *fake64(unit, COMMANDS) & 0xffffffffff000, v);
}

void fake_reset(uint32_t unit, enum iommu_kind k)
{
    kind = k;
    fake[unit] = (struct fake){.head = 0};
    machine.read = on_read;
    machine.write = on_write;
    if (kind == IOMMU_VTD) { /* two records at 220h */
        *fake64(unit, CAP) = 6 | 6ull << 8 | 0x22ull << 24 | 3ull << 34 | 1ull << 40 | 3ull << 54;
        *fake64(unit, ECAP) = 0x1a;
    } else {
        *fake64(unit, FEATURES) = 1 << 2 | 1 << 6 | 1 << 7;
    }
}

/* Of four frames each there are MAX_IOMMUS; of one, what is left is one more. */
void fake_regions(enum iommu_kind k)
{
    uint64_t frames = k == IOMMU_VTD ? 1 : 4,
             cuts = k == IOMMU_VTD ? MAX_IOMMUS + 1 : MAX_IOMMUS - 1;
    for (uint64_t i = 0; i < cuts; i++)
        assert_int_equal(
            graph(CALL_MR_SPLIT,
                  (UNIT + i) | (uint64_t)SLOT_ROOT_PD << 16 | (i ? UNIT + i - 1 : DEVICE) << 32,
                  frames, 0, 0, 0),
            OK);
}

uint64_t unit_slot(uint32_t unit) { return unit ? UNIT + unit - 1 : DEVICE; }

uint64_t start_unit(uint32_t unit, enum iommu_kind k, uint64_t buses)
{
    return graph(CALL_IOMMU_START, SLOT_ROOT_SYS | unit_slot(unit) << 16, k, buses, 0, 0);
}

uint32_t commands_since(uint32_t unit, enum iommu_kind k, unsigned type)
{
    struct fake *f = &fake[unit];
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->commands; i++)
        count += (k == IOMMU_VTD ? f->command[i][0] & 0xf : f->command[i][0] >> 60) == type;
    return count;
}

uint64_t pop_fault(uint32_t unit)
{
    uint64_t s = graph(CALL_IOMMU_FAULT, SLOT_ROOT_SYS, unit, 0, 0, 0);
    struct ec *self = object_at(SLOT_ROOT_EC);
    assert_int_equal(s, s == OK ? OK : bad(BAD_ARG, 2));
    return s == OK ? self->regs.rdx : 0;
}

uint64_t set_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector)
{
    return graph(CALL_DV_IRQ, dv | vcpu << 16, index | vector << 16, 0, 0, 0);
}

uint64_t make_dv(uint64_t pd, uint32_t unit, uint64_t rid)
{
    uint64_t slot = slot_new();
    fake[unit].commands = 0;
    assert_int_equal(graph(CALL_DV_CREATE, slot | pd << 16 | (uint64_t)SLOT_ROOT_SYS << 32,
                           rid | (uint64_t)unit << 16, 0, 0, 0),
                     OK);
    return slot;
}

uint64_t make_owner(uint64_t pd, uint8_t core)
{
    uint64_t slot = make_ec(pd, core, EC_VCPU);
    cores[core].owner = object_at(slot);
    cores[core].owner->core_mode = CORE_OWNED;
    return slot;
}

void loose_core(uint8_t core)
{
    cores[core].owner->core_mode = CORE_SHARED;
    cores[core].owner = NULL;
}
