/*
 * Making and ending an object costs what the object is, however many others there are:
 * counted in instructions, which are TSC ticks under -icount.
 */
#include "kit.h"
#include <lib/format.h>

#define CORES 4u
#define LEFT  40u   /* objects that stay free when the table is full */
#define FAR   1000u /* instructions more for each core that had nothing to do with it */

enum slot { N_PD = KIT_FREE, N_FILL, N_NEW, N_HANDLER };

static uint64_t new_semaphore(void) { return sm_create(N_NEW, SLOT_ROOT_PD, 0); }
static uint64_t new_portal(void)
{
    return pt_create(N_NEW, SLOT_ROOT_PD, N_HANDLER, 0x400000, 0, 0);
}
static uint64_t new_thread(void)
{
    return ec_create(N_NEW, SLOT_ROOT_PD, 0, EC_THREAD, 0x70000000, KIT_EMPTY, 0x400000, 0).status;
}
static uint64_t new_handler(void)
{
    return ec_create(N_NEW, SLOT_ROOT_PD, 0, EC_HANDLER, 0x70000000, KIT_EMPTY, 0, 0).status;
}

static const struct kind {
    const char *name;
    uint64_t (*make)(void);
    uint64_t limit; /* instructions */
} kinds[] = {
    {"a semaphore", new_semaphore, 1000},
    {"a portal", new_portal, 1000},
    {"a thread", new_thread, 4500},
    {"a handler", new_handler, 4500},
};

/* Both, of the second of its kind: its page tables are there. */
static uint64_t cost(const struct kind *k)
{
    uint64_t took = 0;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t begin = tsc();
        if (k->make() != OK || destroy(N_NEW) != OK)
            return ~0ull;
        took = tsc() - begin;
    }
    return took;
}

/* `when` and on which cores; all their instructions count. */
static void end_each(const char *when, uint64_t more)
{
    char name[96];
    for (const struct kind *k = kinds; k < kinds + sizeof(kinds) / sizeof(kinds[0]); k++) {
        uint64_t took = cost(k);
        format(name, sizeof(name), "making and ending %s of %u objects, %s", k->name,
               kit_stat->objects + 1, when);
        kit_print("     %lu instructions\n", took);
        kit_check(name, took <= k->limit + more);
    }
}

/* Semaphores that nobody names, until few objects are free. */
static bool fill(void)
{
    uint32_t n = kit_stat->objects_free - LEFT;
    bool ok = pd_create(N_PD, SLOT_ROOT_PD, 0, PD_HOST, 0, 8, n, 0) == OK;
    for (uint32_t i = 1; ok && i < n; i++)
        ok = sm_create(N_FILL, N_PD, 0) == OK && revoke(SLOT_ROOT_PD, N_FILL) == OK;
    return ok;
}

static bool start_cores(void)
{
    bool ok = true;
    for (uint32_t i = 1; i < CORES && ok; i++)
        ok = kit_core(i);
    return ok;
}

void kit_main(void)
{
    bool ok =
        ec_create(N_HANDLER, SLOT_ROOT_PD, 0, EC_HANDLER, 0x70001000, KIT_EMPTY, 0, 0).status == OK;
    kit_check("a handler", ok);
    end_each("few others, one core", 0);
    kit_check("a full table", fill());
    end_each("many others, one core", 0);
    kit_check("four cores", start_cores());
    end_each("many others, four cores", (CORES - 1) * FAR);
    kit_check("all that filled the table ends", destroy(N_PD) == OK);
}
