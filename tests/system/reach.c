/*
 * A module of a Linux beneath which Hairline was launched, and which is hostile by now: it writes
 * into each page that Linux has given away (PageOffline), and looks what is still there when all
 * are written. OWN pages of its own are written in the same way: there the values stay.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/page-flags.h>

#define OWN 16u
#define END (1ul << 20) /* page frames, of 4 GiB: the test's machine has less memory */

static u64 *word_of(unsigned long pfn)
{
    struct page *page = pfn_to_online_page(pfn);
    return page && PageOffline(page) ? __va((u64)pfn << PAGE_SHIFT) : NULL;
}

static int __init reach(void)
{
    unsigned long pfn, pages = 0, kept = 0;
    struct page *own[OWN];
    unsigned int i;
    for (i = 0; i < OWN; i++) {
        own[i] = alloc_page(GFP_KERNEL | __GFP_NOFAIL);
        __SetPageOffline(own[i]);
    }
    for (pfn = 1; pfn < END; pfn++)
        if (word_of(pfn))
            WRITE_ONCE(*word_of(pfn), pfn);
    for (pfn = 1; pfn < END; pfn++)
        if (word_of(pfn)) {
            pages++;
            kept += READ_ONCE(*word_of(pfn)) == pfn;
        }
    for (i = 0; i < OWN; i++) {
        __ClearPageOffline(own[i]);
        __free_page(own[i]);
    }
    pr_info("reach: own=%u pages=%lu kept=%lu\n", OWN, pages, kept);
    return -EAGAIN; /* done: it stays unloaded */
}

module_init(reach);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("Writes where Hairline is");
