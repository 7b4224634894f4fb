#include "boot.h"
#include "uefi/handover.h"

/* Types that are RAM once boot services are gone (UEFI 2.10, 7.2.1, table 7.10). */
static bool is_ram(uint32_t type)
{
    return type == UEFI_CONVENTIONAL || (type >= UEFI_LOADER_CODE && type <= UEFI_BOOT_DATA);
}

static void uefi_read_map(const struct uefi_handover *h)
{
    uint64_t step = h->map_step;
    for (uint64_t at = 0; step >= sizeof(struct uefi_line) && at + step <= h->map_size;
         at += step) {
        const struct uefi_line *l = boot_at(h->map + at);
        boot_memory_add(&(struct memory_line){l->base, l->pages * PAGE_SIZE,
                                              is_ram(l->type) ? TYPE_RAM : TYPE_OTHER});
    }
}

void boot_uefi(uint32_t info)
{
    const struct uefi_handover *h = boot_at(info);
    boot_info.rsdp = h->rsdp;
    boot_info.flags |= (h->host ? BOOT_HOST : 0u) | (h->host == UEFI_LATE ? BOOT_LATE : 0u);
    boot_info.host_serial = h->serial;
    boot_set_screen(h->screen.base, h->screen.bytes * 8, h->screen.width, h->screen.height,
                    h->screen.pitch);
    uefi_read_map(h);
    for (uint32_t i = 0; i < h->modules && i < BOOT_MODULES; i++) {
        const struct uefi_module *m = &h->module[i];
        boot_module_add((uint32_t)m->base, (uint32_t)(m->base + m->size), m->name, sizeof m->name);
    }
}
