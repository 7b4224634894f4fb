/*
 * The janitor: it makes the storm's domains, ends them at random moments, and
 * compares what the kernel has left after each epoch. Boot modules named
 * seed=N, epochs=N, cores=N, nap=TICKS say how; the last seed is printed.
 */
#include "storm.h"
#include "pci.h"

#include <lib/string.h>

#define WINDOW       0x50000000ull
#define VTD_AT       0xfed90000ull
#define AMDVI_AT     0xfed80000ull
#define THREAD(d, t) ((d)*STORM_THREADS + (t))

enum slot { S_UNIT = KIT_FREE, S_REST, S_SYS, S_MR, S_PD = S_MR + STORM_DOMAINS + 1 };

extern const uint8_t guest_timer[], guest_listen[], guest_flood[], guest_nmi[], guest_end[],
    guest_stubs[], guest_stubs_end[];

struct storm storm = {.seed = 1, .epochs = 20, .cores = 4, .nap = 200000, .device = PCI_NONE};
static const struct boot_info *const boot = (const struct boot_info *)ROOT_INFO;

static void rest(uint64_t ticks) { bell_wait(KIT_SCRATCH, tsc() + ticks); }

/* ---- what the boot modules say ---------------------------------------------- */
static void read_option(const char *name)
{
    const struct {
        const char *key;
        uint64_t *value;
    } known[] = {{"seed=", &storm.seed},
                 {"epochs=", &storm.epochs},
                 {"cores=", &storm.cores},
                 {"nap=", &storm.nap}};
    for (uint32_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint64_t value = 0, length = strlen(known[i].key);
        if (memcmp(name, known[i].key, length) != 0)
            continue;
        for (const char *c = name + length; *c >= '0' && *c <= '9'; c++)
            value = 10 * value + (uint64_t)(*c - '0');
        *known[i].value = value;
    }
}

/* ---- the machine ------------------------------------------------------------ */
static void start_cores(void)
{
    for (uint32_t i = 1; i < storm.cores; i++)
        kit_await_core(i);
}

/* The region of each domain, and page tables for root's view of one. */
static bool take_memory(void)
{
    bool ok = kit_region(S_MR) != 0;
    for (uint32_t d = 0; d < STORM_DOMAINS; d++)
        ok = ok && mr_split(S_MR + d + 1, SLOT_ROOT_PD, S_MR + d, STORM_FRAMES) == OK;
    ok = ok && mr_map(S_MR, SLOT_ROOT_PD, MR_READ | MR_WRITE, WINDOW, 0, STORM_FRAMES) == OK &&
         mr_unmap(S_MR, 0) == OK;
    return ok && sm_create(KIT_SCRATCH, SLOT_ROOT_PD, 0) == OK;
}

/* The region of device memory with `address` in it, its first page in *first; SLOT_ROOT_MR +
 * boot->ranges: none. */
static uint64_t region_of(uint64_t address, uint64_t *first)
{
    uint32_t i = 0;
    while (i < boot->ranges && address - boot->range[i].base >= boot->range[i].size)
        i++;
    *first = i < boot->ranges ? (address - boot->range[i].base) >> PAGE_SHIFT : 0;
    return SLOT_ROOT_MR + i;
}

/* Where VT-d's registers would be, nothing answers on a machine with AMD-Vi: all ones, or none. */
static bool has_vtd(void)
{
    uint64_t frame, mr = region_of(VTD_AT, &frame);
    if (mr_map(mr, SLOT_ROOT_PD, MR_READ, WINDOW, frame, 1) != OK)
        return false;
    uint32_t version = *(volatile uint32_t *)WINDOW;
    return mr_unmap(mr, SLOT_ROOT_PD) == OK && version && version + 1;
}

/* With an IOMMU and the device edu: the device is the domains' to assign. */
static void find_device(void)
{
    uint32_t rid = edu_find();
    if (rid == PCI_NONE)
        return;
    bool vtd = has_vtd();
    uint64_t frame, mr = region_of(vtd ? VTD_AT : AMDVI_AT, &frame);
    if (mr_split(S_UNIT, SLOT_ROOT_PD, mr, frame) == OK &&
        mr_split(S_REST, SLOT_ROOT_PD, S_UNIT, vtd ? 1 : 4) == OK &&
        iommu_start(SLOT_ROOT_SYS, S_UNIT, vtd ? IOMMU_VTD : IOMMU_AMDVI, 1).status == OK)
        storm.device = rid;
    kit_check(vtd ? "VT-d and a device" : "AMD-Vi and a device", storm.device == rid);
}

/* ---- domains ---------------------------------------------------------------- */
static void write_guest(uint64_t *s)
{
    const uint8_t *const codes[] = {guest_timer, guest_listen, guest_flood, guest_nmi};
    uint8_t *memory = (uint8_t *)WINDOW;
    const uint8_t *code = codes[storm_random(s) % 4];
    struct storm_shared *shared = (struct storm_shared *)WINDOW;
    memset(memory, 0, STORM_FRAMES * PAGE_SIZE);
    memcpy(memory + STORM_CODE, code,
           code + 0x400 < guest_end ? 0x400 : (uint64_t)(guest_end - code));
    memcpy(memory + STORM_STUBS, guest_stubs, (uint64_t)(guest_stubs_end - guest_stubs));
    for (uint64_t v = 0; v < 256; v++)
        ((volatile uint64_t *)(WINDOW + STORM_IDT))[v] =
            (STORM_STUBS + 16 * v) | 8 << 16 | 0x8e0000000000;
    ((volatile uint64_t *)(WINDOW + STORM_GDT))[1] = 0x00cf9b000000ffff;
    ((volatile uint64_t *)(WINDOW + STORM_GDT))[2] = 0x00cf93000000ffff;
    shared->rounds = 1 + (uint32_t)(storm_random(s) % 1000);
    shared->arg = (uint32_t)(storm_random(s) % 4);
}

/* The region may be another's still, or a dead guest's: then its guests find what is there.
   Nor does any other call that makes a domain have to work: others may be ending its parts. */
static void make_region_ready(uint32_t d, uint64_t *s)
{
    for (uint32_t i = 0; i < 100 && mr_scrub(S_MR + d) == AGAIN; i++)
        ;
    ignore(mr_unmap(S_MR + d, 0));
    if (mr_map(S_MR + d, SLOT_ROOT_PD, MR_READ | MR_WRITE, WINDOW, 0, STORM_FRAMES) != OK)
        return;
    write_guest(s);
    ignore(mr_unmap(S_MR + d, SLOT_ROOT_PD));
}

static void make_domain(uint32_t d, uint64_t *s)
{
    if (!kit_domain(S_PD + d, 200, 100))
        return;
    make_region_ready(d, s);
    ignore(delegate(SLOT_ROOT_PD, S_PD + d, S_PD + d, STORM_PD, RIGHT_ALL & ~RIGHT_DESTROY));
    ignore(delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, S_PD + d, STORM_SYS,
                    SYS_TIME | SYS_CORE | SYS_GUEST | SYS_DEVICE));
    ignore(delegate(SLOT_ROOT_PD, S_MR + d, S_PD + d, STORM_MR,
                    MR_READ | MR_WRITE | MR_EXEC | MR_UNMAP | MR_SEAL));
    for (uint32_t other = 0; other < STORM_DOMAINS; other++) {
        ignore(delegate(SLOT_ROOT_PD, S_PD + other, S_PD + d, STORM_PEER + other, RIGHT_ALL));
        ignore(revoke(S_PD + other, STORM_PEER + d));
        ignore(delegate(SLOT_ROOT_PD, S_PD + d, S_PD + other, STORM_PEER + d, RIGHT_ALL));
    }
    uint32_t cores =
        (uint32_t)(storm.cores > 2 ? storm.cores - 1 : storm.cores); /* the last is for guests */
    for (uint32_t t = 0; t < STORM_THREADS; t++)
        kit_thread(THREAD(d, t), S_PD + d, (d + t) % cores, storm_thread, STORM_FAULT,
                   1 + (uint32_t)(storm_random(s) % 20));
}

static void end_domain(uint32_t d)
{
    kit_destroy(S_PD + d);
    kit_empty(S_PD + d);
    for (uint32_t t = 0; t < STORM_THREADS; t++) {
        kit_empty(KIT_THREAD + THREAD(d, t));
        kit_empty(KIT_TIME + THREAD(d, t));
    }
}

static void epoch(uint64_t *s)
{
    for (uint32_t d = 0; d < STORM_DOMAINS; d++)
        make_domain(d, s);
    for (uint64_t n = storm_random(s) % 8; n; n--) {
        rest(1 + storm_random(s) % storm.nap);
        uint32_t d = (uint32_t)(storm_random(s) % STORM_DOMAINS);
        end_domain(d);
        make_domain(d, s);
    }
    rest(1 + storm_random(s) % storm.nap);
    for (uint32_t d = 0; d < STORM_DOMAINS; d++)
        end_domain(d);
}

void kit_main(void)
{
    for (uint32_t i = 0; i < boot->modules; i++)
        read_option(boot->module[i].name);
    uint64_t s = storm.seed * 0x9e3779b97f4a7c15ull | 1, made = 0;
    kit_print("storm: seed=%lu epochs=%lu cores=%lu nap=%lu\n", storm.seed, storm.epochs,
              storm.cores, storm.nap);
    start_cores();
    kit_check("cores and memory", take_memory());
    find_device();
    struct kit_count before = kit_count(), now = before;
    for (; made < storm.epochs && kit_same(before, now); made++) {
        epoch(&s);
        now = kit_count();
        if (made % 8 == 7)
            kit_print("epoch %lu: calls %lu events %lu vCPUs %lu\n", made + 1, storm.calls,
                      storm.events, storm.runs);
    }
    if (!kit_same(before, now))
        kit_print("     epoch %lu: frames %u, not %u; objects %u, not %u; tables %u, not %u\n",
                  made, now.frames, before.frames, now.objects, before.objects, now.tables,
                  before.tables);
    kit_print("storm: calls %lu events %lu vCPUs %lu\n", storm.calls, storm.events, storm.runs);
    kit_check("after each epoch all is given back", kit_same(before, now));
    kit_check("something happened", storm.calls > 10 * storm.epochs && storm.runs > 0);
}
