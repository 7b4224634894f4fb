#include <abi/image.h>
#include "boot.h"

#define BOOT_AGAIN "; build the boot image again"

static void last_word(char name[static 48], const char *string, uint32_t limit)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < limit && string[i]; i++) {
        if (string[i] == ' ')
            continue;
        if (i && string[i - 1] == ' ')
            n = 0;
        if (n < 47)
            name[n++] = string[i];
    }
    name[n] = 0;
}

void boot_module_add(uint32_t start, uint32_t end, const char *string, uint32_t limit)
{
    if (boot_info.modules == BOOT_MODULES)
        boot_refuse("too many boot modules", BOOT_AGAIN);
    if (start % PAGE_SIZE || end < start)
        boot_refuse("a boot module is not page aligned", "; use another loader");
    struct boot_module *m = &boot_info.module[boot_info.modules++];
    m->base = start;
    m->size = end - start;
    last_word(m->name, string, limit);
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static int in_ram(const struct boot_module *m)
{
    for (uint32_t i = 0; i < boot_info.ranges; i++) {
        const struct boot_range *r = &boot_info.range[i];
        if (r->kind == RANGE_RAM && m->base >= r->base && m->base + m->size <= r->base + r->size)
            return 1;
    }
    return 0;
}

static const struct boot_module *find_root(void)
{
    const struct boot_module *root = 0;
    for (uint32_t i = 0; i < boot_info.modules; i++) {
        if (!in_ram(&boot_info.module[i]))
            boot_refuse("a boot module lies outside the RAM of the memory map", "; use another loader");
        if (same(boot_info.module[i].name, "root"))
            root = &boot_info.module[i];
    }
    if (!root)
        boot_refuse("there is no boot module named root", BOOT_AGAIN);
    return root;
}

void boot_module_finish(void)
{
    const struct boot_module *root = find_root();
    const struct image_header *h = boot_at(root->base);
    uint64_t pages = (uint64_t)h->text + h->rodata + h->data;
    if (root->size < sizeof *h || h->magic != IMAGE_MAGIC || pages > (root->size + PAGE_SIZE - 1) / PAGE_SIZE)
        boot_refuse("the boot module named root is not a program image", BOOT_AGAIN);
    if (h->entry < IMAGE_BASE || h->entry - IMAGE_BASE >= (uint64_t)h->text * PAGE_SIZE)
        boot_refuse("root's image starts outside its text", BOOT_AGAIN);
    boot_info.root_base = root->base;
    boot_info.root_entry = h->entry;
    boot_info.root_text = h->text;
    boot_info.root_rodata = h->rodata;
    boot_info.root_data = h->data;
}
