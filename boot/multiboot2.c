#include "boot.h"

/* Multiboot2 2.0, section 3.6: tags, each 8-byte aligned, by words. */
enum { TYPE = 0, SIZE = 1, MODULE_START = 2, MODULE_END = 3, LINE_SIZE = 2, HEADER_BYTES = 16 /* of both kinds */ };
enum { TAG_END = 0, TAG_MODULE = 3, TAG_MAP = 6 };

static void read_map(uint64_t at, uint64_t end, uint64_t step)
{
    for (; step >= sizeof(struct memory_line) && at + step <= end; at += step)
        boot_memory_add(boot_at(at));
}

static void read_tag(uint64_t at)
{
    const uint32_t *tag = boot_at(at);
    if (tag[SIZE] < HEADER_BYTES)
        return;
    if (tag[TYPE] == TAG_MAP)
        read_map(at + HEADER_BYTES, at + tag[SIZE], tag[LINE_SIZE]);
    if (tag[TYPE] == TAG_MODULE)
        boot_module_add(tag[MODULE_START], tag[MODULE_END], boot_at(at + HEADER_BYTES), tag[SIZE] - HEADER_BYTES);
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
