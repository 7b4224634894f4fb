/*
 * The interrupt command register (APM2 16.5, 16.13): every delivery mode, to
 * everybody, by every way to name them.
 */
#include "attack_alone.h"

enum { FIXED, LOWEST, SMI, NMI = 4, INIT, STARTUP, MODES = 8 };
enum { SELF = 1, ALL, OTHERS };
#define LOGICAL   (1u << 11)
#define EVERYBODY 0xffffffffu
#define CORES     16u
#define VECTOR    0x40u

struct target {
    uint32_t to, flags;
};

/* Beyond each core by its ID and each by its bit in the cluster. */
static const struct target more[] = {
    {EVERYBODY, 0},           {EVERYBODY, LOGICAL},
    {0xffff, LOGICAL},        {0x1ffff, LOGICAL},
    {0xffffffff, LOGICAL},    {0xff, 0},
    {0xff, LOGICAL},          {0, SELF << 18},
    {0, (uint32_t)ALL << 18}, {0, (uint32_t)OTHERS << 18},
};
#define TARGETS (2 * CORES + sizeof(more) / sizeof(more[0]))

static struct target target(uint32_t i)
{
    if (i < CORES)
        return (struct target){i, 0};
    if (i < 2 * CORES)
        return (struct target){1u << (i - CORES), LOGICAL};
    return more[i - 2 * CORES];
}

/* INIT and SIPI are carried out while there is a VMM: not to this core, or it ends here. */
static bool hurts_only_itself(uint32_t mode, const struct target *t)
{
    uint32_t id = (uint32_t)rdmsr(MSR_X2APIC(APIC_ID));
    bool self = t->flags & LOGICAL ? t->to & 1u << id || t->to == EVERYBODY
                                   : t->to == id || t->to == EVERYBODY;
    return (mode == INIT || mode == STARTUP) && (self || t->flags & (uint32_t)OTHERS << 18);
}

/* The VMM refuses an INIT or SIPI to a stranger. No TRY here: an NMI would be taken for the fault.
 */
static void skip_wrmsr(struct frame *f) { f->rip += 2; }

/* Each vector, edge or level triggered, asserted or not. */
static void send_all(uint32_t mode, const struct target *t)
{
    static const uint8_t vectors[] = {0, 2, 14, 16, 0x20, VECTOR, 0xff};
    for (uint32_t v = 0; v < sizeof(vectors); v++)
        for (uint32_t level = 0; level < 4; level++)
            send_icr((uint64_t)t->to << 32 | t->flags | level << 14 | mode << 8 | vectors[v]);
}

static void storm(bool engaged)
{
    guest_handler[EXCEPTION_GP] = skip_wrmsr;
    for (uint32_t mode = 0; mode < MODES; mode++)
        for (uint32_t i = 0; i < TARGETS; i++) {
            struct target t = target(i);
            if (!engaged || !hurts_only_itself(mode, &t))
                send_all(mode, &t);
        }
}

static void storms(uint64_t passes, bool engaged)
{
    interrupts_on();
    for (; passes > 0; passes--)
        storm(engaged);
    interrupts_off();
}

static bool heard(void) { return taken[VECTOR] > 0 && taken[EXCEPTION_NMI] > 0; }

void icr_engaged(uint64_t passes, uint64_t unused)
{
    (void)unused;
    storms(passes, true);
    guest_print("attack_alone: icr: %s\n", heard() ? "ok" : "FAIL it does not even reach itself");
    taken[VECTOR] = taken[EXCEPTION_NMI] = 0;
}

void act_icr(uint64_t passes, uint64_t unused)
{
    (void)unused;
    storms(passes, false);
    expect(heard());
}
