/*
 * The two kinds of IOMMU behind one interface: vtd.c (VT-d 3.3) and amdvi.c
 * (AMD IOMMU 3.08). A unit's tables and queue are frames of the kernel's pool.
 * Graph lock throughout.
 */
#ifndef KERNEL_IOMMU_H
#define KERNEL_IOMMU_H

#include <object.h>

#define IOMMU_FUNCTIONS 16u  /* behind one unit, assigned at a time        */
#define IOMMU_QUEUE     256u /* commands: one frame                        */
#define IOMMU_FRAMES    4u   /* the most that a unit's registers take      */

struct iommu {
    uint64_t done; /* the unit writes `asked` here when it is done with all commands before */
    uint64_t asked;
    uint64_t regs;        /* where its registers are mapped                        */
    uint64_t *functions;  /* VT-d: its root table. AMD units have one for all      */
    uint64_t (*queue)[2]; /* of commands                                           */
    uint64_t *interrupts; /* IOMMU_FUNCTIONS times the same number of entries      */
    uint32_t buses;       /* [0, buses) are behind it, as far as root says         */
    uint32_t tail;        /* of the queue                                          */
    uint32_t fault;       /* where the next fault is looked for                    */
    bool wide, coherent;  /* interrupts reach 32-bit APIC IDs; it looks into caches */
    struct dv *dv[IOMMU_FUNCTIONS];
};

extern struct iommu iommus[MAX_IOMMUS]; /* [0, iommu_units) have been started */
extern uint32_t iommu_units;
/* Units may have translations or interrupts that were taken away: the next core_sync() flushes
 * them. Graph lock. */
extern bool iommu_stale;

/* The calls; see docs/abi.md. The value goes to *value. Each checks everything before it changes
   anything. */
/* Needs SYS_DEVICE, and MR_READ and MR_WRITE to the unit's registers, which nobody else has mapped.
   `buses` 0: it stays as it is, and is the installed system's later (DV_ALL). Afterwards all DMA
   and all interrupts of the functions behind the unit are blocked. */
uint64_t iommu_start(struct pd *self, uint64_t who, uint64_t kind, uint64_t buses, uint64_t *value);
/* A unit that was started for no bus translates for the installed system from here on. `payer`: of
   its tables. */
uint64_t iommu_open(uint32_t unit, struct pd *payer, const struct pd *installed);
/* Needs SYS_DEVICE. */
uint64_t iommu_fault(struct pd *self, uint64_t sys, uint64_t unit, uint64_t *value);

/* Every unit drops the translations, table entries and interrupts that it has read, and finishes
 * the accesses under way: all at the same time. */
void iommu_flush(void);
/* One does. `tables`: more was changed than interrupts; slow where a unit does not look into
 * caches, so not for what a VMM may ask for at will. */
void iommu_flush_unit(uint32_t unit, bool tables);
/* `table` and `irte` of the function's unit: as vtd_attach() and vtd_irte() below. */
void iommu_attach(const struct dv *dv, uint64_t table);
uint64_t iommu_irte(const struct dv *dv, uint32_t index, uint32_t apic_id, uint32_t vector);

/* ---- the two kinds ---------------------------------------------------------- */
/* Has it all that is needed? Changes nothing. */
bool vtd_able(struct iommu *u);
bool amdvi_able(struct iommu *u);

/* Frames of the tables, for `buses` or all; then to use them (one run, zeroed): from there on all
 * is blocked. But for `all`, which is the installed system's table: all functions translate through
 * it, and interrupts are as before. */
uint32_t vtd_frames(uint32_t buses);
uint32_t amdvi_frames(void);
void vtd_enable(struct iommu *u, void *frames, uint64_t all);
void amdvi_enable(struct iommu *u, void *frames, uint64_t all);

/* The function translates through the page table at physical address `table`; 0: all is blocked. A
 * flush follows. */
void vtd_attach(struct iommu *u, const struct dv *dv, uint64_t table);
void amdvi_attach(struct iommu *u, const struct dv *dv, uint64_t table);

/* Interrupt `index` goes to `vector` of the core with that APIC ID; vector 0: nowhere. What its
 * message must carry. A flush follows. */
uint64_t vtd_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                  uint32_t vector);
uint64_t amdvi_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                    uint32_t vector);

/* Begin to forget all that was read from tables, and to let accesses under way end. */
void vtd_ask(struct iommu *u, bool tables);
void amdvi_ask(struct iommu *u);

/* The oldest fault, as CALL_IOMMU_FAULT tells it; 0: none. */
uint64_t vtd_fault(struct iommu *u);
uint64_t amdvi_fault(struct iommu *u);

/* Until the unit has done all that it was asked. */
void iommu_wait(const struct iommu *u);

/* For the two. Queue a command; it is taken note of when the tail is written. */
void iommu_put(struct iommu *u, uint64_t low, uint64_t high);
/* In each turn `n` of a loop that waits for a unit: one that never answers ends the machine. */
void iommu_patience(uint32_t n);

static inline uint64_t iommu_record(uint64_t rid, uint64_t page, uint64_t reason)
{
    return (rid & 0xffff) << 48 | (page & 0xffffffffff) << 8 | (reason & 0xff);
}

#endif
