#include <abi/image.h>
#include <abi/plan.h>
#include "boot.h"

#define NAME_MAX sizeof boot_info.module[0].name

static void last_word(char *name, const char *string, uint32_t limit)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < limit && string[i]; i++) {
        if (i && string[i - 1] == ' ' && string[i] != ' ')
            n = 0;
        if (string[i] != ' ' && n < NAME_MAX - 1)
            name[n++] = string[i];
    }
    name[n] = 0;
}

void boot_module_add(uint32_t start, uint32_t end, const char *string, uint32_t limit)
{
    if (boot_info.modules == BOOT_MODULES)
        boot_refuse(SENTENCE("too many boot modules", "use a plan with fewer files"));
    if (start % PAGE_SIZE || end < start)
        boot_refuse(SENTENCE("a boot module is not page aligned", "use another loader"));
    struct boot_module *m = &boot_info.module[boot_info.modules++];
    m->base = start;
    m->size = end - start;
    last_word(m->name, string, limit);
}

static bool in_ram(const struct boot_module *m)
{
    for (uint32_t i = 0; i < boot_info.ranges; i++) {
        const struct boot_range *r = &boot_info.range[i];
        if (r->kind == RANGE_RAM && m->base >= r->base && m->base + m->size <= r->base + r->size)
            return true;
    }
    return !m->size; /* an empty module's address means nothing */
}

static bool is_named(const struct boot_module *m, const char *name)
{
    unsigned i = 0;
    while (name[i] && m->name[i] == name[i])
        i++;
    return m->name[i] == name[i];
}

/* Of the plan only one flag is for the stub and the kernel; root checks all of it. A system that
   runs is not reset for a refusal. */
static void note_plan(const struct boot_module *m)
{
    const struct plan *plan = boot_at(m->base);
    if (m->size >= sizeof *plan && plan->magic == PLAN_MAGIC && plan->flags & PLAN_BATCH &&
        !(boot_info.flags & BOOT_LATE))
        boot_info.flags |= BOOT_BATCH;
}

static void set_root(const struct boot_module *m)
{
    const struct image_header *h = boot_at(m->base);
    uint64_t pages = (m->size + PAGE_SIZE - 1) / PAGE_SIZE;
    if (m->size < sizeof *h || h->magic != IMAGE_MAGIC ||
        (uint64_t)h->text + h->rodata + h->data > pages ||
        h->entry - IMAGE_BASE >= (uint64_t)h->text * PAGE_SIZE)
        boot_refuse(
            SENTENCE("the boot module named root is not a program image", "build it again"));
    boot_info.root_base = m->base;
    boot_info.root_entry = h->entry;
    boot_info.root_text = h->text;
    boot_info.root_rodata = h->rodata;
    boot_info.root_data = h->data;
}

void boot_module_finish(void)
{
    for (const struct boot_module *m = boot_info.module; m < boot_info.module + boot_info.modules;
         m++) {
        if (!in_ram(m))
            boot_refuse(SENTENCE("a boot module lies outside the RAM of the memory map",
                                 "use another loader"));
        if (is_named(m, "plan"))
            note_plan(m);
        if (is_named(m, "root"))
            set_root(m);
    }
    if (!boot_info.root_base)
        boot_refuse(SENTENCE("there is no boot module named root", "build the boot image again"));
}
