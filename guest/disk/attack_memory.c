/* Memory: by the processor, by a device, by the IOMMU. */
#include "attack.h"
#include <dirent.h>
#include <sys/mman.h>

/* ---- memory ---------------------------------------------------------------------- */

enum { RUNS = 16 };
#define LEAST (2ul << 20) /* of a run that is looked at */

/* Reserved runs below the end of RAM: Hairline's, and the firmware's own. */
static struct {
    uint64_t base, size;
} run[RUNS];
static unsigned runs;

static void find_memory(void)
{
    char line[160];
    uint64_t first, last;
    unsigned above = 0; /* those that have RAM above them */
    FILE *list = fopen("/proc/iomem", "r");
    runs = 0;
    while (list && fgets(line, sizeof(line), list)) {
        bool known = sscanf(line, "%lx-%lx", &first, &last) == 2 && line[0] != ' ';
        if (known && strstr(line, ": System RAM") && last < 1ul << 32)
            above = runs;
        if (known && strstr(line, ": Reserved") && last + 1 - first >= LEAST && runs < RUNS) {
            run[runs].base = first;
            run[runs++].size = (last + 1 - first) & ~(PAGE - 1);
        }
    }
    if (list)
        fclose(list);
    runs = above;
}

static uint64_t tag(uint64_t page) { return 0x7e57da7a00000000ul + page; }

/* Another value into each page, then all as it was: in how many is it still there when all are
   written? */
static void write_run(const char *name, uint64_t base, uint64_t size)
{
    uint64_t pages = size / PAGE, kept = 0;
    volatile char *at = physical(base, size);
    uint64_t *old = calloc(pages, sizeof(*old));
    for (uint64_t i = 0; at && old && i < pages; i++) {
        volatile uint64_t *word = (volatile uint64_t *)(at + i * PAGE);
        old[i] = *word;
        *word = tag(i);
    }
    for (uint64_t i = 0; at && old && i < pages; i++)
        kept += *(volatile uint64_t *)(at + i * PAGE) == tag(i);
    for (uint64_t i = pages; at && old && i > 0; i--)
        *(volatile uint64_t *)(at + (i - 1) * PAGE) = old[i - 1];
    say(name, "at %lx pages=%lu kept=%lu%s", base, pages, kept, at ? "" : " refused");
    if (at)
        munmap((void *)(uintptr_t)at, size);
    free(old);
}

void attack_memory(const char *name)
{
    find_memory();
    for (unsigned i = 0; i < runs; i++)
        write_run(name, run[i].base, run[i].size);
}

/* ---- DMA, by QEMU's device for it (edu) ------------------------------------------- */

enum {
    EDU_SOURCE = 0x80,
    EDU_TARGET = 0x88,
    EDU_COUNT = 0x90,
    EDU_COMMAND = 0x98,
    EDU_SIZE = 1 << 20
};
enum { EDU_BUFFER = 0x40000, EDU_GO = 1, EDU_TO_MEMORY = 2, PLACES = 4 };

static volatile char *edu;
static uint64_t *own; /* a page of ours, and where it is */
static uint64_t own_at;

/* Its folder in sysfs. It gets its own way through an IOMMU that the system has. */
static bool open_edu(void)
{
    char path[300];
    DIR *all = opendir("/sys/bus/pci/devices");
    for (struct dirent *d = all ? readdir(all) : NULL; d && !edu; d = readdir(all)) {
        uint16_t command = 6; /* memory, bus master */
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", d->d_name);
        if (get(path) != 0x11e8)
            continue;
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/type", d->d_name);
        put(path, "identity");
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", d->d_name);
        int config = open(path, O_RDWR);
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", d->d_name);
        int bar = open(path, O_RDWR);
        void *at = mmap(NULL, EDU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
        if (pwrite(config, &command, sizeof(command), 4) == sizeof(command) && at != MAP_FAILED)
            edu = at;
        close(config);
        close(bar);
    }
    if (all)
        closedir(all);
    return edu;
}

static bool open_own(void)
{
    uint64_t entry = 0;
    own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    int map = open("/proc/self/pagemap", O_RDONLY);
    *own = 1;
    if (pread(map, &entry, 8, (off_t)((uintptr_t)own / PAGE * 8)) != 8)
        entry = 0;
    close(map);
    own_at = (entry & ((1ul << 55) - 1)) * PAGE;
    return own_at != 0;
}

/* Eight bytes between physical memory and its buffer. */
static void move(uint64_t at, bool to_memory)
{
    *(volatile uint64_t *)(edu + EDU_SOURCE) = to_memory ? EDU_BUFFER : at;
    *(volatile uint64_t *)(edu + EDU_TARGET) = to_memory ? at : EDU_BUFFER;
    *(volatile uint64_t *)(edu + EDU_COUNT) = 8;
    *(volatile uint64_t *)(edu + EDU_COMMAND) = EDU_GO | (to_memory ? EDU_TO_MEMORY : 0);
    while (*(volatile uint64_t *)(edu + EDU_COMMAND) & EDU_GO)
        usleep(1000);
}

static void dma_write(uint64_t at, uint64_t value)
{
    *own = value;
    move(own_at, false);
    move(at, true);
}

/* What is there; `nothing` if it was not read at all. */
static uint64_t dma_read(uint64_t at, uint64_t nothing)
{
    *own = nothing;
    move(own_at, false);
    move(at, false);
    *own = 0;
    move(own_at, true);
    return *(volatile uint64_t *)own;
}

static void write_run_by_dma(const char *name, uint64_t base, uint64_t size)
{
    uint64_t at[PLACES], old[PLACES], kept = 0, seen = 0;
    bool works = dma_read(own_at, 1) == 1;
    for (unsigned i = 0; i < PLACES; i++) {
        at[i] = base + size / PLACES * i / PAGE * PAGE;
        old[i] = dma_read(at[i], tag(99));
        seen += old[i] != tag(99) && old[i] != ~0ul;
    }
    for (unsigned i = 0; i < PLACES; i++)
        dma_write(at[i], tag(i));
    for (unsigned i = 0; i < PLACES; i++)
        kept += dma_read(at[i], tag(99)) == tag(i);
    for (unsigned i = PLACES; i > 0; i--)
        if (old[i - 1] != tag(99))
            dma_write(at[i - 1], old[i - 1]);
    say(name, "at %lx own=%s places=%u seen=%lu kept=%lu", base, works ? "works" : "fails", PLACES,
        seen, kept);
}

void attack_dma(const char *name)
{
    find_memory();
    if (!open_edu() || !open_own()) {
        say(name, "no device");
        return;
    }
    for (unsigned i = 0; i < runs; i++)
        write_run_by_dma(name, run[i].base, run[i].size);
}

/* What a device reads there, and nothing that could harm who has that memory. */
void attack_peek(const char *name)
{
    find_memory();
    for (unsigned i = 0; i < runs && open_edu() && open_own(); i++) {
        uint64_t seen = 0;
        for (unsigned place = 0; place < PLACES; place++) {
            uint64_t there =
                dma_read(run[i].base + run[i].size / PLACES * place / PAGE * PAGE, tag(99));
            seen += there != tag(99) && there != ~0ul;
        }
        say(name, "at %lx seen=%lu", run[i].base, seen);
    }
}

/* ---- the IOMMU's registers -------------------------------------------------------- */

/* VT-d's version and the address of its fault message (VT-d 11.4); AMD-Vi's have none that could be
   changed and put back, so that only whether they can be read is told. */
void attack_iommu(const char *name)
{
    enum { VTD_COMMAND = 0x18 / 4, VTD_ADDRESS = 0x40 / 4 };
    static const uint64_t pages[] = {0xfed90000, 0xfed80000};
    for (unsigned i = 0; i < 2; i++) {
        volatile uint32_t *page = physical(pages[i], PAGE);
        if (!page) {
            say(name, "%lx refused", pages[i]);
            continue;
        }
        uint32_t version = page[0], was = page[VTD_ADDRESS];
        page[VTD_ADDRESS] = was ^ 0x1000;
        bool changed = page[VTD_ADDRESS] != was;
        page[VTD_ADDRESS] = was;
        if (version == ~0u)
            page[VTD_COMMAND] = 0;
        say(name, "%lx first=0x%x %s", pages[i], version, changed ? "changed" : "kept");
        munmap((void *)(uintptr_t)page, PAGE);
    }
}
