#include "look.h"
#include <frame.h>
#include <ptab.h>

extern uint16_t frame_owner[POOL_MOST];

bool ptab_lookup(const struct pd *pd, uint64_t va, uint64_t *frame, uint64_t *bits)
{
    const uint64_t *table = pd->table;
    for (unsigned level = 3;; level--) {
        unsigned shift = TABLE_BITS * level;
        uint64_t page = va >> PAGE_SHIFT, e = table[page >> shift & (TABLE_ENTRIES - 1)];
        if (!(e & PTE_PRESENT))
            return false;
        if (level == 0 || e & PTE_LARGE) {
            *frame = ((e & 0x000ffffffffff000ull) >> PAGE_SHIFT) + (page & ((1ull << shift) - 1));
            *bits = e & (PTE_NX | 0xfff);
            return true;
        }
        table = frame_table(e);
    }
}

uint16_t frame_payer(const void *frame)
{
    uint64_t at = (uint64_t)frame - (uint64_t)pool;
    return at < sizeof(struct frame) * POOL_FRAMES && at % PAGE_SIZE == 0
               ? frame_owner[at / PAGE_SIZE]
               : 0;
}

uint32_t frame_count_of(const struct pd *owner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < counters.frames; i++)
        count += frame_owner[i] == object_index(owner);
    return count;
}
