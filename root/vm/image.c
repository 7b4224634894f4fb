#include <abi/image.h>
#include <root/console/console.h>
#include <root/memory.h>
#include <root/plan.h>
#include <root/vm/image.h>
#include <lib/string.h>

uint64_t image_read(const struct boot_info *info, const char *name, struct image *image)
{
    const struct boot_module *m = plan_module(info, name);
    struct image_header h;
    if (m && m->size >= sizeof(h) && memory_read(m->base, &h, sizeof(h)) == OK &&
        h.magic == IMAGE_MAGIC) {
        uint64_t have = pages(m->size), text = (uint64_t)h.text * PAGE_SIZE;
        *image = (struct image){m->base, h.entry, text, (uint64_t)h.rodata * PAGE_SIZE,
                                (uint64_t)h.data * PAGE_SIZE};
        if ((uint64_t)h.text + h.rodata + h.data <= have && h.entry >= IMAGE_BASE &&
            h.entry - IMAGE_BASE < text)
            return OK;
    }
    console_say("the boot module named %s is missing or not a program image", name);
    return BAD_ARG;
}

void image_copy_data(const struct image *image, void *to)
{
    memcpy(to, (const void *)(ROOT_PHYS + image->base + image->text + image->rodata), image->data);
}

uint64_t image_map(const struct image *image, uint64_t pd, uint64_t data_base)
{
    const struct {
        uint64_t base, size, perm, va;
    } part[] = {
        {image->base, image->text, MR_READ | MR_EXEC, IMAGE_BASE},
        {image->base + image->text, image->rodata, MR_READ, IMAGE_BASE + image->text},
        {data_base, image->data, MR_READ | MR_WRITE, IMAGE_BASE + image->text + image->rodata},
    };
    uint64_t status = OK;
    for (uint32_t i = 0; i < sizeof(part) / sizeof(part[0]) && status == OK; i++)
        if (part[i].size)
            status = memory_map(part[i].base, part[i].size, pd, part[i].perm, part[i].va);
    return status;
}
