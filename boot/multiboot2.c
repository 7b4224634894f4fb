#include "boot.h"

/* Multiboot2 2.0, section 3.6 */
enum tag_type { TAG_END = 0, TAG_MODULE = 3, TAG_MAP = 6 };

struct tag {
    uint32_t type, size; /* bytes, with this header; the next tag is 8-byte aligned */
};

struct module_tag {
    struct tag tag;
    uint32_t start, end;
    char string[];
};

struct map_tag {
    struct tag tag;
    uint32_t line_size, line_version;
};

struct line {
    uint64_t base, length;
    uint32_t type, reserved;
};

static void read_map(uint64_t at, uint64_t end)
{
    const struct map_tag *map = boot_at(at);
    uint64_t step = map->line_size;
    if (step < sizeof(struct line))
        boot_refuse("the loader's memory map is damaged", "; use another loader");
    for (at += sizeof *map; at + sizeof(struct line) <= end; at += step) {
        const struct line *l = boot_at(at);
        boot_memory_add(l->base, l->length, l->type);
    }
}

static void read_tag(const struct tag *tag, uint64_t at)
{
    const struct module_tag *m = boot_at(at);
    if (tag->type == TAG_MAP && tag->size >= sizeof(struct map_tag))
        read_map(at, at + tag->size);
    else if (tag->type == TAG_MODULE && tag->size >= sizeof *m)
        boot_module_add(m->start, m->end, m->string, tag->size - (uint32_t)sizeof *m);
}

void boot_multiboot2(uint32_t address)
{
    const uint32_t *total = boot_at(address);
    uint64_t end = (uint64_t)address + *total;
    for (uint64_t at = (uint64_t)address + 8; at + sizeof(struct tag) <= end;) {
        const struct tag *tag = boot_at(at);
        if (tag->type == TAG_END || tag->size < sizeof *tag || tag->size > end - at)
            return;
        read_tag(tag, at);
        at += (tag->size + 7ull) & ~7ull;
    }
}
