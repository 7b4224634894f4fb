/*
 * IOMMUs that are not there: registers and queues as the manuals have them,
 * just enough to answer the kernel and to see what it wrote.
 */
#ifndef TESTS_RIG_IOMMU_H
#define TESTS_RIG_IOMMU_H

#include "rig.h"
#include <dv.h>
#include <iommu.h>

enum { FAKES = MAX_IOMMUS, FAKE_REGS = 0x4000, FAKE_COMMANDS = 64, UNIT = 300 };

struct fake {
    uint8_t regs[FAKE_REGS];
    uint64_t command[FAKE_COMMANDS][2]; /* from its queue, wrapping around */
    uint32_t commands;
    uint32_t global[16], globals; /* VT-d: what was written to GCMD */
    uint32_t head;
    uint32_t stale;       /* VT-d: which caches may hold what was before the tables */
    const uint64_t *wait; /* the command to tell when all before are done, of which it has not */
};
extern struct fake fake[FAKES];
extern bool fake_slow; /* units tell that they are done by fake_tell() only */

uint64_t *fake64(uint32_t unit, uint32_t reg);
uint32_t *fake32(uint32_t unit, uint32_t reg);

/* The registers of the unit that will have number `unit` are those of a fresh one that can all that
 * is needed. */
void fake_reset(uint32_t unit, enum iommu_kind kind);
/* The rule that a write to a unit's register would break; NULL: none. The kernel's own writes fail
 * the test by it. */
const char *fake_rule(uint32_t unit, uint32_t reg, unsigned bytes, uint64_t v);
/* The unit tells that it is done; it had been asked to. */
void fake_tell(uint32_t unit);
/* Regions for units' registers in root's table, each in slot unit_slot(). */
void fake_regions(enum iommu_kind kind);
uint64_t unit_slot(uint32_t unit);
uint64_t start_unit(uint32_t unit, enum iommu_kind kind, uint64_t buses);

/* Commands of this type since make_dv() (VT-d: low nibble; AMD-Vi: high nibble of the low word). */
uint32_t commands_since(uint32_t unit, enum iommu_kind kind, unsigned type);

uint64_t pop_fault(uint32_t unit); /* 0: none */
uint64_t set_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector);
uint64_t make_dv(uint64_t pd, uint32_t unit, uint64_t rid);
/* A vCPU of `pd` that core `core` belongs to, as far as devices care, until loose_core(). */
uint64_t make_owner(uint64_t pd, uint8_t core);
void loose_core(uint8_t core);

#endif
