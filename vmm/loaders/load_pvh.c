/*
 * ELF images with a PVH entry (Xen's x86/HVM direct boot ABI): a note of type 18
 * names a 32-bit entry, EBX points to a start info.
 */
#include <vmm/loaders/load.h>
#include <lib/string.h>

#define NOTE_ENTRY    18u
#define START_MAGIC   0x336ec578u
#define START_VERSION 1u

struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, cmdline, rsdp, memory_map;
    uint32_t memory_ranges, reserved;
};
struct start_module {
    uint64_t address, size, cmdline, reserved;
};
struct start_range {
    uint64_t base, size;
    uint32_t type, reserved;
};
_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct start_module) == 32 &&
                   sizeof(struct start_range) == 24,
               "the ABI's");

struct note {
    uint32_t name_size, size, type;
};

/* Look through one note segment (System V ABI 5.2): names and contents are padded to 4 bytes. */
static bool find_entry(const struct elf_segment *s, uint64_t *entry)
{
    struct note n;
    for (uint64_t at = 0; at + sizeof(n) <= s->file_size;) {
        memcpy(&n, load_image_at(s->offset + at, sizeof(n)), sizeof(n));
        uint64_t name = at + sizeof(n), data = name + (((uint64_t)n.name_size + 3) & ~3ull);
        at = data + (((uint64_t)n.size + 3) & ~3ull);
        if (at > s->file_size)
            return false;
        if (n.type != NOTE_ENTRY || n.name_size != 4 || (n.size != 4 && n.size != 8))
            continue;
        if (memcmp(load_image_at(s->offset + name, 4), "Xen", 4) == 0) {
            *entry = 0;
            memcpy(entry, load_image_at(s->offset + data, n.size), n.size);
            return true;
        }
    }
    return false;
}

static bool elf_pvh_entry(const struct elf *e, uint64_t *entry)
{
    for (uint32_t i = 0; i < e->count; i++) {
        struct elf_segment s;
        if (elf_segment(e, i, &s) && s.type == ELF_NOTE && find_entry(&s, entry))
            return true;
    }
    return false;
}

static void put_start_info(uint64_t initrd)
{
    struct start_info *info = guest_memory(BOOT_INFO, sizeof(*info));
    struct start_module *module = guest_memory(BOOT_MODULES, sizeof(*module));
    struct start_range *map = guest_memory(BOOT_MEMORY, MEMORY_RANGES * sizeof(*map));
    *info = (struct start_info){
        .magic = START_MAGIC, .version = START_VERSION, .cmdline = BOOT_CMDLINE, .rsdp = ACPI_RSDP};
    info->modules = initrd ? 1 : 0;
    info->module_list = initrd ? BOOT_MODULES : 0;
    *module = (struct start_module){.address = initrd, .size = config()->initrd.size};
    info->memory_map = BOOT_MEMORY;
    info->memory_ranges = load_ranges();
    for (uint32_t i = 0; i < load_ranges(); i++) {
        struct memory_range r = load_range(i);
        map[i] = (struct start_range){r.base, r.size, r.type, 0};
    }
}

const char *load_pvh(void)
{
    struct elf e;
    uint64_t entry, end, initrd;
    if (!elf_open(&e))
        return "not an ELF image";
    if (!elf_pvh_entry(&e, &entry))
        return "no PVH entry note";
    const char *wrong = load_place_boot(&e);
    if (!wrong)
        wrong = elf_load(&e, &end);
    if (wrong)
        return wrong;
    if (!load_place_initrd(end, GUEST_MSIX, &initrd))
        return "the initrd does not fit the VM's memory";
    put_start_info(initrd);
    boot = (struct vm_boot){.rip = entry, .rbx = BOOT_INFO, .gdt = boot.gdt};
    return NULL;
}
