#include "boot.h"

#define LINES 128
#define SPANS (2 * (LINES + 5)) /* a claim adds two at most */

#define MEBIBYTE    (1ull << 20)
#define DEVICE_END  (1ull << 40) /* devices are looked for below this */
#define ADDRESS_END (1ull << 52) /* APM2 5.1: no physical address is larger */
#define LOCAL_APIC  0xfee00000ull
#define TYPE_RAM    1u
#define NOBODY      0xffffffffu /* a kind: in no range at all */

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
        boot_refuse(SENTENCE("the firmware's memory map has too many lines", "use another machine"));
    line[lines++] = *l;
}

static void append(uint64_t base, uint64_t end, uint32_t kind)
{
    if (base < end && kind != NOBODY)
        span[spans++] = (struct span){base, end, kind};
}

/* Take [base, end) from all that have it, and give it to `kind`. */
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

/* RAM shrinks to whole pages, all else grows to them. */
static void claim_line(const struct memory_line *l)
{
    uint64_t end = l->size < ADDRESS_END - l->base ? l->base + l->size : ADDRESS_END;
    if (l->type != TYPE_RAM)
        claim(page_down(l->base), page_up(end), RANGE_DEVICE);
    else if (page_up(l->base) < page_down(end))
        claim(page_up(l->base), page_down(end), RANGE_RAM);
}

/* Later claims win: what is not RAM beats RAM, and the kernel beats all. */
static void claim_all(void)
{
    claim(0, DEVICE_END, RANGE_DEVICE);
    for (unsigned i = 0; i < 2 * lines; i++)
        if ((line[i % lines].type == TYPE_RAM) == (i < lines))
            claim_line(&line[i % lines]);
    claim(0, MEBIBYTE, RANGE_DEVICE);
    claim(AP_PAGE * PAGE_SIZE, (AP_PAGE + 1) * PAGE_SIZE, NOBODY);
    claim(LOCAL_APIC, LOCAL_APIC + PAGE_SIZE, NOBODY);
    claim((uint64_t)image_start - KERNEL_BASE, (uint64_t)kernel_end - KERNEL_BASE, NOBODY);
}

/* The lowest span that starts at `from` or above; null: none. */
static const struct span *lowest(uint64_t from)
{
    const struct span *found = 0;
    for (unsigned i = 0; i < spans; i++)
        if (span[i].base >= from && span[i].base < span[i].end && (!found || span[i].base < found->base))
            found = &span[i];
    return found;
}

static void publish(const struct span *s)
{
    struct boot_range *next = &boot_info.range[boot_info.ranges];
    if (boot_info.ranges && next[-1].kind == s->kind && next[-1].base + next[-1].size == s->base) {
        next[-1].size += s->end - s->base;
        return;
    }
    if (boot_info.ranges++ == BOOT_RANGES)
        boot_refuse(SENTENCE("the firmware's memory map is too fragmented", "use another machine"));
    *next = (struct boot_range){s->base, s->end - s->base, s->kind, 0};
}

void boot_memory_finish(void)
{
    if (!lines)
        boot_refuse(SENTENCE("the loader gave no memory map", "use another loader"));
    claim_all();
    for (const struct span *s = lowest(0); s; s = lowest(s->end))
        publish(s);
}
