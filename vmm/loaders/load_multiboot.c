/* ELF images by multiboot 1 (Multiboot Specification 0.6.96). The initrd is the only module. */
#include <vmm/loaders/load.h>
#include <lib/string.h>

#define HEADER_MAGIC  0x1badb002u
#define HEADER_SEARCH 8192u
#define LOADER_MAGIC  0x2badb002u
#define EXTENDED_DATA 0x9fc00u /* of the BIOS, 1 KiB */
#define LOW_KILOBYTES (EXTENDED_DATA / 1024)

enum { INFO_MEMORY = 1, INFO_CMDLINE = 4, INFO_MODULES = 8, INFO_MAP = 0x40 };

struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
    uint32_t syms[4], mmap_length, mmap_addr;
};
struct multiboot_module {
    uint32_t start, end, string, reserved;
};
struct multiboot_range {
    uint32_t size, base[2], length[2], type; /* `size`: bytes after itself */
};

static bool has_header(void)
{
    for (uint32_t at = 0; at < HEADER_SEARCH; at += 4) {
        const void *p = load_image_at(at, 12);
        uint32_t word[3]; /* magic, flags, checksum */
        if (!p)
            return false;
        memcpy(word, p, sizeof(word));
        if (word[0] == HEADER_MAGIC && word[2] == -(word[0] + word[1]))
            return true;
    }
    return false;
}

/* BIOS data area: the words by which some multiboot kernels find the end of low memory. */
static void put_bios_data(void)
{
    const uint16_t segment = EXTENDED_DATA / 16, kilobytes = LOW_KILOBYTES;
    memcpy(guest_memory(0x40e, 2), &segment, 2);
    memcpy(guest_memory(0x413, 2), &kilobytes, 2);
    memcpy(guest_memory(EXTENDED_DATA, 1), &(uint8_t){1}, 1); /* its size in KiB */
}

static void put_info(uint64_t initrd)
{
    struct multiboot_info *info = guest_memory(BOOT_INFO, sizeof(*info));
    struct multiboot_module *module = guest_memory(BOOT_MODULES, sizeof(*module));
    struct multiboot_range *map = guest_memory(BOOT_MEMORY, MEMORY_RANGES * sizeof(*map));
    *info = (struct multiboot_info){.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP,
                                    .mem_lower = LOW_KILOBYTES};
    info->cmdline = (uint32_t)BOOT_CMDLINE;
    info->mem_upper = (uint32_t)(guest_low(config()->plan.memory) / 1024 - 1024);
    info->mods_count = initrd ? 1 : 0;
    info->mods_addr = (uint32_t)BOOT_MODULES;
    *module = (struct multiboot_module){.start = (uint32_t)initrd,
                                        .end = (uint32_t)(initrd + config()->initrd.size)};
    info->mmap_length = load_ranges() * (uint32_t)sizeof(*map);
    info->mmap_addr = (uint32_t)BOOT_MEMORY;
    for (uint32_t i = 0; i < load_ranges(); i++) {
        struct memory_range r = load_range(i);
        map[i] = (struct multiboot_range){.size = sizeof(*map) - 4,
                                          .base = {(uint32_t)r.base, (uint32_t)(r.base >> 32)},
                                          .length = {(uint32_t)r.size, (uint32_t)(r.size >> 32)},
                                          .type = r.type};
    }
}

const char *load_multiboot(void)
{
    struct elf e;
    uint64_t end, initrd;
    if (!elf_open(&e) || !has_header())
        return "not an ELF image with a multiboot header";
    const char *wrong = load_place_boot(&e);
    if (wrong)
        return wrong;
    put_bios_data();
    wrong = elf_load(&e, &end);
    if (wrong)
        return wrong;
    if (!load_place_initrd(end, GUEST_MSIX, &initrd))
        return "the initrd does not fit the VM's memory";
    put_info(initrd);
    boot = (struct vm_boot){.rip = e.entry, .rax = LOADER_MAGIC, .rbx = BOOT_INFO, .gdt = boot.gdt};
    return NULL;
}
