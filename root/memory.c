#include <root/memory.h>
#include <lib/call.h>
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
static struct extent *find(uint64_t base, uint64_t size)
{
    for (uint32_t i = 0; i < extents; i++)
        if (base >= extent[i].base && size <= extent[i].size && base - extent[i].base <= extent[i].size - size)
            return &extent[i];
    return 0;
}

uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    uint64_t first = base & ~(uint64_t)(PAGE_SIZE - 1), frames = pages(base - first + size);
    const struct extent *e = find(first, frames << PAGE_SHIFT);
    return e ? mr_map(e->slot, pd, perm, va, (first - e->base) >> PAGE_SHIFT, frames) : BAD_ARG;
}

void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    uint64_t va = ROOT_PHYS + base;
    return memory_map(base, size, SLOT_ROOT_PD, perm, va & ~(uint64_t)(PAGE_SIZE - 1)) == OK ? (void *)va : 0;
}

/* At most the rest of one page. */
static bool read_page(uint64_t base, void *to, uint64_t size)
{
    const void *from = memory_open(base, size, MR_READ);
    if (!from)
        return false;
    memcpy(to, from, size);
    return mr_unmap(find(base, size)->slot, SLOT_ROOT_PD) == OK;
}

bool memory_read(uint64_t base, void *to, uint64_t size)
{
    for (uint64_t done = 0, part; done < size; done += part) {
        uint64_t page_rest = PAGE_SIZE - (base + done) % PAGE_SIZE;
        part = size - done < page_rest ? size - done : page_rest;
        if (!read_page(base + done, (char *)to + done, part))
            return false;
    }
    return true;
}

/* The lowest module that overlaps [base, base + size), or NULL. */
static const struct boot_module *lowest_module(uint64_t base, uint64_t size)
{
    const struct boot_module *lowest = 0;
    for (uint32_t i = 0; i < boot->modules; i++) {
        const struct boot_module *m = &boot->module[i];
        if (m->base < base + size && base < m->base + round_up(m->size, PAGE_SIZE) && (!lowest || m->base < lowest->base))
            lowest = m;
    }
    return lowest;
}

/* The highest aligned run inside `e` that meets no module; 0: none (no RAM is at 0). */
static uint64_t place(const struct extent *e, uint64_t size, uint64_t align)
{
    uint64_t end = e->base + e->size;
    while (end >= size && ((end - size) & ~(align - 1)) >= e->base) {
        uint64_t base = (end - size) & ~(align - 1);
        const struct boot_module *m = lowest_module(base, size);
        if (!m)
            return base;
        end = m->base;
    }
    return 0;
}

/* Cut `e` at physical address `at`: `e` keeps what is below. The rest, or NULL: no slot or quota. */
static struct extent *cut(struct extent *e, uint64_t at)
{
    if (extents == EXTENTS || next_slot == SLOT_VM)
        return 0;
    if (mr_split(next_slot, SLOT_ROOT_PD, e->slot, (at - e->base) >> PAGE_SHIFT) != OK)
        return 0;
    struct extent *rest = &extent[extents++];
    *rest = (struct extent){next_slot++, at, e->base + e->size - at, e->free, e->kind};
    e->size = at - e->base;
    return rest;
}

/* [base, base + size) of the free extent `e`, and no more. */
static bool take(struct extent *e, uint64_t base, uint64_t size, struct region *taken)
{
    if (base > e->base && !(e = cut(e, base)))
        return false;
    if (e->size > size && !cut(e, base + size))
        return false;
    e->free = false;
    *taken = (struct region){e->slot, base, size};
    return true;
}

bool memory_take(uint64_t size, uint64_t align, struct region *taken)
{
    for (uint32_t i = 0; i < extents; i++) {
        struct extent *e = &extent[i];
        uint64_t base = e->free && e->kind == RANGE_RAM ? place(e, size, align) : 0;
        if (base)
            return take(e, base, size, taken);
    }
    return false;
}

uint64_t memory_largest(void)
{
    uint64_t most = 0;
    for (const struct extent *e = extent; e < extent + extents; e++)
        while (e->free && e->kind == RANGE_RAM && place(e, most + MEBI2, MEBI2))
            most += MEBI2;
    return most;
}

bool memory_is_device(uint64_t base, uint64_t size)
{
    const struct extent *e = find(base, size);
    return e && e->free && e->kind == RANGE_DEVICE;
}

bool memory_take_device(uint64_t base, uint64_t size, struct region *taken)
{
    return memory_is_device(base, size) && take(find(base, size), base, size, taken);
}

bool memory_open_modules(void)
{
    for (uint32_t i = 0; i < boot->modules; i++)
        if (boot->module[i].size && !memory_open(boot->module[i].base, boot->module[i].size, MR_READ))
            return false;
    return true;
}
