/*
 * Every capability argument of every call: slot 0, empty, past the table, of
 * every other type, without the right it needs, stale. The call as such is
 * right in all else, and works when nothing is wrong with its capabilities, or
 * is refused for what its row names; a refused one changes no counter.
 */
#include "calls.h"

enum undo { UNDO_NONE, UNDO_DESTROY, UNDO_REVOKE, UNDO_UNMAP };
enum { DST = OBJ_COUNT, ANY }; /* pseudo-types: a slot to fill; an object of any type */

struct field {
    uint8_t arg, shift, bits; /* where in the arguments the slot is; arg 1..5, 0: no more fields */
    uint8_t type, rights;
};

struct call_case {
    const char *name;
    uint64_t call, a[5];
    enum undo undo;
    struct field field[3];
    uint64_t right; /* its status when nothing is wrong with them */
};

#define REFUSED(status, arg) ((uint64_t)(status) | (uint64_t)(arg) << 8)

#define AT1(slot)   ((uint64_t)(slot) << 16)
#define AT2(slot)   ((uint64_t)(slot) << 32)
#define NEW_BY_ROOT (C_NEW | AT1(SLOT_ROOT_PD))
#define PAYER                                                                                      \
    {                                                                                              \
        1, 16, 16, OBJ_PD, PD_CREATE                                                               \
    }
#define TARGET                                                                                     \
    {                                                                                              \
        1, 0, 16, DST, 0                                                                           \
    }

static const struct call_case cases[] = {
    {"pt_call", CALL_PT_CALL, {C_PT, 0}, UNDO_NONE, {{1, 0, 64, OBJ_PT, PT_CALL}}, OK},
    {"sm_up", CALL_SM_UP, {C_SM}, UNDO_NONE, {{1, 0, 64, OBJ_SM, SM_UP}}, OK},
    {"sm_down", CALL_SM_DOWN, {C_SM, 0}, UNDO_NONE, {{1, 0, 64, OBJ_SM, SM_DOWN}}, OK},
    {"ec_recall", CALL_EC_RECALL, {C_VCPU}, UNDO_NONE, {{1, 0, 64, OBJ_EC, EC_RECALL}}, OK},
    {"pd_create",
     CALL_PD_CREATE,
     {NEW_BY_ROOT | AT2(SLOT_ROOT_SYS), PD_HOST | PD_PORTS << 8, 4, 2},
     UNDO_DESTROY,
     {TARGET, PAYER, {1, 32, 32, OBJ_SYS, SYS_PORTS}},
     OK},
    {"ec_create",
     CALL_EC_CREATE,
     {C_NEW | AT1(C_PD) | (uint64_t)EC_THREAD << 48, 0x30002000, 0, 0, 0},
     UNDO_DESTROY,
     {TARGET, PAYER},
     OK},
    {"sc_create",
     CALL_SC_CREATE,
     {C_NEW | AT1(SLOT_ROOT_SYS) | AT2(C_FREE_THREAD), 1, 1000000, 0},
     UNDO_DESTROY,
     {TARGET, {1, 16, 16, OBJ_SYS, SYS_TIME}, {1, 32, 32, OBJ_EC, EC_BIND}},
     OK},
    {"pt_create",
     CALL_PT_CREATE,
     {NEW_BY_ROOT | AT2(C_HANDLER), 0, 0, 0},
     UNDO_DESTROY,
     {TARGET, PAYER, {1, 32, 32, OBJ_EC, EC_BIND}},
     OK},
    {"sm_create", CALL_SM_CREATE, {NEW_BY_ROOT, 0}, UNDO_DESTROY, {TARGET, PAYER}, OK},
    {"mr_split",
     CALL_MR_SPLIT,
     {NEW_BY_ROOT | AT2(C_MR), C_MR_FRAMES - 1},
     UNDO_DESTROY,
     {TARGET, PAYER, {1, 32, 32, OBJ_MR, MR_SPLIT}},
     OK},
    {"mr_map",
     CALL_MR_MAP,
     {C_MR | AT1(C_PD) | AT2(MR_READ | MR_WRITE | MR_EXEC), 0x40000000, 0, 1},
     UNDO_UNMAP,
     {{1, 0, 16, OBJ_MR, MR_READ | MR_WRITE | MR_EXEC}, {1, 16, 16, OBJ_PD, PD_MAP}},
     OK},
    {"mr_unmap",
     CALL_MR_UNMAP,
     {C_MR | AT1(C_PD)},
     UNDO_NONE,
     {{1, 0, 16, OBJ_MR, MR_UNMAP}, {1, 16, 48, OBJ_PD, PD_MAP}},
     OK},
    {"delegate",
     CALL_DELEGATE,
     {SLOT_ROOT_PD | AT1(C_SM), SLOT_ROOT_PD | AT1(C_NEW), RIGHT_ALL},
     UNDO_REVOKE,
     {{1, 0, 16, OBJ_PD, PD_TAKE}, {2, 0, 16, OBJ_PD, PD_GRANT}, {2, 16, 48, DST, 0}},
     OK},
    {"revoke",
     CALL_REVOKE,
     {SLOT_ROOT_PD | AT1(C_NEW)},
     UNDO_NONE,
     {{1, 0, 16, OBJ_PD, PD_GRANT}},
     OK},
    {"vcpu_cpuid", CALL_VCPU_CPUID, {C_VCPU}, UNDO_NONE, {{1, 0, 64, OBJ_EC, EC_SETUP}}, OK},
    {"core_start",
     CALL_CORE_START,
     {SLOT_ROOT_SYS, 0},
     UNDO_NONE,
     {{1, 0, 64, OBJ_SYS, SYS_CORE}},
     REFUSED(BUSY, 2)},
    {"mr_seal",
     CALL_MR_SEAL,
     {C_MR | AT1(C_PD)}, /* not a guest's */
     UNDO_NONE,
     {{1, 0, 16, OBJ_MR, MR_SEAL}, {1, 16, 48, OBJ_PD, PD_MAP}},
     REFUSED(BAD_ARG, 1)},
    {"mr_scrub", CALL_MR_SCRUB, {C_MR}, UNDO_NONE, {{1, 0, 64, OBJ_MR, MR_SEAL}}, OK},
    {"disengage", /* a guest without a core of its own */
     CALL_DISENGAGE,
     {C_GUEST, AFTER_STRICT},
     UNDO_NONE,
     {{1, 0, 64, OBJ_PD, PD_DISENGAGE}},
     REFUSED(BAD_ARG, 1)},
    {"iommu_start", /* while there are guests */
     CALL_IOMMU_START,
     {SLOT_ROOT_SYS | AT1(C_DEVICE), IOMMU_VTD, 1},
     UNDO_NONE,
     {{1, 0, 16, OBJ_SYS, SYS_DEVICE}, {1, 16, 48, OBJ_MR, MR_READ | MR_WRITE}},
     REFUSED(BUSY, 0)},
    {"iommu_fault",
     CALL_IOMMU_FAULT,
     {SLOT_ROOT_SYS, MAX_IOMMUS},
     UNDO_NONE,
     {{1, 0, 64, OBJ_SYS, SYS_DEVICE}},
     REFUSED(BAD_ARG, 2)},
    {"dv_create", /* behind a unit that is not there */
     CALL_DV_CREATE,
     {C_NEW | AT1(C_GUEST) | AT2(SLOT_ROOT_SYS), AT1(MAX_IOMMUS)},
     UNDO_NONE,
     {TARGET, PAYER, {1, 32, 32, OBJ_SYS, SYS_DEVICE}},
     REFUSED(BAD_ARG, 2)},
    {"dv_irq", /* to a vCPU without a core of its own */
     CALL_DV_IRQ,
     {C_DV | AT1(C_VCPU), AT1(32)},
     UNDO_NONE,
     {{1, 0, 16, OBJ_DV, DV_IRQ}, {1, 16, 48, OBJ_EC, EC_RECALL}},
     REFUSED(BAD_ARG, 1)},
};

/* One object of each type, all rights. Nobody has a capability to a mapping. */
static const uint16_t sample[OBJ_COUNT] = {
    [OBJ_PD] = C_PD, [OBJ_EC] = C_HANDLER, [OBJ_SC] = C_TIME,         [OBJ_PT] = C_PT,
    [OBJ_SM] = C_SM, [OBJ_MR] = C_MR,      [OBJ_SYS] = SLOT_ROOT_SYS, [OBJ_DV] = C_DV};

static bool is_here(unsigned type) { return sample[type] && (type != OBJ_DV || calls_unit); }

static uint64_t call_with(const struct call_case *c, const struct field *f, uint64_t slot)
{
    uint64_t a[5];
    for (uint32_t i = 0; i < 5; i++)
        a[i] = c->a[i];
    if (f) {
        uint64_t mask = (f->bits == 64 ? ~0ull : (1ull << f->bits) - 1) << f->shift;
        a[f->arg - 1] = (a[f->arg - 1] & ~mask) | (slot << f->shift & mask);
    }
    return call5(c->call, a[0], a[1], a[2], a[3], a[4]).status;
}

static void undo(const struct call_case *c)
{
    if (c->undo == UNDO_DESTROY)
        kit_destroy(C_NEW);
    if (c->undo == UNDO_DESTROY || c->undo == UNDO_REVOKE)
        kit_empty(C_NEW);
    if (c->undo == UNDO_UNMAP)
        ignore(mr_unmap(C_MR, 0)); /* to tidy up, like the others */
}

static uint32_t wrong; /* answers so far that were not as they should */

static void refuse(const struct call_case *c, const struct field *f, uint64_t slot,
                   enum status status, const char *what)
{
    struct kit_count before = kit_count();
    uint64_t got = call_with(c, f, slot);
    if (!calls_expect(c->name, what, got, status, f->arg)) {
        kit_print("     field at argument %u bit %u\n", f->arg, f->shift);
        wrong++;
    }
    if (!kit_same(before, kit_count())) {
        kit_print("     %s, %s: refused, but something changed\n", c->name, what);
        wrong++;
    }
}

static void try_target(const struct call_case *c, const struct field *f)
{
    refuse(c, f, 0, BAD_CAP, "slot 0");
    refuse(c, f, ROOT_SLOTS, BAD_CAP, "slot past the table");
    refuse(c, f, 0xffff, BAD_CAP, "slot far past the table");
    refuse(c, f, C_SM, BUSY, "slot taken");
}

static void try_rights(const struct call_case *c, const struct field *f)
{
    uint64_t whole = c->a[f->arg - 1] >> f->shift & (f->bits == 64 ? ~0ull : (1ull << f->bits) - 1);
    for (unsigned bit = 1; bit < 0x100; bit <<= 1) {
        if (!(f->rights & bit))
            continue;
        /* If it fails, the call finds no capability, which is another status. */
        ignore(delegate(SLOT_ROOT_PD, whole, SLOT_ROOT_PD, C_COPY, RIGHT_ALL & ~bit));
        refuse(c, f, C_COPY, BAD_RIGHT, "right missing");
        kit_empty(C_COPY);
    }
}

static void try_types(const struct call_case *c, const struct field *f)
{
    for (unsigned type = OBJ_PD; type < OBJ_COUNT; type++)
        if (is_here(type) && type != f->type)
            refuse(c, f, sample[type], BAD_CAP, "another type");
}

static void try_slots(const struct call_case *c, const struct field *f)
{
    refuse(c, f, KIT_EMPTY, BAD_CAP, "empty slot");
    refuse(c, f, ROOT_SLOTS, BAD_CAP, "slot past the table");
    refuse(c, f, f->bits == 64 ? ~0ull : 0xffff, BAD_CAP, "slot far past the table");
    refuse(c, f, C_STALE, BAD_CAP, "stale");
    if ((c->call != CALL_MR_UNMAP && c->call != CALL_DV_IRQ) ||
        f->shift == 0) /* there 0 means: everywhere, nowhere */
        refuse(c, f, 0, BAD_CAP, "slot 0");
}

static void try_field(const struct call_case *c, const struct field *f)
{
    if (f->type == DST) {
        try_target(c, f);
        return;
    }
    try_slots(c, f);
    try_types(c, f);
    try_rights(c, f);
}

/* The rows are sound: with nothing wrong each call does what its row says. */
static void try_right(const struct call_case *c)
{
    kit_own_utcb()->rows = 1;
    kit_own_utcb()->cpuid[0] = (struct cpuid_row){.leaf = 0, .subleaf = CPUID_ANY};
    uint64_t got = call_with(c, 0, 0);
    undo(c);
    if (!calls_expect(c->name, "all right", got, STATUS_CODE(c->right),
                      (unsigned)STATUS_ARG(c->right)))
        wrong++;
}

/* Any object can be destroyed, but only by a capability with the right. */
static void try_destroy(void)
{
    static const struct field f = {1, 0, 64, ANY, RIGHT_DESTROY};
    struct call_case c = {"destroy", CALL_DESTROY, {0}, UNDO_NONE, {f}, OK};
    try_slots(&c, &f);
    for (unsigned type = OBJ_PD; type < OBJ_COUNT; type++) {
        c.a[0] = sample[type];
        if (is_here(type))
            try_rights(&c, &f);
    }
}

/* A row for each call that takes a capability, and a sample of each object that one may lead to. */
static bool grid_is_whole(void)
{
    uint64_t rows = CALLS_BIT(CALL_DESTROY); /* try_destroy() */
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        rows |= CALLS_BIT(cases[i].call);
    bool whole = calls_covered("args.c", rows, CALLS_BIT(CALL_NOP) | CALLS_BIT(CALL_PT_REPLY));
    for (unsigned type = OBJ_NONE + 1; type < OBJ_COUNT; type++)
        if (!sample[type] != (type == OBJ_MP)) {
            kit_print("     no sample of object type %u\n", type);
            whole = false;
        }
    return whole;
}

void args_test(void)
{
    kit_check("capabilities of every call", grid_is_whole());
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct call_case *c = &cases[i];
        uint32_t before = wrong;
        if (c->call == CALL_DV_IRQ && !calls_unit)
            continue;
        try_right(c);
        for (const struct field *f = c->field; f < c->field + 3 && f->arg; f++)
            try_field(c, f);
        kit_check(c->name, wrong == before);
    }
    uint32_t before = wrong;
    try_destroy();
    kit_check("destroy", wrong == before);
}
