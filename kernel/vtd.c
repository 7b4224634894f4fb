/* Intel's IOMMU: second-level tables in legacy mode, interrupt remapping, queued invalidation.
 * Numbers are VT-d 3.3's. */
#include <iommu.h>

/* Registers (11.4). */
enum { CAP = 0x08, ECAP = 0x10, GCMD = 0x18, GSTS = 0x1c, RTADDR = 0x20, FSTS = 0x34 };
enum { PMEN = 0x64, IQH = 0x80, IQT = 0x88, IQA = 0x90, IRTA = 0xb8 };

/* Needed: tables of four levels, 2 MiB and 1 GiB pages, draining of reads and writes. Refused:
   write buffers, and caching of what is absent (11.4.2). The queue, interrupt remapping, 32-bit
   APIC IDs (11.4.3). */
#define CAP_NEEDED  (1ull << 10 | 1ull << 34 | 1ull << 35 | 1ull << 54 | 1ull << 55)
#define CAP_REFUSED (1ull << 4 | 1ull << 7)
#define CAP_DOMAINS 7ull /* more than 16 */
enum { ECAP_COHERENT = 1, ECAP_NEEDED = 1 << 1 | 1 << 3 | 1 << 4 };

/* Bits of GCMD; the same ones of GSTS answer (11.4.4). Bit 23 stays off: no interrupts in
 * compatibility format. */
#define TRANSLATE (1u << 31)
#define SET_ROOTS (1u << 30)
#define QUEUE     (1u << 26)
#define REMAP     (1u << 25)
#define SET_REMAP (1u << 24)
#define STATE     (TRANSLATE | QUEUE | REMAP)

/* Commands (6.5.2): all of each, drained. */
enum { DO_CONTEXTS = 0x11, DO_IOTLB = 0xd2, DO_INTERRUPTS = 0x04, DO_WAIT = 0x25, DO_FENCE = 0x65 };
/* In tables and in their addresses (9.1, 9.3, 9.10, 11.4.29). */
enum { PRESENT = 1, LEVELS_4 = 2, WHOLE_RID = 1 << 18, X2APIC = 1 << 11, ENTRIES_256 = 7 };
enum { RECORD_OVERFLOW = 1, INTERRUPT_FAULT = 2 };
#define SCALABLE (3ull << 10) /* in RTADDR: tables of another kind (11.4.5) */
#define RECORD   (1ull << 63)
#define WORDS    (PAGE_SIZE / sizeof(uint64_t))

static uint64_t records_at(uint64_t cap) { return (cap >> 24 & 0x3ff) * 16; }
static uint32_t records(uint64_t cap) { return (uint32_t)(cap >> 40 & 0xff) + 1; }

bool vtd_able(struct iommu *u)
{
    uint64_t cap = cpu_read64(u->regs + CAP), ecap = cpu_read64(u->regs + ECAP);
    u->wide = true;
    u->coherent = ecap & ECAP_COHERENT;
    return (cap & CAP_NEEDED) == CAP_NEEDED && !(cap & CAP_REFUSED) && cap & CAP_DOMAINS &&
           (ecap & ECAP_NEEDED) == ECAP_NEEDED &&
           records_at(cap) + records(cap) * 16 <= PAGE_SIZE &&
           !(cpu_read32(u->regs + GSTS) & TRANSLATE && cpu_read64(u->regs + RTADDR) & SCALABLE);
}

static void command(const struct iommu *u, uint32_t bit, bool on)
{
    uint32_t others = cpu_read32(u->regs + GSTS) & STATE & ~bit;
    cpu_write32(u->regs + GCMD, others | (on ? bit : 0));
    for (uint32_t n = 0; !(cpu_read32(u->regs + GSTS) & bit) == on; n++)
        iommu_patience(n);
}

/* Firmware may have left the unit on, to keep DMA out. Its translation stays on until ours is
   there, so that no device gets a moment without; its queue ends first (11.4.4, 6.5.2). */
static void stop_queue(const struct iommu *u)
{
    if (!(cpu_read32(u->regs + GSTS) & QUEUE))
        return;
    for (uint32_t n = 0; cpu_read64(u->regs + IQH) != cpu_read64(u->regs + IQT); n++)
        iommu_patience(n);
    command(u, QUEUE, false);
}

/* Regions that firmware keeps from all DMA, translated or not (11.4.8). */
static void unprotect(const struct iommu *u)
{
    if (cpu_read32(u->regs + PMEN) & 1)
        cpu_write32(u->regs + PMEN, 0);
    for (uint32_t n = 0; cpu_read32(u->regs + PMEN) & 1; n++)
        iommu_patience(n);
}

/* Root table, queue, interrupts, and a table of contexts for each bus. */
uint32_t vtd_frames(uint32_t buses) { return 3 + buses; }

/* All buses have one table of contexts, all of which are the installed system's. */
static void vtd_open_all(struct iommu *u, uint64_t table)
{
    uint64_t *contexts = u->functions + 3 * WORDS;
    for (uint32_t i = 0; i < WORDS; i += 2) {
        contexts[i] = table | PRESENT;
        contexts[i + 1] = LEVELS_4 | 1 << 8;
        u->functions[i] = cpu_pa(contexts) | PRESENT;
    }
}

void vtd_enable(struct iommu *u, void *frames, uint64_t all)
{
    u->functions = frames;
    u->queue = (void *)(u->functions + WORDS);
    u->interrupts = u->functions + 2 * WORDS;
    for (uint32_t bus = 0; bus < u->buses; bus++)
        u->functions[2 * bus] = cpu_pa(u->functions + (3 + bus) * WORDS) | PRESENT;
    if (all)
        vtd_open_all(u, all);
    stop_queue(u);
    cpu_write64(u->regs + RTADDR, cpu_pa(u->functions));
    command(u, SET_ROOTS, true);
    cpu_write64(u->regs + IQT, 0);
    cpu_write64(u->regs + IQA, cpu_pa(u->queue));
    command(u, QUEUE, true);
    if (!all) {
        cpu_write64(u->regs + IRTA, cpu_pa(u->interrupts) | X2APIC | ENTRIES_256);
        command(u, SET_REMAP, true);
    }
    vtd_ask(u, true);
    iommu_wait(u);
    command(u, TRANSLATE, true);
    if (!all)
        command(u, REMAP, true);
    unprotect(u);
}

/* Torn entry (9.3): the unit may read it between two of these stores. The half with PRESENT is
 * cleared first and set last: meanwhile the function is blocked. */
void vtd_attach(struct iommu *u, const struct dv *dv, uint64_t table)
{
    volatile uint64_t *context = u->functions + (3 + (dv->rid >> 8)) * WORDS + (dv->rid & 0xff) * 2;
    context[0] = 0;
    context[1] = LEVELS_4 | (uint64_t)(dv->slot + 1) << 8;
    context[0] = table ? table | PRESENT : 0;
}

/* Interrupt entry (9.10): fixed, edge, physical, and only for messages with this requester ID. It
 * is not present while it changes. */
uint64_t vtd_irte(struct iommu *u, const struct dv *dv, uint32_t index, uint32_t apic_id,
                  uint32_t vector)
{
    uint32_t n = dv->slot * DV_IRQS + index;
    volatile uint64_t *entry = u->interrupts + 2 * n;
    entry[0] = 0;
    entry[1] = WHOLE_RID | dv->rid;
    entry[0] = vector ? (uint64_t)apic_id << 32 | vector << 16 | PRESENT : 0;
    if (!u->coherent)
        cpu_clflush(entry);
    return n;
}

/* Order: context entries are dropped, and that is waited for, before translations are. Otherwise
   the unit could read a translation again by an old context entry after its translations were
   dropped. */
void vtd_ask(struct iommu *u, bool tables)
{
    iommu_put(u, DO_CONTEXTS, 0);
    iommu_put(u, DO_FENCE | ++u->asked << 32, cpu_pa(&u->done));
    iommu_put(u, DO_IOTLB, 0);
    iommu_put(u, DO_INTERRUPTS, 0);
    iommu_put(u, DO_WAIT | ++u->asked << 32, cpu_pa(&u->done));
    if (tables && !u->coherent)
        cpu_wbinvd(); /* the unit does not look into caches for its tables; for its queue it does */
    cpu_write64(u->regs + IQT, u->tail * sizeof *u->queue);
}

/* The oldest fault. That of an interrupt has the index of its entry in the address's place
 * (11.4.14). */
uint64_t vtd_fault(struct iommu *u)
{
    uint64_t cap = cpu_read64(u->regs + CAP);
    for (uint32_t n = records(cap); n > 0; n--) {
        uint64_t at = u->regs + records_at(cap) + u->fault * 16, low = cpu_read64(at),
                 high = cpu_read64(at + 8), reason = high >> 32 & 0xff;
        u->fault = (u->fault + 1) % records(cap);
        if (!(high & RECORD))
            continue;
        cpu_write64(at + 8, RECORD); /* cleared by writing it */
        cpu_write32(u->regs + FSTS, RECORD_OVERFLOW);
        return iommu_record(high, reason >> 4 == INTERRUPT_FAULT ? low >> 48 : low >> PAGE_SHIFT,
                            reason);
    }
    return 0;
}
