/* The page-table walker. Level 0 is a 4 KiB leaf, 1: 2 MiB, 2: 1 GiB; 3 is the top table. */
#include <ptab.h>

uint64_t ptab_dma;

static unsigned shift(unsigned level) { return PAGE_SHIFT + TABLE_BITS * level; }
static uint64_t pages(unsigned level) { return 1ull << (TABLE_BITS * level); }
static uint64_t index_at(uint64_t va, unsigned level) { return (va >> shift(level)) & (TABLE_ENTRIES - 1); }

/* The entry for `va` at the lowest level >= `level` that exists; *at tells which level that is. */
static uint64_t *descend(const struct pd *pd, uint64_t va, unsigned level, unsigned *at)
{
    uint64_t *table = pd->table;
    for (*at = 3; *at > level; --*at) {
        uint64_t *e = &table[index_at(va, *at)];
        if (!(*e & PTE_PRESENT) || (*e & PTE_LARGE))
            return e;
        table = frame_table(*e);
    }
    return &table[index_at(va, level)];
}

/* The largest leaf that fits the alignment, what is left, and the tables that are there already. */
static unsigned leaf_level(const struct pd *pd, uint64_t va, uint64_t frame, uint64_t left)
{
    unsigned at;
    for (unsigned level = 2; level > 0; level--) {
        if (left < pages(level) || ((va >> PAGE_SHIFT | frame) & (pages(level) - 1)))
            continue;
        const uint64_t *e = descend(pd, va, level, &at);
        if (at > level || !(*e & PTE_PRESENT) || (*e & PTE_LARGE))
            return level;
    }
    return 0;
}

/* First pass: is every leaf free, and how many tables will be new? */
static uint64_t plan(const struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, uint32_t *tables)
{
    uint64_t last[4] = {~0ull, ~0ull, ~0ull, ~0ull}, leaves = 0;
    *tables = 0;
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned level = leaf_level(pd, va, frame + done, frames - done), at;
        n = pages(level);
        if (++leaves > MAX_LEAVES_PER_MAP)
            return BAD_ARG;
        if (*descend(pd, va, level, &at) & PTE_PRESENT)
            return BUSY;
        for (; at > level; at--) {
            *tables += last[at] != va >> shift(at);
            last[at] = va >> shift(at);
        }
    }
    return *tables > pd->frames_left || *tables > stat.frames_free ? (uint64_t)NO_MEMORY : (uint64_t)OK;
}

/* What leads to a table whose entries are of level `at` - 1. */
static uint64_t table_entry(const uint64_t *table, unsigned at)
{
    return cpu_pa(table) | PTE_PRESENT | PTE_WRITE | PTE_USER | ptab_dma | (ptab_dma ? PTE_DMA_LEVEL(at) : 0);
}

/* Second pass, which cannot fail: the entry for a leaf at `level`, with the tables above it made. */
static uint64_t *leaf_entry(struct pd *pd, uint64_t va, unsigned level)
{
    unsigned at;
    uint64_t *e;
    while (e = descend(pd, va, level, &at), at > level) {
        *e = table_entry(frame_new(pd), at);
        pd->tables++;
        stat.table_frames++;
    }
    return e;
}

uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, uint64_t bits)
{
    uint32_t tables;
    uint64_t s = plan(pd, va, frame, frames, &tables);
    if (s)
        return s;
    bits |= bits & PTE_WRITE ? ptab_dma : ptab_dma & PTE_DMA_READ;
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned level = leaf_level(pd, va, frame + done, frames - done);
        n = pages(level);
        *leaf_entry(pd, va, level) = (frame + done) << PAGE_SHIFT | bits | PTE_PRESENT | (level ? PTE_LARGE : 0);
    }
    return OK;
}

void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames)
{
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned at;
        *descend(pd, va, 0, &at) = 0;
        n = pages(at);
    }
}

static void fill(uint64_t *table, uint64_t value)
{
    for (uint32_t i = 0; i < TABLE_ENTRIES; i++)
        if (!(table[i] & PTE_PRESENT))
            table[i] = value;
}

/* Every table below `table`, whose entries are of `level`, then it itself. */
static void close_tables(struct pd *pd, uint64_t *table, unsigned level)
{
    for (uint32_t i = 0; level && i < TABLE_ENTRIES; i++)
        if (table[i] & PTE_PRESENT && !(table[i] & PTE_LARGE))
            close_tables(pd, frame_table(table[i]), level - 1);
    fill(table, pd->hole[level]);
}

uint64_t ptab_close(struct pd *pd)
{
    if (pd->frames_left < 4 || stat.frames_free < 4)
        return NO_MEMORY;
    uint64_t *page = frame_new(pd);
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i++)
        page[i] = ~0ull;
    pd->hole[0] = cpu_pa(page) | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NX | ptab_dma;
    for (unsigned level = 1; level < 4; level++) {
        uint64_t *table = frame_new(pd);
        fill(table, pd->hole[level - 1]);
        pd->hole[level] = table_entry(table, level);
    }
    close_tables(pd, pd->table, 3);
    return OK;
}
