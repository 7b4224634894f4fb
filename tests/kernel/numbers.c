/* Every number of every call: too big, too small, misaligned, in conflict. A refused call changes
 * no counter. */
#include "calls.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define HUGE          (~0ull)
#define KERNEL        0xffffffff80000000ull
#define NOT_CANONICAL 0x0000800000000000ull
#define BY_ROOT(slot) ((uint64_t)(slot) | (uint64_t)SLOT_ROOT_PD << 16)
#define THREAD(core, kind)                                                                         \
    (C_NEW | (uint64_t)C_PD << 16 | (uint64_t)(core) << 32 | (uint64_t)(kind) << 48)
#define VCPU(core, kind)                                                                           \
    (C_NEW | (uint64_t)C_GUEST << 16 | (uint64_t)(core) << 32 | (uint64_t)(kind) << 48)
#define TIME(ec)            (C_NEW | (uint64_t)SLOT_ROOT_SYS << 16 | (uint64_t)(ec) << 32)
#define MAP(perm)           (C_MR | (uint64_t)C_PD << 16 | (uint64_t)(perm) << 32)
#define START(mr)           (SLOT_ROOT_SYS | (uint64_t)(mr) << 16)
#define ASSIGN(pd)          (C_NEW | (uint64_t)(pd) << 16 | (uint64_t)SLOT_ROOT_SYS << 32)
#define FUNCTION(rid, unit) ((uint64_t)(rid) | (uint64_t)(unit) << 16)
#define UTCB                0x30002000ull
#define RW                  (MR_READ | MR_WRITE)

struct row {
    const char *what;
    uint64_t call, a[5];
    enum status status;
    unsigned arg;
};

static const struct row rows[] = {
    {"no such call", CALL_COUNT, {0}, BAD_CALL, 0},
    {"no such call, huge", HUGE, {0}, BAD_CALL, 0},
    {"no such call, sign", 0x8000000000000000ull, {0}, BAD_CALL, 0},
    {"pt_call: words", CALL_PT_CALL, {C_PT, UTCB_WORDS + 1}, BAD_ARG, 2},
    {"pt_call: words huge", CALL_PT_CALL, {C_PT, HUGE}, BAD_ARG, 2},
    {"ec_recall of a thread", CALL_EC_RECALL, {C_HANDLER}, BAD_CAP, 1},
    {"pd_create: kind", CALL_PD_CREATE, {BY_ROOT(C_NEW), 2, 4, 4}, BAD_ARG, 2},
    {"pd_create: flags", CALL_PD_CREATE, {BY_ROOT(C_NEW), 2 << 8, 4, 4}, BAD_ARG, 2},
    {"pd_create: flags huge", CALL_PD_CREATE, {BY_ROOT(C_NEW), HUGE << 9, 4, 4}, BAD_ARG, 2},
    {"pd_create: no frames", CALL_PD_CREATE, {BY_ROOT(C_NEW), 0, 0, 4}, BAD_ARG, 3},
    {"pd_create: frames huge", CALL_PD_CREATE, {BY_ROOT(C_NEW), 0, HUGE, 4}, BAD_ARG, 3},
    {"pd_create: frames wrap", CALL_PD_CREATE, {BY_ROOT(C_NEW), 0, 0x100000004ull, 4}, BAD_ARG, 3},
    {"pd_create: objects huge", CALL_PD_CREATE, {BY_ROOT(C_NEW), 0, 4, HUGE}, BAD_ARG, 4},
    {"pd_create: objects wrap", CALL_PD_CREATE, {BY_ROOT(C_NEW), 0, 4, 0x100000001ull}, BAD_ARG, 4},
    {"pd_create: over the quota", CALL_PD_CREATE, {C_NEW | C_PD << 16, 0, 65, 1}, NO_MEMORY, 0},
    {"pd_create: over the objects", CALL_PD_CREATE, {C_NEW | C_PD << 16, 0, 4, 64}, NO_MEMORY, 0},
    {"ec_create: core", CALL_EC_CREATE, {THREAD(MAX_CORES, EC_THREAD), UTCB, 0, 0, 0}, BAD_ARG, 1},
    {"ec_create: core huge",
     CALL_EC_CREATE,
     {THREAD(0xffff, EC_THREAD), UTCB, 0, 0, 0},
     BAD_ARG,
     1},
    {"ec_create: kind", CALL_EC_CREATE, {THREAD(0, EC_VCPU + 1), UTCB, 0, 0, 0}, BAD_ARG, 1},
    {"ec_create: a vCPU in a host domain",
     CALL_EC_CREATE,
     {THREAD(0, EC_VCPU), 0, 0, 0, 0},
     BAD_ARG,
     1},
    {"ec_create: a thread in a guest domain",
     CALL_EC_CREATE,
     {VCPU(0, EC_THREAD), UTCB, 0, 0, 0},
     BAD_ARG,
     1},
    {"ec_create: a vCPU with a UTCB",
     CALL_EC_CREATE,
     {VCPU(0, EC_VCPU), UTCB, 0, 0, 0},
     BAD_ARG,
     2},
    {"ec_create: UTCB misaligned",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB + 8, 0, 0, 0},
     BAD_ARG,
     2},
    {"ec_create: UTCB in the kernel",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), KERNEL, 0, 0, 0},
     BAD_ARG,
     2},
    {"ec_create: UTCB not canonical",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), NOT_CANONICAL, 0, 0, 0},
     BAD_ARG,
     2},
    {"ec_create: UTCB in the last page",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), NOT_CANONICAL - PAGE_SIZE, 0, 0, 0},
     BAD_ARG,
     2},
    {"ec_create: UTCB on something",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), IMAGE_BASE, 0, 0, 0},
     BUSY,
     2},
    {"ec_create: events",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB, CAP_SLOTS, 0, 0},
     BAD_ARG,
     3},
    {"ec_create: events at the end",
     CALL_EC_CREATE,
     {VCPU(0, EC_VCPU), 0, CAP_SLOTS - EVENT_COUNT + 1, 0, 0},
     BAD_ARG,
     3},
    {"ec_create: events huge",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB, HUGE, 0, 0},
     BAD_ARG,
     3},
    {"ec_create: entry in the kernel",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB, 0, KERNEL, 0},
     BAD_ARG,
     4},
    {"ec_create: entry not canonical",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB, 0, NOT_CANONICAL, 0},
     BAD_ARG,
     4},
    {"ec_create: stack in the kernel",
     CALL_EC_CREATE,
     {THREAD(0, EC_THREAD), UTCB, 0, 0, KERNEL},
     BAD_ARG,
     5},
    {"sc_create: priority", CALL_SC_CREATE, {TIME(C_FREE_THREAD), PRIORITIES, 1000, 0}, BAD_ARG, 2},
    {"sc_create: priority huge", CALL_SC_CREATE, {TIME(C_FREE_THREAD), HUGE, 1000, 0}, BAD_ARG, 2},
    {"sc_create: no budget", CALL_SC_CREATE, {TIME(C_FREE_THREAD), 1, 0, 0}, BAD_ARG, 3},
    {"sc_create: budget over period",
     CALL_SC_CREATE,
     {TIME(C_FREE_THREAD), 1, 2000000, 1000000},
     BAD_ARG,
     4},
    {"pt_create: on a thread",
     CALL_PT_CREATE,
     {BY_ROOT(C_NEW) | (uint64_t)C_FREE_THREAD << 32, 0, 0, 0},
     BAD_ARG,
     1},
    {"pt_create: on a vCPU",
     CALL_PT_CREATE,
     {BY_ROOT(C_NEW) | (uint64_t)C_VCPU << 32, 0, 0, 0},
     BAD_ARG,
     1},
    {"pt_create: entry in the kernel",
     CALL_PT_CREATE,
     {BY_ROOT(C_NEW) | (uint64_t)C_HANDLER << 32, KERNEL, 0, 0},
     BAD_ARG,
     2},
    {"pt_create: entry not canonical",
     CALL_PT_CREATE,
     {BY_ROOT(C_NEW) | (uint64_t)C_HANDLER << 32, NOT_CANONICAL, 0, 0},
     BAD_ARG,
     2},
    {"pt_create: mtd",
     CALL_PT_CREATE,
     {BY_ROOT(C_NEW) | (uint64_t)C_HANDLER << 32, 0, 1ull << 32, 0},
     BAD_ARG,
     3},
    {"mr_split: at 0", CALL_MR_SPLIT, {BY_ROOT(C_NEW) | (uint64_t)C_MR << 32, 0}, BAD_ARG, 2},
    {"mr_split: at the end",
     CALL_MR_SPLIT,
     {BY_ROOT(C_NEW) | (uint64_t)C_MR << 32, C_MR_FRAMES},
     BAD_ARG,
     2},
    {"mr_split: huge", CALL_MR_SPLIT, {BY_ROOT(C_NEW) | (uint64_t)C_MR << 32, HUGE}, BAD_ARG, 2},
    {"mr_map: no permission", CALL_MR_MAP, {MAP(0), 0x40000000, 0, 1}, BAD_ARG, 1},
    {"mr_map: write alone", CALL_MR_MAP, {MAP(MR_WRITE), 0x40000000, 0, 1}, BAD_ARG, 1},
    {"mr_map: permission", CALL_MR_MAP, {MAP(MR_READ | 8), 0x40000000, 0, 1}, BAD_ARG, 1},
    {"mr_map: misaligned", CALL_MR_MAP, {MAP(RW), 0x40000001, 0, 1}, BAD_ARG, 2},
    {"mr_map: in the kernel", CALL_MR_MAP, {MAP(RW), KERNEL, 0, 1}, BAD_ARG, 2},
    {"mr_map: not canonical", CALL_MR_MAP, {MAP(RW), NOT_CANONICAL, 0, 1}, BAD_ARG, 2},
    {"mr_map: into the last page",
     CALL_MR_MAP,
     {MAP(RW), NOT_CANONICAL - 2 * PAGE_SIZE, 0, 2},
     BAD_ARG,
     2},
    {"mr_map: first", CALL_MR_MAP, {MAP(RW), 0x40000000, C_MR_FRAMES, 1}, BAD_ARG, 3},
    {"mr_map: first huge", CALL_MR_MAP, {MAP(RW), 0x40000000, HUGE, 1}, BAD_ARG, 3},
    {"mr_map: no frames", CALL_MR_MAP, {MAP(RW), 0x40000000, 0, 0}, BAD_ARG, 4},
    {"mr_map: frames", CALL_MR_MAP, {MAP(RW), 0x40000000, 1, C_MR_FRAMES}, BAD_ARG, 4},
    {"mr_map: frames huge", CALL_MR_MAP, {MAP(RW), 0x40000000, 1, HUGE}, BAD_ARG, 4},
    {"mr_map: frames wrap", CALL_MR_MAP, {MAP(RW), 0x40000000, 1, 1ull << 52}, BAD_ARG, 4},
    {"mr_map: on something", CALL_MR_MAP, {MAP(RW), IMAGE_BASE, 0, 1}, BUSY, 2},
    {"mr_map: across something", CALL_MR_MAP, {MAP(RW), IMAGE_BASE - 2 * PAGE_SIZE, 0, 3}, BUSY, 2},
    {"delegate: source past the table",
     CALL_DELEGATE,
     {BY_ROOT(0) >> 16 | ROOT_SLOTS << 16, SLOT_ROOT_PD | C_NEW << 16, 1},
     BAD_CAP,
     1},
    {"delegate: source huge",
     CALL_DELEGATE,
     {SLOT_ROOT_PD | HUGE << 16, SLOT_ROOT_PD | C_NEW << 16, 1},
     BAD_CAP,
     1},
    {"delegate: source empty",
     CALL_DELEGATE,
     {SLOT_ROOT_PD | KIT_EMPTY << 16, SLOT_ROOT_PD | C_NEW << 16, 1},
     BAD_CAP,
     1},
    {"delegate: source 0",
     CALL_DELEGATE,
     {SLOT_ROOT_PD, SLOT_ROOT_PD | C_NEW << 16, 1},
     BAD_CAP,
     1},
    {"delegate: source stale",
     CALL_DELEGATE,
     {SLOT_ROOT_PD | C_STALE << 16, SLOT_ROOT_PD | C_NEW << 16, 1},
     BAD_CAP,
     1},
    {"delegate: target huge",
     CALL_DELEGATE,
     {SLOT_ROOT_PD | C_SM << 16, SLOT_ROOT_PD | HUGE << 16, 1},
     BAD_CAP,
     2},
    {"revoke: slot 0", CALL_REVOKE, {SLOT_ROOT_PD}, BAD_CAP, 1},
    {"revoke: past the table", CALL_REVOKE, {SLOT_ROOT_PD | ROOT_SLOTS << 16}, BAD_CAP, 1},
    {"revoke: huge", CALL_REVOKE, {SLOT_ROOT_PD | HUGE << 16}, BAD_CAP, 1},
    {"destroy: the system", CALL_DESTROY, {SLOT_ROOT_SYS}, BAD_RIGHT, 1},
    {"core_start: that runs", CALL_CORE_START, {SLOT_ROOT_SYS, 0}, BUSY, 2},
    {"core_start: huge", CALL_CORE_START, {SLOT_ROOT_SYS, HUGE}, BAD_ARG, 2},
    {"vcpu_cpuid: of a thread", CALL_VCPU_CPUID, {C_FREE_THREAD}, BAD_ARG, 1},
    {"mr_seal: to a host domain", CALL_MR_SEAL, {C_MR | (uint64_t)C_PD << 16}, BAD_ARG, 1},
    {"mr_seal: of a device", CALL_MR_SEAL, {C_DEVICE | (uint64_t)C_GUEST << 16}, BAD_ARG, 1},
    {"mr_seal: huge", CALL_MR_SEAL, {C_MR | HUGE << 16}, BAD_CAP, 1},
    {"disengage: a host domain", CALL_DISENGAGE, {C_PD, AFTER_STRICT}, BAD_ARG, 1},
    {"disengage: without a core of its own", CALL_DISENGAGE, {C_GUEST, AFTER_QUIET}, BAD_ARG, 1},
    {"iommu_start: no kind", CALL_IOMMU_START, {START(C_DEVICE), IOMMU_NONE, 1}, BAD_ARG, 2},
    {"iommu_start: kind", CALL_IOMMU_START, {START(C_DEVICE), IOMMU_AMDVI + 1, 1}, BAD_ARG, 2},
    {"iommu_start: kind huge", CALL_IOMMU_START, {START(C_DEVICE), HUGE, 1}, BAD_ARG, 2},
    {"iommu_start: RAM", CALL_IOMMU_START, {START(C_MR), IOMMU_VTD, 1}, BAD_ARG, 1},
    {"iommu_start: for later, beside guests",
     CALL_IOMMU_START,
     {START(C_DEVICE), IOMMU_VTD, 0},
     BUSY,
     0},
    {"iommu_start: buses", CALL_IOMMU_START, {START(C_DEVICE), IOMMU_VTD, 257}, BAD_ARG, 3},
    {"iommu_start: buses huge", CALL_IOMMU_START, {START(C_DEVICE), IOMMU_VTD, HUGE}, BAD_ARG, 3},
    {"iommu_start: region huge", CALL_IOMMU_START, {START(HUGE), IOMMU_VTD, 1}, BAD_CAP, 1},
    {"iommu_fault: unit", CALL_IOMMU_FAULT, {SLOT_ROOT_SYS, MAX_IOMMUS}, BAD_ARG, 2},
    {"iommu_fault: unit huge", CALL_IOMMU_FAULT, {SLOT_ROOT_SYS, HUGE}, BAD_ARG, 2},
    {"iommu_fault: nothing to tell", CALL_IOMMU_FAULT, {SLOT_ROOT_SYS, 0}, BAD_ARG, 2},
    {"dv_create: in a host domain",
     CALL_DV_CREATE,
     {ASSIGN(C_PD), FUNCTION(C_RID + 1, 0)},
     BAD_ARG,
     1},
    {"dv_create: unit",
     CALL_DV_CREATE,
     {ASSIGN(C_GUEST), FUNCTION(C_RID + 1, MAX_IOMMUS)},
     BAD_ARG,
     2},
    {"dv_create: all, for a guest", CALL_DV_CREATE, {ASSIGN(C_GUEST), DV_ALL}, BAD_ARG, 1},
    {"dv_create: unit huge", CALL_DV_CREATE, {ASSIGN(C_GUEST), HUGE}, BAD_ARG, 2},
    {"dv_create: bus", CALL_DV_CREATE, {ASSIGN(C_GUEST), FUNCTION(C_BUSES << 8, 0)}, BAD_ARG, 2},
    {"dv_create: bus 255", CALL_DV_CREATE, {ASSIGN(C_GUEST), FUNCTION(0xffff, 0)}, BAD_ARG, 2},
};

/* What needs an IOMMU. The vector of CALL_DV_IRQ counts with a vCPU that has its core only:
 * messages.c. */
static const struct row with_unit[] = {
    {"iommu_start: another kind", CALL_IOMMU_START, {START(C_DEVICE), IOMMU_AMDVI, 1}, BAD_ARG, 2},
    {"dv_create: assigned", CALL_DV_CREATE, {ASSIGN(C_GUEST), FUNCTION(C_RID, 0)}, BUSY, 2},
    {"dv_irq: index", CALL_DV_IRQ, {C_DV, DV_IRQS}, BAD_ARG, 2},
    {"dv_irq: index in its last bit", CALL_DV_IRQ, {C_DV, 0x8000}, BAD_ARG, 2},
    {"dv_irq: index huge", CALL_DV_IRQ, {C_DV, HUGE}, BAD_ARG, 2},
    {"dv_irq: to a thread",
     CALL_DV_IRQ,
     {C_DV | (uint64_t)C_FREE_THREAD << 16, 32 << 16},
     BAD_ARG,
     1},
    {"dv_irq: to a vCPU without a core of its own",
     CALL_DV_IRQ,
     {C_DV | (uint64_t)C_VCPU << 16, 32 << 16},
     BAD_ARG,
     1},
    {"dv_irq: to something huge", CALL_DV_IRQ, {C_DV | HUGE << 16, 32 << 16}, BAD_CAP, 1},
};

static bool try_row(const struct row *r)
{
    struct kit_count before = kit_count();
    bool ok = calls_expect("numbers", r->what,
                           call5(r->call, r->a[0], r->a[1], r->a[2], r->a[3], r->a[4]).status,
                           r->status, r->arg);
    if (!kit_same(before, kit_count())) {
        kit_print("     %s: something changed\n", r->what);
        ok = false;
    }
    return ok;
}

/* A row for each call that takes a number of which some are wrong. */
static bool grid_is_whole(void)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < COUNT(rows); i++)
        mask |= CALLS_BIT(rows[i].call < CALL_COUNT ? rows[i].call : CALL_NOP);
    for (uint32_t i = 0; i < COUNT(with_unit); i++)
        mask |= CALLS_BIT(with_unit[i].call);
    return calls_covered("numbers.c", mask & ~CALLS_BIT(CALL_NOP),
                         CALLS_BIT(CALL_NOP) | CALLS_BIT(CALL_SM_UP) | CALLS_BIT(CALL_MR_UNMAP) |
                             CALLS_BIT(CALL_MR_SCRUB) | CALLS_BIT(CALL_SM_DOWN) |
                             CALLS_BIT(CALL_SM_CREATE) | /* each deadline and each count is right */
                             CALLS_BIT(CALL_PT_REPLY));  /* comes back to nobody */
}

/* The table of a vCPU's CPUID rows: their number and their order. */
static bool try_cpuid(void)
{
    struct utcb *u = kit_own_utcb();
    bool ok = true;
    static const uint64_t wrong[] = {0, CPUID_ROWS + 1, HUGE, 1ull << 32};
    for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        u->rows = wrong[i];
        ok &= calls_expect("vcpu_cpuid", "rows", STATUS_CODE(vcpu_cpuid(C_VCPU)), BAD_ARG, 0);
    }
    return ok;
}

/* A region that is mapped can be neither cut nor ended. */
static bool try_mapped(void)
{
    bool ok = mr_map(C_MR, C_PD, RW, 0x40000000, 0, 1) == OK;
    ok &= calls_expect("mapped region", "split", mr_split(C_NEW, SLOT_ROOT_PD, C_MR, 1), BUSY, 1);
    ok &= calls_expect("mapped region", "destroy", destroy(C_MR), BUSY, 1);
    ok &= calls_expect("mapped region", "map again", mr_map(C_MR, C_PD, RW, 0x40000000, 1, 1), BUSY,
                       2);
    return mr_unmap(C_MR, C_PD) == OK && ok;
}

void numbers_test(void)
{
    bool ok = true;
    kit_check("numbers of every call", grid_is_whole());
    for (uint32_t i = 0; i < COUNT(rows); i++)
        ok &= try_row(&rows[i]);
    for (uint32_t i = 0; calls_unit && i < COUNT(with_unit); i++)
        ok &= try_row(&with_unit[i]);
    kit_check("numbers", ok);
    kit_check("cpuid rows", try_cpuid());
    kit_check("a mapped region", try_mapped());
}
