/* See rig_iommu.h. */
#include "rig_iommu.h"

enum vtd { CAP = 0x08, ECAP = 0x10, GCMD = 0x18, GSTS = 0x1c, FSTS = 0x34, IQT = 0x88, IQA = 0x90, RECORD = 0x220 };
enum amdvi { COMMANDS = 0x08, CONTROL = 0x18, FEATURES = 0x30, COMMAND_TAIL = 0x2008, STATUS = 0x2020 };
#define ONE_SHOT (1u << 30 | 1u << 24)

struct fake fake[FAKES];
static enum iommu_kind kind;

uint64_t *fake64(uint32_t unit, uint32_t reg) { return (uint64_t *)(void *)(fake[unit].regs + reg); }
uint32_t *fake32(uint32_t unit, uint32_t reg) { return (uint32_t *)(void *)(fake[unit].regs + reg); }

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
    return v;
}

/* The kernel waits with a store to memory: VT-d 6.5.2.8, 48882 2.4.1. */
static void take_command(struct fake *f, const uint64_t *command)
{
    memcpy(f->command[f->commands++ % FAKE_COMMANDS], command, 16);
    if (kind == IOMMU_VTD && (command[0] & 0xf) == 5)
        *(uint32_t *)command[1] = (uint32_t)(command[0] >> 32);
    if (kind == IOMMU_AMDVI && command[0] >> 60 == 1)
        *(uint64_t *)(command[0] & 0xffffffffffff8) = command[1];
}

static void take_commands(struct fake *f, uint64_t queue, uint64_t tail)
{
    assert_true(tail < PAGE_SIZE && tail % 16 == 0);
    for (; f->head != tail; f->head = (f->head + 16) % PAGE_SIZE)
        take_command(f, (const uint64_t *)(queue + f->head));
}

static void on_write(uint64_t va, unsigned bytes, uint64_t v)
{
    uint32_t reg;
    struct fake *f = unit_at(va, &reg);
    uint32_t unit = (uint32_t)(f - fake);
    assert_int_equal(reg % bytes, 0);
    if (kind == IOMMU_VTD && (reg == RECORD + 8 || reg == RECORD + 24)) {
        *fake64(unit, reg) &= ~v; /* cleared by writing 1 */
        return;
    }
    memcpy(f->regs + reg, &v, bytes);
    if (kind == IOMMU_VTD && reg == GCMD) {
        f->global[f->globals++] = (uint32_t)v;
        *fake32(unit, GSTS) = (uint32_t)v | (*fake32(unit, GSTS) & ONE_SHOT);
    } else if (kind == IOMMU_VTD && reg == IQT && *fake32(unit, GSTS) & 1 << 26) {
        take_commands(f, *fake64(unit, IQA), v);
    } else if (kind == IOMMU_AMDVI && reg == COMMAND_TAIL && *fake64(unit, CONTROL) & 1 << 12) {
        take_commands(f, *fake64(unit, COMMANDS) & 0xffffffffff000, v);
    }
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

/* Of four frames each there are four; of one, what is left is a fifth. */
void fake_regions(enum iommu_kind k)
{
    uint64_t frames = k == IOMMU_VTD ? 1 : 4, cuts = k == IOMMU_VTD ? 5 : 3;
    for (uint64_t i = 0; i < cuts; i++)
        assert_int_equal(
            graph(CALL_MR_SPLIT, (UNIT + i) | (uint64_t)SLOT_ROOT_PD << 16 | (i ? UNIT + i - 1 : DEVICE) << 32, frames, 0, 0, 0), OK);
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
    assert_int_equal(graph(CALL_DV_CREATE, slot | pd << 16 | (uint64_t)SLOT_ROOT_SYS << 32, rid | (uint64_t)unit << 16, 0, 0, 0), OK);
    return slot;
}

uint64_t make_owner(uint64_t pd, uint8_t core)
{
    uint64_t slot = make_ec(pd, core, EC_VCPU);
    cores[core].owner = object_at(slot);
    cores[core].owner->own = OWN_READY;
    return slot;
}

void loose_core(uint8_t core)
{
    cores[core].owner->own = OWN_NONE;
    cores[core].owner = NULL;
}
