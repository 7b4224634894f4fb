#include "boot.h"

/* Multiboot 0.6.96, section 3.3 */
#define HAS_MODULES 0x08u
#define HAS_MAP     0x40u
#define STRING_MAX  4096u

struct info {
    uint32_t flags, lower, upper, device, command_line;
    uint32_t modules, modules_at;
    uint32_t symbols[4];
    uint32_t map_size, map_at;
};

struct module {
    uint32_t start, end, string_at, reserved;
};

struct __attribute__((packed)) line {
    uint32_t size; /* of the rest */
    uint64_t base, length;
    uint32_t type;
};

static void read_map(uint64_t at, uint64_t end)
{
    while (at + sizeof(struct line) <= end) {
        const struct line *l = boot_at(at);
        boot_memory_add(l->base, l->length, l->type);
        at += sizeof l->size + (uint64_t)l->size;
    }
}

void boot_multiboot1(uint32_t address)
{
    const struct info *info = boot_at(address);
    if (info->flags & HAS_MAP)
        read_map(info->map_at, (uint64_t)info->map_at + info->map_size);
    if (!(info->flags & HAS_MODULES))
        return;
    const struct module *m = boot_at(info->modules_at);
    for (uint32_t i = 0; i < info->modules; i++)
        boot_module_add(m[i].start, m[i].end, boot_at(m[i].string_at), STRING_MAX);
}
