#include "boot.h"

#define LINES 512               /* neighbours of one type count once */
#define SPANS (2 * (LINES + 5)) /* a claim adds two at most */

#define LOW_END     0xa0000ull /* bytes: a PC has no RAM from here to 1 MiB, whatever a map says */
#define HIGH_START  0x100000ull
#define SCRAP       (2ull << 20) /* bytes: less is less than a large page of a VM */
#define DEVICE_END  (1ull << 46) /* bytes: device memory is below this address */
#define ADDRESS_END (1ull << 52) /* APM2 5.1: no physical address is larger */
#define LOCAL_APIC  0xfee00000ull
#define NOBODY      0xffffffffu /* a kind: belongs to no range, so nobody gets it */

struct span {
    uint64_t base, end; /* half open; may be empty */
    uint32_t kind;
};

static struct memory_line line[LINES];
static struct span span[SPANS];
static unsigned lines, spans;

void boot_memory_add(const struct memory_line *l)
{
    if (l->base >= ADDRESS_END || !l->size)
        return;
    if (lines == LINES)
        boot_refuse(
            SENTENCE("the firmware's memory map has too many lines", "use another machine"));
    line[lines++] = *l;
}

static void append(uint64_t base, uint64_t end, uint32_t kind)
{
    if (base < end && kind != NOBODY)
        span[spans++] = (struct span){base, end, kind};
}

/* Give [base, end) to `kind`, and take it from all spans that have some of it. */
static void claim(uint64_t base, uint64_t end, uint32_t kind)
{
    for (unsigned i = 0, before = spans; i < before; i++) {
        struct span s = span[i];
        if (s.end <= base || s.base >= end)
            continue;
        span[i].end = s.base < base ? base : s.base;
        append(end, s.end, s.kind);
    }
    append(base, end, kind);
}

static uint64_t page_down(uint64_t address) { return address & ~(uint64_t)(PAGE_SIZE - 1); }
static uint64_t page_up(uint64_t address) { return page_down(address + PAGE_SIZE - 1); }

/* Claim one line of the memory map. RAM shrinks to whole pages, anything else grows to them: a page
 * that is both is not RAM. */
static void claim_line(const struct memory_line *l)
{
    uint64_t end = l->size < ADDRESS_END - l->base ? l->base + l->size : ADDRESS_END;
    if (l->type != TYPE_RAM)
        claim(page_down(l->base), page_up(end), RANGE_DEVICE);
    else if (page_up(l->base) < page_down(end))
        claim(page_up(l->base), page_down(end), RANGE_RAM);
}

/* The span of RAM that this address is in; NULL: none. */
static const struct span *ram_at(uint64_t address)
{
    for (unsigned i = 0; i < spans; i++)
        if (span[i].kind == RANGE_RAM && span[i].base <= address && address < span[i].end)
            return &span[i];
    return 0;
}

static bool is_all_ram(uint64_t base, uint64_t end)
{
    for (const struct span *s = ram_at(base); s && base < end; s = ram_at(base))
        base = s->end;
    return base >= end;
}

/* Does a part of a module, or the RSDP, lie in [base, end)? */
static bool is_used(uint64_t base, uint64_t end)
{
    bool used = boot_info.rsdp - base < end - base;
    for (const struct boot_module *m = boot_info.module; m < boot_info.module + boot_info.modules;
         m++)
        used |= m->base < end && base < m->base + m->size;
    return used;
}

/* The highest page of RAM below 640 KiB that nobody uses: firmware keeps to the lowest. */
static void choose_ap_page(void)
{
    uint64_t at = LOW_END - PAGE_SIZE;
    while (at && (is_used(at, at + PAGE_SIZE) || !is_all_ram(at, at + PAGE_SIZE)))
        at -= PAGE_SIZE;
    if (!at)
        boot_refuse(SENTENCE("below 640 KiB there is no page of RAM to start other cores from",
                             "use another loader"));
    core_ap_page = (uint8_t)(at / PAGE_SIZE);
}

/* Order of the claims; later ones win. First RAM, then what the map says is not RAM, so an overlap
 * is not RAM. Last the kernel's own pages, which no range may have, whatever the map says. */
static void claim_all(void)
{
    uint64_t image = (uint64_t)image_start - KERNEL_BASE,
             end = (uint64_t)kernel_end - KERNEL_BASE + boot_info.more_frames * PAGE_SIZE;
    bool host = boot_info.flags & BOOT_HOST;
    uint32_t rest = host ? RANGE_HOST : RANGE_DEVICE;
    claim(0, DEVICE_END, rest);
    for (unsigned i = 0; i < 2 * lines; i++)
        if ((line[i % lines].type == TYPE_RAM) == (i < lines))
            claim_line(&line[i % lines]);
    claim(0, PAGE_SIZE, rest); /* of a BIOS */
    claim(LOW_END, HIGH_START, rest);
    if (boot_info.more_frames > POOL_MOST - POOL_FRAMES || !is_all_ram(image, end))
        boot_refuse(SENTENCE("the kernel's place is not all RAM in the memory map",
                             "boot the file of `hairline build --efi`, which chooses its place"));
    if (!host) { /* there, no core starts from real mode */
        choose_ap_page();
        claim(core_ap_page * PAGE_SIZE, (core_ap_page + 1) * PAGE_SIZE, NOBODY);
    }
    claim(LOCAL_APIC, LOCAL_APIC + PAGE_SIZE, NOBODY);
    claim(image, end, NOBODY);
}

/* The lowest span that is not empty and starts at `from` or above; NULL: none. */
static const struct span *lowest(uint64_t from)
{
    const struct span *found = 0;
    for (unsigned i = 0; i < spans; i++)
        if (span[i].base >= from && span[i].base < span[i].end &&
            (!found || span[i].base < found->base))
            found = &span[i];
    return found;
}

/* A scrap of RAM between what firmware keeps, which holds nothing and no VM could use, is nobody's:
 * of them servers have more than there are ranges. Only once its whole run is published. */
static void forget_scrap(void)
{
    const struct boot_range *r = boot_info.ranges ? &boot_info.range[boot_info.ranges - 1] : 0;
    if (r && r->kind == RANGE_RAM && r->size < SCRAP && !is_used(r->base, r->base + r->size))
        boot_info.ranges--;
}

static void publish(const struct span *s)
{
    struct boot_range *next = &boot_info.range[boot_info.ranges];
    if (boot_info.ranges && next[-1].kind == s->kind && next[-1].base + next[-1].size == s->base) {
        next[-1].size += s->end - s->base;
        return;
    }
    forget_scrap();
    if (boot_info.ranges == BOOT_RANGES)
        boot_refuse(SENTENCE("the firmware's memory map is too fragmented", "use another machine"));
    boot_info.range[boot_info.ranges++] =
        (struct boot_range){s->base, s->end - s->base, s->kind, 0};
}

void boot_memory_finish(void)
{
    if (!lines)
        boot_refuse(SENTENCE("the loader gave no memory map", "use another loader"));
    claim_all();
    for (const struct span *s = lowest(0); s; s = lowest(s->end))
        publish(s);
    forget_scrap();
}
