#include <root/memory.h>
#include <lib/call.h>
#include <lib/quota.h>
#include <lib/string.h>

#define EXTENTS (SLOT_VM - SLOT_REGION + BOOT_RANGES)

struct extent {
    uint64_t slot, base, size;
    bool free;     /* nobody has taken it */
    uint32_t kind; /* enum range_kind */
};

static struct extent extent[EXTENTS];
static uint32_t extents;
static uint64_t next_slot = SLOT_REGION;
static const struct boot_info *boot;

void memory_init(const struct boot_info *info)
{
    boot = info;
    extents = info->ranges;
    for (uint32_t i = 0; i < extents; i++) {
        const struct boot_range *r = &info->range[i];
        extent[i] = (struct extent){SLOT_ROOT_MR + i, r->base, r->size, true, r->kind};
    }
}

/* The extent that has all of [base, base + size), or NULL. */
static struct extent *memory_find(uint64_t base, uint64_t size)
{
    for (uint32_t i = 0; i < extents; i++)
        if (base >= extent[i].base && size <= extent[i].size &&
            base - extent[i].base <= extent[i].size - size)
            return &extent[i];
    return 0;
}

/* Have tables for leaves of 4 KiB at `va` of `pd`, which has nothing there yet: some page of the
 * region that root's image is in is mapped in the bytes of each for a moment. Of that region `pd`
 * has nothing that the unmapping could take away. Tables stay, and no larger leaf takes the place
 * of one (kernel/ptab.h). */
static uint64_t make_tables(uint64_t pd, uint64_t va, uint64_t frames)
{
    const struct extent *e = memory_find(boot->root_base, PAGE_SIZE);
    uint64_t status = e ? OK : BAD_ARG, end = va + (frames << PAGE_SHIFT);
    for (; va < end && status == OK; va += QUOTA_TABLE)
        status = mr_map(e->slot, pd, MR_READ, va, 0, 1);
    return status == OK ? mr_unmap(e->slot, pd) : status;
}

uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    uint64_t first = base & ~(uint64_t)(PAGE_SIZE - 1), frames = pages(base - first + size);
    const struct extent *e = memory_find(first, frames << PAGE_SHIFT);
    uint64_t at = e ? (first - e->base) >> PAGE_SHIFT : 0, status = e ? OK : BAD_ARG;
    /* The installed system's is where it is: most of its leaves have 1 GiB. */
    uint64_t most = e && e->kind == RANGE_HOST ? MAX_FRAMES_PER_MAP : QUOTA_MAPPING / PAGE_SIZE;
    bool small = perm & MEMORY_SMALL;
    most = small ? QUOTA_SMALL / PAGE_SIZE : most;
    for (uint64_t done = 0, part; done < frames && status == OK; done += part) {
        uint64_t to = va + (done << PAGE_SHIFT);
        part = frames - done < most ? frames - done : most;
        status = small ? make_tables(pd, to, part) : status;
        if (status == OK)
            status = mr_map(e->slot, pd, perm & ~(uint64_t)MEMORY_SMALL, to, at + done, part);
    }
    return status;
}

void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    uint64_t va = ROOT_PHYS + base;
    uint64_t status = memory_map(base, size, SLOT_ROOT_PD, perm, va & ~(uint64_t)(PAGE_SIZE - 1));
    return status == OK ? (void *)va : 0;
}

/* Copy `size` bytes at physical `base`, all in one page, by a mapping that ends here. */
static uint64_t read_page(uint64_t base, void *to, uint64_t size)
{
    const void *from = memory_open(base, size, MR_READ);
    if (!from)
        return BAD_ARG;
    memcpy(to, from, size);
    return mr_unmap(memory_find(base, size)->slot, SLOT_ROOT_PD);
}

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    uint64_t status = OK;
    for (uint64_t done = 0, part; done < size && status == OK; done += part) {
        uint64_t page_rest = PAGE_SIZE - (base + done) % PAGE_SIZE;
        part = size - done < page_rest ? size - done : page_rest;
        status = read_page(base + done, (char *)to + done, part);
    }
    return status;
}

/* Where the lowest module begins that overlaps [base, base + size); ~0: none does. */
static uint64_t lowest_module(uint64_t base, uint64_t size)
{
    uint64_t lowest = ~0ull;
    for (uint32_t i = 0; i < boot->modules; i++) {
        const struct boot_module *m = &boot->module[i];
        if (m->base < base + size && base < m->base + round_up(m->size, PAGE_SIZE) &&
            m->base < lowest)
            lowest = m->base;
    }
    return lowest;
}

/* The highest aligned run of `size` bytes inside `e` that meets no module; 0: none (no RAM is at
 * 0). */
static uint64_t memory_place(const struct extent *e, uint64_t size, uint64_t align)
{
    return memory_run(e->base, e->base + e->size, size, align, lowest_module);
}

/* Cut `e` at physical address `at`, inside it: `e` keeps what is below. The rest; NULL: no slot, no
 * quota, or it is mapped. */
static struct extent *cut(struct extent *e, uint64_t at)
{
    if (extents == EXTENTS || next_slot == SLOT_VM ||
        mr_split(next_slot, SLOT_ROOT_PD, e->slot, (at - e->base) >> PAGE_SHIFT) != OK)
        return 0;
    struct extent *rest = &extent[extents++];
    *rest = (struct extent){next_slot++, at, e->base + e->size - at, e->free, e->kind};
    e->size = at - e->base;
    return rest;
}

/* Take [base, base + size), inside the free extent `e`, and no more: what is beside it stays free.
 */
static uint64_t memory_take_from(struct extent *e, uint64_t base, uint64_t size,
                                 struct region *taken)
{
    if (base > e->base) {
        e = cut(e, base);
        if (!e)
            return NO_MEMORY;
    }
    if (e->size > size && !cut(e, base + size))
        return NO_MEMORY;
    e->free = false;
    *taken = (struct region){e->slot, base, size};
    return OK;
}

uint64_t memory_take(uint64_t size, uint64_t align, struct region *taken)
{
    for (uint32_t i = 0; i < extents; i++) {
        struct extent *e = &extent[i];
        uint64_t base = e->free && e->kind == RANGE_RAM ? memory_place(e, size, align) : 0;
        if (base)
            return memory_take_from(e, base, size, taken);
    }
    return NO_MEMORY;
}

uint64_t memory_largest(void)
{
    uint64_t most = 0;
    for (const struct extent *e = extent; e < extent + extents; e++)
        while (e->free && e->kind == RANGE_RAM && memory_place(e, most + MEBI2, MEBI2))
            most += MEBI2;
    return most;
}

bool memory_is_device(uint64_t base, uint64_t size)
{
    const struct extent *e = memory_find(base, size);
    return e && e->free && e->kind != RANGE_RAM;
}

uint64_t memory_take_device(uint64_t base, uint64_t size, struct region *taken)
{
    return memory_is_device(base, size)
               ? memory_take_from(memory_find(base, size), base, size, taken)
               : BAD_ARG;
}

uint64_t memory_map_host(uint64_t end, uint64_t pd)
{
    uint64_t status = OK;
    for (const struct extent *e = extent; e < extent + extents && status == OK; e++)
        if (e->free && e->kind == RANGE_HOST && e->base < end)
            status = memory_map(e->base, e->size < end - e->base ? e->size : end - e->base, pd,
                                MR_READ | MR_WRITE | MR_EXEC, e->base);
    return status;
}

uint64_t memory_open_modules(void)
{
    for (uint32_t i = 0; i < boot->modules; i++)
        if (boot->module[i].size &&
            !memory_open(boot->module[i].base, boot->module[i].size, MR_READ))
            return BAD_ARG;
    return OK;
}
