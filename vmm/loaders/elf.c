/* ELF images of both classes, read field by field: nothing in them is trusted. */
#include <vmm/loaders/load.h>
#include <lib/string.h>

/* Offsets in the file header and the program headers, for 32 and 64 bits. */
static const struct layout {
    uint8_t entry, phoff, phentsize, phnum;       /* file header */
    uint8_t stride, offset, paddr, filesz, memsz; /* program header */
} layouts[2] = {{24, 28, 42, 44, 32, 4, 12, 16, 20}, {24, 32, 54, 56, 56, 8, 24, 32, 40}};

static uint64_t field(const uint8_t *base, uint32_t offset, bool wide)
{
    uint64_t value = 0;
    memcpy(&value, base + offset, wide ? 8 : 4);
    return value;
}

static uint16_t half(const uint8_t *base, uint32_t offset)
{
    return (uint16_t)(base[offset] | base[offset + 1] << 8);
}

bool elf_open(struct elf *e)
{
    const uint8_t *h = load_image_at(0, 64);
    if (!h || memcmp(h, "\177ELF", 4) != 0 || (h[4] != 1 && h[4] != 2) || h[5] != 1)
        return false;
    e->wide = h[4] == 2;
    const struct layout *l = &layouts[e->wide];
    e->entry = field(h, l->entry, e->wide);
    e->headers = field(h, l->phoff, e->wide);
    e->stride = half(h, l->phentsize);
    e->count = half(h, l->phnum);
    return e->stride >= l->stride && load_image_at(e->headers, (uint64_t)e->stride * e->count);
}

bool elf_segment(const struct elf *e, uint32_t i, struct elf_segment *s)
{
    const struct layout *l = &layouts[e->wide];
    const uint8_t *p = load_image_at(e->headers + (uint64_t)i * e->stride, l->stride);
    if (!p)
        return false;
    s->type = (uint32_t)field(p, 0, false);
    s->offset = field(p, l->offset, e->wide);
    s->address = field(p, l->paddr, e->wide);
    s->file_size = field(p, l->filesz, e->wide);
    s->size = field(p, l->memsz, e->wide);
    return load_image_at(s->offset, s->file_size) != NULL;
}

bool elf_uses(const struct elf *e, uint64_t base, uint64_t end)
{
    struct elf_segment s;
    for (uint32_t i = 0; i < e->count; i++)
        if (elf_segment(e, i, &s) && s.type == ELF_LOAD && s.size && s.address < end &&
            s.address + s.size > base)
            return true;
    return false;
}

const char *elf_load(const struct elf *e, uint64_t *end)
{
    *end = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        struct elf_segment s;
        if (!elf_segment(e, i, &s))
            return "a segment is not in the file";
        if (s.type != ELF_LOAD || s.size == 0)
            continue;
        uint8_t *to = guest_memory(s.address, s.size);
        if (!to || s.file_size > s.size)
            return "a segment does not fit the VM's memory";
        memcpy(to, load_image_at(s.offset, s.file_size), s.file_size);
        memset(to + s.file_size, 0, s.size - s.file_size);
        if (s.address + s.size > *end)
            *end = s.address + s.size;
    }
    return *end ? NULL : "no segment to load";
}
