/* The page-table walker. Level 0 is a 4 KiB leaf, 1: 2 MiB, 2: 1 GiB; 3 is the top table. */
#include <pd.h>
#include <ptab.h>
#include <virt.h>

enum iommu_kind ptab_iommu;

enum { ALL = MR_READ | MR_WRITE | MR_EXEC }; /* of what leads to a table: the leaves decide */

/* ---- formats ---------------------------------------------------------------- */
/* A function for each: the bits of an entry that gives `rights`, but PTE_LARGE and the address.
 * PTE_LARGE, and bit 0 of what is present, are the same in all: the walker looks at them. */

/* Host spaces (APM2 5.4.1), and AMD's nested ones, where every leaf is a user page: NPT walks count
 * as user accesses (APM2 15.25.5). */
static uint64_t amd64_bits(bool user, unsigned rights)
{
    /* mutant: ptab-rights */
    return PTE_PRESENT | (user ? PTE_USER : 0) | (rights & MR_WRITE ? PTE_WRITE : 0) |
           (rights & MR_EXEC ? 0 : PTE_NX) | (rights & PTAB_DEVICE ? PTE_UNCACHED : 0);
}

/* AMD-Vi, beside what the processor reads (48882 2.2.3). `at`: the level of an entry that leads to
 * a table; 0: a leaf. */
static uint64_t amdvi_bits(unsigned rights, unsigned at)
{
    return PTE_DMA_READ | (rights & MR_WRITE ? PTE_DMA_WRITE : 0) | at * PTE_DMA_LEVEL;
}

/* Intel's nested tables (SDM3 28.3.2). The second memory type is the leaf's alone: 6 write-back,
 * the guest's own types ignored; 0 uncached. */
static uint64_t ept_bits(unsigned rights, unsigned at)
{
    enum { READ = 1, WRITE = 2, EXEC = 4, WRITE_BACK = 6 << 3, IGNORE_PAT = 1 << 6 };
    /* mutant: ptab-ept */
    return READ | (rights & MR_WRITE ? WRITE : 0) | (rights & MR_EXEC ? EXEC : 0) |
           (at || rights & PTAB_DEVICE ? 0 : WRITE_BACK | IGNORE_PAT);
}

/* What all need that read the table. VT-d takes the processor's bits 0 and 1 for rights to read and
 * to write, and wants AMD-Vi's to be 0. */
static uint64_t entry_bits(const struct pd *pd, unsigned rights, unsigned at)
{
    if (virt_vmx && pd->kind == PD_GUEST)
        return ept_bits(rights, at);
    uint64_t bits = amd64_bits(at || pd != kernel_space, rights);
    return ptab_iommu == IOMMU_AMDVI ? bits | amdvi_bits(rights, at) : bits;
}

/* ---- the walker ------------------------------------------------------------- */
static unsigned shift(unsigned level) { return PAGE_SHIFT + TABLE_BITS * level; }
static uint64_t pages(unsigned level) { return 1ull << (TABLE_BITS * level); }
static uint64_t index_at(uint64_t va, unsigned level)
{
    return (va >> shift(level)) & (TABLE_ENTRIES - 1);
}

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
        /* mutant: ptab-alignment */
        if (left < pages(level) || ((va >> PAGE_SHIFT | frame) & (pages(level) - 1)))
            continue;
        const uint64_t *e = descend(pd, va, level, &at);
        if (at > level || !(*e & PTE_PRESENT) || (*e & PTE_LARGE))
            return level;
    }
    return 0;
}

/* First pass: is every leaf free, and how many tables will be new? */
static uint64_t plan(const struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames,
                     uint32_t *tables)
{
    uint64_t last[4] = {~0ull, ~0ull, ~0ull, ~0ull}, leaves = 0;
    *tables = 0;
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned level = leaf_level(pd, va, frame + done, frames - done), at;
        n = pages(level);
        leaves++;
        if (leaves > MAX_LEAVES_PER_MAP)
            return BAD_ARG;
        if (*descend(pd, va, level, &at) & PTE_PRESENT)
            /* mutant: ptab-busy */
            return BUSY;
        for (; at > level; at--) {
            *tables += last[at] != va >> shift(at);
            last[at] = va >> shift(at);
        }
    }
    /* mutant: ptab-quota */
    return *tables > pd->frames_left || *tables > counters.frames_free ? (uint64_t)NO_MEMORY
                                                                       : (uint64_t)OK;
}

/* Second pass, which cannot fail: the entry for a leaf at `level`, with the tables above it made.
 */
static uint64_t *leaf_entry(struct pd *pd, uint64_t va, unsigned level)
{
    for (;;) {
        unsigned at;
        uint64_t *e = descend(pd, va, level, &at);
        if (at == level)
            return e;
        *e = cpu_pa(frame_new(pd)) | entry_bits(pd, ALL, at);
        pd->tables++;
        counters.table_frames++;
    }
}

uint64_t ptab_map(struct pd *pd, uint64_t va, uint64_t frame, uint64_t frames, unsigned rights)
{
    uint32_t tables;
    const uint64_t bits = entry_bits(pd, rights, 0);
    uint64_t s = plan(pd, va, frame, frames, &tables);
    if (s)
        return s;
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned level = leaf_level(pd, va, frame + done, frames - done);
        n = pages(level);
        *leaf_entry(pd, va, level) = (frame + done) << PAGE_SHIFT | bits | (level ? PTE_LARGE : 0);
    }
    return OK;
}

void ptab_unmap(struct pd *pd, uint64_t va, uint64_t frames)
{
    for (uint64_t done = 0, n; done < frames; done += n, va += n << PAGE_SHIFT) {
        unsigned at;
        *descend(pd, va, 0, &at) = 0;
        /* mutant: ptab-unmap */
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
    if (pd->frames_left < 4 || counters.frames_free < 4)
        return NO_MEMORY;
    uint64_t *page = frame_new(pd);
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i++)
        page[i] = ~0ull;
    pd->hole[0] = cpu_pa(page) | entry_bits(pd, MR_READ | MR_WRITE, 0);
    for (unsigned level = 1; level < 4; level++) {
        uint64_t *table = frame_new(pd);
        fill(table, pd->hole[level - 1]);
        pd->hole[level] = cpu_pa(table) | entry_bits(pd, ALL, level);
    }
    close_tables(pd, pd->table, 3);
    return OK;
}
