#include "boot.h"

/* Multiboot2 2.0, section 3.6: tags, each 8-byte aligned, by words. */
enum {
    TYPE = 0,
    SIZE = 1,
    MODULE_START = 2,
    MODULE_END = 3,
    LINE_SIZE = 2,
    RSDP = 8,         /* its copy begins here */
    HEADER_BYTES = 16 /* of all others */
};
enum { TAG_END = 0, TAG_MODULE = 3, TAG_MAP = 6, TAG_SCREEN = 8, TAG_RSDP_OLD = 14, TAG_RSDP = 15 };

static void multiboot2_read_map(uint64_t at, uint64_t end, uint64_t step)
{
    for (; step >= sizeof(struct memory_line) && at + step <= end; at += step)
        boot_memory_add(boot_at(at));
}

/* 3.6.12: RGB pixels. */
static void read_screen(uint64_t at, const uint32_t *tag)
{
    enum { ADDRESS = 8, PITCH = 4, WIDTH, HEIGHT, BITS = 28, KIND, RGB = 1, WHOLE = 32 };
    const uint8_t *byte = boot_at(at);
    if (tag[SIZE] >= WHOLE && byte[KIND] == RGB)
        boot_set_screen(*(const uint64_t *)boot_at(at + ADDRESS), byte[BITS], tag[WIDTH],
                        tag[HEIGHT], tag[PITCH]);
}

static void read_tag(uint64_t at)
{
    const uint32_t *tag = boot_at(at);
    if (tag[SIZE] < HEADER_BYTES)
        return;
    if (tag[TYPE] == TAG_MAP)
        multiboot2_read_map(at + HEADER_BYTES, at + tag[SIZE], tag[LINE_SIZE]);
    if (tag[TYPE] == TAG_SCREEN)
        read_screen(at, tag);
    if (tag[TYPE] == TAG_RSDP || (tag[TYPE] == TAG_RSDP_OLD && !boot_info.rsdp))
        boot_info.rsdp = at + RSDP; /* root reads it before it gives memory to anybody */
    if (tag[TYPE] == TAG_MODULE)
        boot_module_add(tag[MODULE_START], tag[MODULE_END], boot_at(at + HEADER_BYTES),
                        tag[SIZE] - HEADER_BYTES);
}

void boot_multiboot2(uint32_t address)
{
    const uint32_t *tag = boot_at(address);
    uint64_t end = (uint64_t)address + tag[0];
    for (uint64_t at = (uint64_t)address + 8; at + 8 <= end; at += (tag[SIZE] + 7ull) & ~7ull) {
        tag = boot_at(at);
        if (tag[TYPE] == TAG_END || tag[SIZE] < 8 || tag[SIZE] > end - at)
            break;
        read_tag(at);
    }
}
