/* What all loaders share: the memory map, the initrd, the command line, and the choice of one. */
#include <vmm/loaders/load.h>
#include <lib/format.h>
#include <lib/string.h>

#define LOW_END  0x9f000u /* a page of BIOS data is below ROMS, and one at 0 */
#define CMD_LINE (PLAN_CMDLINE_SEALED + PLAN_CMDLINE)
_Static_assert(CMD_LINE <= BOOT_SIZE - 0xa000, "the command line fits");

struct vm_boot boot;

uint32_t load_ranges(void)
{
    uint64_t memory = config()->plan.memory;
    return guest_low(memory) < memory ? MEMORY_RANGES : MEMORY_RANGES - 1;
}

struct memory_range load_range(uint32_t i)
{
    uint64_t low = guest_low(config()->plan.memory);
    const struct memory_range map[MEMORY_RANGES] = {
        {0, ROMS, 1},
        {ROMS, HIGH_MEMORY - ROMS, 2}, /* RAM, but reserved: Linux looks for ACPI here */
        {HIGH_MEMORY, low - HIGH_MEMORY, 1},
        {GUEST_HIGH, config()->plan.memory - low, 1},
    };
    return map[i];
}

const void *load_image_at(uint64_t offset, uint64_t size)
{
    const struct vm_file *f = &config()->kernel;
    return size <= f->size && offset <= f->size - size ? (const void *)(f->address + offset) : NULL;
}

bool load_place_initrd(uint64_t kernel_end, uint64_t limit, uint64_t *at)
{
    const struct vm_file *f = &config()->initrd;
    uint64_t low = guest_low(config()->plan.memory), top = low < limit ? low : limit;
    *at = 0;
    if (f->address == 0)
        return true;
    kernel_end = kernel_end > HIGH_MEMORY ? kernel_end : HIGH_MEMORY;
    if (f->size > top || (top - f->size) / PAGE_SIZE * PAGE_SIZE < kernel_end)
        return false;
    *at = (top - f->size) / PAGE_SIZE * PAGE_SIZE;
    memcpy(guest_memory(*at, f->size), (const void *)f->address, f->size);
    return true;
}

const char *load_place_boot(const struct elf *e)
{
    if (elf_uses(e, ROMS, HEADERS))
        return "a segment lies where a PC has its ROMs (A0000h to FEFFFh)";
    for (boot.gdt = BOOT_USUAL; boot.gdt + BOOT_SIZE <= LOW_END; boot.gdt += PAGE_SIZE)
        if (!elf_uses(e, boot.gdt, boot.gdt + BOOT_SIZE))
            return NULL;
    return "the image leaves no 44 KiB free between 8000h and 9F000h";
}

static void put_cmdline(void)
{
    const char *words = config()->plan.cmdline;
    char *line = guest_memory(BOOT_CMDLINE, CMD_LINE);
    uint32_t used = 0;
    /* A sealed VM has no paravirtual clock, so it is told the TSC's rate. In whole MHz: the command
       line is measured, and the same VM has to measure the same each time. */
    if (config()->plan.sealed)
        used = format(line, PLAN_CMDLINE_SEALED, "tsc=reliable tsc_early_khz=%lu ",
                      (config()->tsc_hz + 500000) / 1000000 * 1000);
    memcpy(line + used, words, PLAN_CMDLINE);
    line[used + PLAN_CMDLINE - 1] = 0;
}

/* GDT at boot.gdt: flat code and data segments, of 32 and 64 bits. */
static void put_gdt(void)
{
    const uint64_t code32 = 0xcf9b000000ffff, code64 = 0xaf9b000000ffff, data = 0xcf93000000ffff;
    const uint64_t gdt[BOOT_GDT_SIZE / 8] = {0, 0, boot.long_mode ? code64 : code32, data};
    memcpy(guest_memory(boot.gdt, sizeof(gdt)), gdt, sizeof(gdt));
}

const char *load_guest(void)
{
    const char *wrong = "unknown kind";
    if (config()->plan.memory < 2 * HIGH_MEMORY || config()->plan.memory > PLAN_MEMORY_MAX)
        return "the VM's memory is not between 2 MiB and 1 TiB";
    boot.gdt = BOOT_USUAL;
    switch (config()->plan.kernel_type) {
    case KERNEL_BZIMAGE: wrong = load_bzimage(); break;
    case KERNEL_PVH: wrong = load_pvh(); break;
    case KERNEL_MULTIBOOT: wrong = load_multiboot(); break;
    }
    if (wrong)
        return wrong;
    put_cmdline();
    put_gdt();
    return NULL;
}
