/* Memory of the running Linux, in one piece: what is there is moved away or dropped
 * (alloc_contig_range). */
#include <linux/mm.h>
#include <linux/memory_hotplug.h>
#include <linux/page-flags.h>
#include <linux/sched/signal.h>

#include "launch.h"

#define LOWEST (16ull << 20) /* below it is memory for old devices */

/* Are all pages Linux's, and of one zone? Those that are reserved alloc_contig_range() finds. */
static bool is_one_zone(unsigned long first, unsigned long end)
{
    unsigned long pfn;
    struct page *page = pfn_to_online_page(first), *other;
    for (pfn = first; page && pfn < end; pfn += LAUNCH_ALIGN >> PAGE_SHIFT) {
        other = pfn_to_online_page(pfn);
        if (!other || page_zonenum(other) != page_zonenum(page) ||
            page_to_nid(other) != page_to_nid(page))
            return false;
    }
    return page != NULL;
}

/* Who looks through all of memory (/proc/kcore, a dump, hibernation) leaves these pages out. */
static void mark(unsigned long first, unsigned long end, bool offline)
{
    unsigned long pfn;
    page_offline_begin();
    for (pfn = first; pfn < end; pfn++)
        offline ? __SetPageOffline(pfn_to_page(pfn)) : __ClearPageOffline(pfn_to_page(pfn));
    page_offline_end();
}

/* From above, as what has to stay tends to be below. */
bool memory_take(struct launch_piece *piece, uint64_t limit)
{
    uint64_t base = (limit & ~(LAUNCH_ALIGN - 1)) - piece->size;
    for (; base >= LOWEST && !fatal_signal_pending(current); base -= LAUNCH_ALIGN) {
        unsigned long first = base >> PAGE_SHIFT, end = (base + piece->size) >> PAGE_SHIFT;
        cond_resched();
        if (!is_one_zone(first, end) ||
            alloc_contig_range(first, end, MIGRATE_MOVABLE, GFP_KERNEL | __GFP_NOWARN))
            continue;
        mark(first, end, true);
        piece->base = base;
        piece->at = __va(base);
        memset(piece->at, 0, piece->size);
        return true;
    }
    return false;
}

void memory_give(struct launch_piece *piece)
{
    unsigned long first = piece->base >> PAGE_SHIFT, pages = piece->size >> PAGE_SHIFT;
    if (!piece->at)
        return;
    memset(piece->at, 0, piece->size);
    mark(first, first + pages, false);
    free_contig_range(first, pages);
    piece->at = NULL;
}
