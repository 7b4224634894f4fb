#include "boot.h"

#define LINES 128
#define SPANS 512

#define MEBIBYTE    (1ull << 20)
#define DEVICE_END  (1ull << 40) /* devices are looked for below this */
#define ADDRESS_END (1ull << 52) /* APM2 5.1: the largest physical address */
#define LOCAL_APIC  0xfee00000ull
#define TYPE_RAM    1u
#define NOBODY      0xffffffffu /* a kind: in no range at all */

struct line {
    uint64_t base, end;
    uint32_t type;
};

struct span {
    uint64_t base, end; /* half open; may be empty */
    uint32_t kind;
};

static struct line line[LINES];
static struct span span[SPANS];
static unsigned lines, spans;

void boot_memory_add(uint64_t base, uint64_t size, uint32_t type)
{
    if (base >= ADDRESS_END || !size)
        return;
    if (lines == LINES)
        boot_refuse("the firmware's memory map has too many lines", "; use another machine");
    line[lines++] = (struct line){base, size < ADDRESS_END - base ? base + size : ADDRESS_END, type};
}

static void append(uint64_t base, uint64_t end, uint32_t kind)
{
    if (base >= end || kind == NOBODY)
        return;
    if (spans == SPANS)
        boot_refuse("the firmware's memory map is too fragmented", "; use another machine");
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
static uint64_t physical(const char *symbol) { return (uint64_t)symbol - KERNEL_BASE; }

/* Later claims win: what is not RAM beats RAM, and the kernel beats all. */
static void claim_all(void)
{
    claim(0, DEVICE_END, RANGE_DEVICE);
    for (unsigned i = 0; i < lines; i++)
        if (line[i].type == TYPE_RAM && page_up(line[i].base) < page_down(line[i].end))
            claim(page_up(line[i].base), page_down(line[i].end), RANGE_RAM);
    for (unsigned i = 0; i < lines; i++)
        if (line[i].type != TYPE_RAM)
            claim(page_down(line[i].base), page_up(line[i].end), RANGE_DEVICE);
    claim(0, MEBIBYTE, RANGE_DEVICE);
    claim(AP_PAGE, AP_PAGE + PAGE_SIZE, NOBODY);
    claim(LOCAL_APIC, LOCAL_APIC + PAGE_SIZE, NOBODY);
    claim(physical(image_start), physical(kernel_end), NOBODY);
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
    struct boot_range *last = &boot_info.range[boot_info.ranges - 1];
    if (boot_info.ranges && last->kind == s->kind && last->base + last->size == s->base) {
        last->size += s->end - s->base;
        return;
    }
    if (boot_info.ranges == BOOT_RANGES)
        boot_refuse("the firmware's memory map is too fragmented", "; use another machine");
    boot_info.range[boot_info.ranges++] = (struct boot_range){s->base, s->end - s->base, s->kind, 0};
}

void boot_memory_finish(void)
{
    if (!lines)
        boot_refuse("the loader gave no memory map", "; use another loader");
    claim_all();
    for (const struct span *s = lowest(0); s; s = lowest(s->end))
        publish(s);
}
