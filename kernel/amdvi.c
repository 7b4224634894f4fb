/* AMD's IOMMU: host page tables that are also the processor's, interrupt remapping, commands in a
   ring. Sections are those of AMD's specification 48882, revision 3.08. */
#include <iommu.h>

/* Registers (3.4): those that are set up once; those that change at work. */
enum {
    DEVICE_TABLE = 0x00,
    COMMANDS = 0x08,
    EVENTS = 0x10,
    CONTROL = 0x18,
    EXCLUSION = 0x20,       /* base; with SNP support, where completion waits may write */
    EXCLUSION_LIMIT = 0x28, /* its last page                                            */
    FEATURES = 0x30
};
enum {
    COMMAND_HEAD = 0x2000,
    COMMAND_TAIL = 0x2008,
    EVENT_HEAD = 0x2010,
    EVENT_TAIL = 0x2018,
    STATUS = 0x2020
};

enum {
    CAN_X2APIC = 1 << 2,
    CAN_FLUSH_ALL = 1 << 6,
    CAN_WIDE_IRTE = 1 << 7,
    LEVELS_RESERVED = 3 << 10
};
#define ENABLE     1ull
#define LOG_EVENTS (1ull << 2)
#define COHERENT   (1ull << 10)
#define RUN        (1ull << 12)
#define WIDE_IRTE  (1ull << 17)
#define X2APIC     (1ull << 50)
#define RING_256   (8ull << 56) /* of commands or events, in their base registers */
#define OVERFLOW   1ull
#define RUNNING    (3ull << 3) /* in STATUS: commands, events */
#define CAN_SNP    (1ull << 63)

/* Device table entries (2.2.2.1). Invalid ones would let all through. */
#define VALID     3ull /* the entry and its translation */
#define LEVELS_4  (4ull << 9)
#define MAY_READ  (1ull << 61)
#define MAY_WRITE (1ull << 62)
#define IRQ_VALID 1ull
#define IRQ_512   (9ull << 1)
#define IRQ_REMAP (2ull << 60) /* 0: fixed interrupts are blocked, as all others are */

#define DO_ALL  (8ull << 60) /* 2.4.8 */
#define DO_WAIT (1ull << 60 | 1)

#define WORDS (PAGE_SIZE / sizeof(uint64_t))
#define IRQ_WORDS                                                                                  \
    (2 *                                                                                           \
     WORDS) /* of a function: all 512 indices that a message can carry lead to its own entries */

/* One for all units: requester IDs are the segment's, and so is the table (2.2.2). All 256 buses:
   what a unit does with an ID behind the table's end is not said. */
#define TABLE_FRAMES 512u
static uint64_t *functions;

static uint64_t *nothing(const struct iommu *u) { return u->interrupts - WORDS; }
static uint64_t *events(const struct iommu *u) { return u->interrupts - 2 * WORDS; }

bool amdvi_able(struct iommu *u)
{
    uint64_t can = cpu_read64(u->regs + FEATURES);
    u->wide = can & CAN_X2APIC && can & CAN_WIDE_IRTE;
    return can & CAN_FLUSH_ALL && (can & LEVELS_RESERVED) != LEVELS_RESERVED;
}

/* Commands, events, a page table that maps nothing; interrupts; of the first unit, the device
   table before all that. */
uint32_t amdvi_frames(void) { return (functions ? 0u : TABLE_FRAMES) + 3 + 2 * IOMMU_FUNCTIONS; }

/* Torn entry: the unit may read it between two of these stores. The word with table and rights
   first names a table that maps nothing, so the function is blocked while the others change, and
   gets the new table last. */
static void set_entry(struct iommu *u, uint32_t rid, uint64_t space, uint64_t domain,
                      uint64_t interrupts)
{
    volatile uint64_t *entry = functions + 4 * rid;
    entry[0] = cpu_pa(nothing(u)) | LEVELS_4 | VALID;
    entry[1] = domain;
    entry[2] = interrupts | IRQ_VALID;
    entry[0] = space | LEVELS_4 | VALID;
}

static void block(struct iommu *u, uint32_t rid) { set_entry(u, rid, cpu_pa(nothing(u)), 0, 0); }

static uint64_t control(const struct iommu *u)
{
    return ENABLE | LOG_EVENTS | COHERENT | RUN | (u->wide ? WIDE_IRTE | X2APIC : 0);
}

static void set_rings(const struct iommu *u)
{
    cpu_write64(u->regs + COMMANDS, cpu_pa(u->queue) | RING_256);
    cpu_write64(u->regs + COMMAND_HEAD, 0);
    cpu_write64(u->regs + COMMAND_TAIL, 0);
    cpu_write64(u->regs + EVENTS, cpu_pa(events(u)) | RING_256);
    cpu_write64(u->regs + EVENT_HEAD, 0);
    cpu_write64(u->regs + EVENT_TAIL, 0);
}

/* No range is excluded. Where the unit can do SNP these registers say instead to which pages a
   completion wait may write, whether SNP is in use or not. */
static void set_exclusion(const struct iommu *u)
{
    uint64_t page = cpu_pa(&u->done) & ~(uint64_t)(PAGE_SIZE - 1);
    bool writes = cpu_read64(u->regs + FEATURES) & CAN_SNP;
    cpu_write64(u->regs + EXCLUSION, writes ? page : 0);
    if (writes)
        cpu_write64(u->regs + EXCLUSION_LIMIT, page);
}

/* Firmware may have left it on: bases change when its rings stand still (3.4.2, 3.4.3). */
static void stop_rings(const struct iommu *u)
{
    cpu_write64(u->regs + CONTROL, 0);
    for (uint32_t n = 0; cpu_read64(u->regs + STATUS) & RUNNING; n++)
        iommu_patience(n);
}

/* The installed system's table for all; its interrupts pass. */
static void amdvi_open_all(uint64_t table)
{
    for (uint32_t rid = 0; rid < 1u << 16; rid++) {
        functions[4 * rid + 1] = 1;
        functions[4 * rid] = table | MAY_READ | MAY_WRITE | LEVELS_4 | VALID;
    }
}

void amdvi_enable(struct iommu *u, void *frames, uint64_t all)
{
    bool first = !functions;
    u->queue = (void *)((uint64_t *)frames + (first ? TABLE_FRAMES * WORDS : 0));
    u->interrupts = (uint64_t *)u->queue + 3 * WORDS;
    functions = first ? frames : functions;
    for (uint32_t rid = 0; first && !all && rid < 1u << 16; rid++)
        block(u, rid);
    if (first && all)
        amdvi_open_all(all);
    stop_rings(u);
    cpu_write64(u->regs + DEVICE_TABLE, cpu_pa(functions) | (TABLE_FRAMES - 1));
    set_rings(u);
    set_exclusion(u);
    cpu_write64(u->regs + CONTROL, control(u));
    amdvi_ask(u);
    iommu_wait(u);
}

void amdvi_attach(struct iommu *u, const struct dv *dv, uint64_t table)
{
    uint64_t interrupts = cpu_pa(u->interrupts + dv->slot * IRQ_WORDS);
    if (table)
        set_entry(u, dv->rid, table | MAY_READ | MAY_WRITE, dv->slot + 1,
                  interrupts | IRQ_REMAP | IRQ_512);
    else
        block(u, dv->rid);
}

/* Interrupt entry (2.2.5.2): fixed, edge, physical; it is invalid while it changes. The table is
 * the function's alone, so no other function's message reaches it. */
uint64_t amdvi_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                    uint32_t vector)
{
    volatile uint64_t *table = u->interrupts + dv->slot * IRQ_WORDS;
    if (u->wide) {
        table[2 * index] = 0;
        table[2 * index + 1] = vector | (uint64_t)(apic_id >> 24) << 56;
        table[2 * index] = vector ? (apic_id & 0xffffff) << 8 | 1 : 0;
    } else {
        ((volatile uint32_t *)table)[index] = vector ? vector << 16 | apic_id << 8 | 1 : 0;
    }
    return index;
}

void amdvi_ask(struct iommu *u)
{
    iommu_put(u, DO_ALL, 0);
    u->asked++;
    iommu_put(u, DO_WAIT | cpu_pa(&u->done), u->asked);
    cpu_write64(u->regs + COMMAND_TAIL, u->tail * sizeof *u->queue);
}

/* A full event log has stopped (2.5.13): start it again. */
static void amdvi_go_on(const struct iommu *u)
{
    if (!(cpu_read64(u->regs + STATUS) & OVERFLOW))
        return;
    cpu_write64(u->regs + CONTROL, control(u) & ~LOG_EVENTS);
    cpu_write64(u->regs + STATUS, OVERFLOW);
    cpu_write64(u->regs + CONTROL, control(u));
}

/* Reason of a fault: the event's code, and four of its flags, PE, RW, PR, I (2.5.3). */
uint64_t amdvi_fault(struct iommu *u)
{
    if (cpu_read64(u->regs + EVENT_TAIL) == u->fault)
        return 0;
    volatile uint64_t *event = events(u) + u->fault / sizeof *event;
    uint64_t what = event[0], address = event[1];
    if (!(what >> 60)) /* torn entry: the tail can be seen before it. The next call finds it */
        return 0;
    event[0] = 0;
    u->fault = (u->fault + 16) % PAGE_SIZE;
    cpu_write64(u->regs + EVENT_HEAD, u->fault);
    amdvi_go_on(u);
    return iommu_record(what, address >> PAGE_SHIFT, what >> 60 << 4 | (what >> 51 & 0xf));
}
