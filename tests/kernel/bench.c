/*
 * What the kernel's own paths cost: the least of many RDTSC differences, less
 * the empty measurement. Under `-icount shift=0` a tick is an instruction.
 * Lines: bench name=NAME instructions=N
 */
#include "kit.h"

#define ROUNDS 1000u
#define LOW    5u
#define MIDDLE 10u
#define HIGH   20u

enum slot {
    DOMAIN = KIT_FREE,
    PORTAL_OTHER,
    PORTAL_OWN,
    BELL,
    CORE_BELL,
    CORE_ANSWER,
    CHILD,
    REGION
};

static volatile uint64_t woken_at;

static void on_call(void) { pt_reply(4); }

/* Skip the faulting UD2. */
static void on_fault(void)
{
    struct utcb *u = kit_utcb(2);
    u->exit.rip += 2;
    u->mtd = MTD_RIP;
    pt_reply(0);
}

/* What is measured. Each call works, for kit_main() has made what it needs. */
static void nothing(void) {}
static void run_nop(void) { ignore(nop()); }
static void run_call_other(void) { ignore(pt_call(PORTAL_OTHER, 4)); }
static void run_call_own(void) { ignore(pt_call(PORTAL_OWN, 4)); }
static void run_fault(void) { __asm__ volatile("ud2" : : : "memory"); }
static void run_up_down(void) { bell_ring(KIT_SCRATCH), bell_wait(KIT_SCRATCH, 0); }

static void run_map(void)
{
    ignore(mr_map(REGION, DOMAIN, MR_READ | MR_WRITE, 0x40000000, 0, 512));
    ignore(mr_unmap(REGION, DOMAIN));
}

static void run_pd(void)
{
    ignore(pd_create(CHILD, SLOT_ROOT_PD, 0, PD_HOST, 0, 8, 8, 0));
    kit_destroy(CHILD);
}

static uint64_t least(void (*run)(void))
{
    uint64_t best = ~0ull;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t start = tsc();
        run();
        uint64_t took = tsc() - start;
        best = took < best ? took : best;
    }
    return best;
}

/* From the semaphore's up until the waiter's next instruction, on whatever core that is. */
static uint64_t least_wake(uint64_t bell, uint64_t answer)
{
    uint64_t best = ~0ull;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t start = tsc();
        bell_ring(bell);
        if (answer)
            bell_wait(answer, 0);
        uint64_t took = woken_at - start;
        best = took < best ? took : best;
    }
    return best;
}

static void wait_here(void)
{
    for (;;) {
        bell_wait(BELL, 0);
        woken_at = tsc();
    }
}

static void wait_there(void)
{
    for (;;) {
        bell_wait(CORE_BELL, 0);
        woken_at = tsc();
        bell_ring(CORE_ANSWER);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} paths[] = {
    {"null-call", run_nop},
    {"portal-other-domain", run_call_other},
    {"portal-own-domain", run_call_own},
    {"fault-reply", run_fault},
    {"sm-up-down", run_up_down},
    {"map-unmap-2MiB", run_map},
    {"pd-create-destroy", run_pd},
};

static void print(const char *name, uint64_t ticks)
{
    kit_print("bench name=%s instructions=%lu\n", name, ticks);
}

static void measure(void)
{
    uint64_t empty = least(nothing);
    for (uint32_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        print(paths[i].name, least(paths[i].run) - empty);
    print("sm-up-waiter", least_wake(BELL, 0) - empty);
}

static void measure_cores(void) { print("sm-up-other-core", least_wake(CORE_BELL, CORE_ANSWER)); }

static bool make_portal(uint64_t slot, uint32_t handler, void (*entry)(void), uint64_t mtd)
{
    return pt_create(slot, SLOT_ROOT_PD, KIT_THREAD + handler, (uint64_t)(uintptr_t)entry, mtd,
                     0) == OK;
}

void kit_main(void)
{
    /* The region first: memory of which something is mapped cannot be split. */
    bool ready = kit_region(REGION) && kit_domain(DOMAIN, 64, 64) && kit_handler(0, DOMAIN, 0) &&
                 kit_handler(1, SLOT_ROOT_PD, 0) && kit_handler(2, SLOT_ROOT_PD, 0);
    ready = ready && sm_create(BELL, SLOT_ROOT_PD, 0) == OK &&
            sm_create(KIT_SCRATCH, SLOT_ROOT_PD, 0) == OK;
    ready = ready && make_portal(PORTAL_OTHER, 0, on_call, 0);
    ready = ready && make_portal(PORTAL_OWN, 1, on_call, 0);
    ready = ready && make_portal(KIT_EMPTY, 2, on_fault, MTD_RIP);
    ready = ready && kit_thread(3, SLOT_ROOT_PD, 0, wait_here, KIT_EMPTY + 1, HIGH);
    kit_run(measure, MIDDLE);
    if (kit_cores() > 1) {
        ready = ready && sm_create(CORE_BELL, SLOT_ROOT_PD, 0) == OK &&
                sm_create(CORE_ANSWER, SLOT_ROOT_PD, 0) == OK;
        ready = ready && kit_thread(4, SLOT_ROOT_PD, 1, wait_there, KIT_EMPTY + 1, LOW);
        kit_run(measure_cores, MIDDLE);
    }
    kit_check("bench", ready);
}
