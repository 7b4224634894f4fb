/* See kit.h. */
#include "kit.h"
#include <lib/start.h>

#include <lib/format.h>
#include <root/hardware/port.h>

#define COM1       0x3f8
#define SLICE      10000000u  /* TSC ticks */
#define START_TIME 100000000u /* TSC ticks */
#define STACK      8192u
#define STAT       0x10010000ull
#define UTCBS      0x10040000ull /* behind the counters */
#define STAT_PAGES ((sizeof(struct kernel_stat) + PAGE_SIZE - 1) / PAGE_SIZE)

uint8_t root_stack[ROOT_STACK_SIZE] __attribute__((aligned(16)));
static uint8_t stacks[KIT_THREADS][STACK] __attribute__((aligned(16)));
static const struct boot_info *const boot = (const struct boot_info *)ROOT_INFO;
const volatile struct kernel_stat *const kit_stat = (const volatile struct kernel_stat *)STAT;
static uint32_t passed, failed;
static void (*job)(void);

static void put(const char *text, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        while (!(port_in8(COM1 + 5) & 0x20))
            ;
        port_out8(COM1, (uint8_t)text[i]);
    }
}

void kit_print(const char *text, ...)
{
    char line[256];
    va_list args;
    va_start(args, text);
    put(line, format_va(line, sizeof(line), text, args));
    va_end(args);
}

void kit_check(const char *name, bool ok)
{
    kit_print("%s %s\n", ok ? "ok" : "FAIL", name);
    *(ok ? &passed : &failed) += 1;
}

struct kit_count kit_count(void)
{
    return (struct kit_count){kit_stat->frames_free, kit_stat->objects_free,
                              kit_stat->table_frames};
}

bool kit_same(struct kit_count a, struct kit_count b)
{
    return a.frames == b.frames && a.objects == b.objects && a.tables == b.tables;
}

bool kit_core(uint32_t number)
{
    for (uint64_t end = tsc() + START_TIME; !kit_stat->core[number].online && tsc() < end;) {
        ignore(core_start(SLOT_ROOT_SYS, number)); /* whether it comes shows here */
        for (uint64_t next = tsc() + START_TIME / 1000; tsc() < next;)
            __asm__ volatile("pause");
    }
    return kit_stat->core[number].online;
}

void kit_await_core(uint32_t number)
{
    while (!kit_core(number)) {
    }
}

uint32_t kit_cores(void)
{
    uint32_t online = 1;
    while (online < MAX_CORES && kit_core(online))
        online++;
    return online;
}

/* The root slot of the region that the image lies in, and the frame it starts at there. */
static uint64_t image_region(uint64_t *frame)
{
    uint32_t i = 0;
    while (boot->root_base - boot->range[i].base >= boot->range[i].size)
        i++;
    *frame = (boot->root_base - boot->range[i].base) >> PAGE_SHIFT;
    return SLOT_ROOT_MR + i;
}

bool kit_domain(uint64_t slot, uint32_t frames, uint32_t objects)
{
    return kit_domain_with(slot, 0, frames, objects);
}

bool kit_domain_with(uint64_t slot, uint64_t cores, uint32_t frames, uint32_t objects)
{
    uint64_t frame, mr = image_region(&frame), va = IMAGE_BASE;
    uint64_t s = pd_create(slot, SLOT_ROOT_PD, 0, PD_HOST, 0, frames, objects, cores);
    const struct {
        uint32_t pages, perm;
    } parts[] = {{boot->root_text, MR_READ | MR_EXEC},
                 {boot->root_rodata, MR_READ},
                 {boot->root_data, MR_READ | MR_WRITE}};
    for (uint32_t i = 0; s == OK && i < 3; i++) {
        s = mr_map(mr, slot, parts[i].perm, va, frame, parts[i].pages);
        frame += parts[i].pages;
        va += (uint64_t)parts[i].pages << PAGE_SHIFT;
    }
    return s == OK;
}

struct utcb *kit_utcb(uint32_t i) { return (struct utcb *)(UTCBS + i * (uint64_t)PAGE_SIZE); }
struct utcb *kit_own_utcb(void) { return (struct utcb *)ROOT_UTCB; }

static bool new_thread(uint32_t i, uint64_t pd, uint32_t core, enum ec_kind kind, uint64_t entry,
                       uint64_t events)
{
    return ec_create(KIT_THREAD + i, pd, core, kind, address_of(kit_utcb(i)), events, entry,
                     address_of(stacks[i] + STACK - 8))
               .status == OK;
}

bool kit_handler(uint32_t i, uint64_t pd, uint32_t core)
{
    return new_thread(i, pd, core, EC_HANDLER, 0, KIT_EMPTY);
}

bool kit_thread(uint32_t i, uint64_t pd, uint32_t core, void (*entry)(void), uint64_t events,
                uint32_t priority)
{
    return new_thread(i, pd, core, EC_THREAD, (uint64_t)(uintptr_t)entry, events) &&
           sc_create(KIT_TIME + i, SLOT_ROOT_SYS, KIT_THREAD + i, priority, SLICE, 0) == OK;
}

void kit_end(uint32_t i)
{
    kit_destroy(KIT_THREAD + i);
    kit_empty(KIT_THREAD + i);
    kit_empty(KIT_TIME + i);
}

static void run_job(void)
{
    job();
    bell_ring(KIT_DONE);
    kit_park();
}

void kit_run(void (*work)(void), uint32_t priority)
{
    job = work;
    ignore(sm_create(KIT_DONE, SLOT_ROOT_PD, 0)); /* without it, the work's checks are missing */
    kit_thread(KIT_THREADS - 1, SLOT_ROOT_PD, 0, run_job, KIT_EMPTY, priority);
    bell_wait(KIT_DONE, 0);
    kit_end(KIT_THREADS - 1);
    kit_destroy(KIT_DONE);
}

uint64_t kit_region(uint64_t slot)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < boot->ranges; i++)
        if (boot->range[i].kind == RANGE_RAM && boot->range[i].size > boot->range[best].size)
            best = i;
    uint64_t middle = (boot->range[best].base + boot->range[best].size / 2) & ~0x1fffffull;
    uint64_t status = mr_split(slot, SLOT_ROOT_PD, SLOT_ROOT_MR + best,
                               (middle - boot->range[best].base) >> PAGE_SHIFT);
    return status == OK ? middle : 0;
}

const struct boot_range *kit_range(uint64_t address, uint64_t *slot)
{
    for (uint32_t i = 0; i < boot->ranges; i++)
        if (address - boot->range[i].base < boot->range[i].size) {
            *slot = SLOT_ROOT_MR + i;
            return &boot->range[i];
        }
    return 0;
}

bool kit_cut(uint64_t address, uint64_t frames, uint64_t to, uint64_t rest)
{
    uint64_t slot = 0;
    const struct boot_range *r = kit_range(address, &slot);
    return r && mr_split(to, SLOT_ROOT_PD, slot, (address - r->base) >> PAGE_SHIFT) == OK &&
           mr_split(rest, SLOT_ROOT_PD, to, frames) == OK;
}

uint64_t kit_random(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void __attribute__((noreturn)) reset_machine(void)
{
    port_out8(0xcf9, 6);
    port_out8(0x64, 0xfe);
    for (;;)
        ;
}

int main(void);
int main(void)
{
    /* If it fails, the first look at a counter ends the test. */
    ignore(mr_map(SLOT_ROOT_STAT, SLOT_ROOT_PD, MR_READ, STAT, 0, STAT_PAGES));
    kit_main();
    kit_print("tests: %u passed, %u failed\n", passed, failed);
    reset_machine();
}
