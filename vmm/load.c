/* What all loaders share: the memory map, the initrd, the command line, and the choice of one. */
#include <vmm/load.h>
#include <lib/print.h>
#include <lib/string.h>

#define LOW_END  0x9f000u /* a page of BIOS data is below ROMS, and one at 0 */
#define CMD_LINE (PLAN_CMDLINE_SEALED + PLAN_CMDLINE)
_Static_assert(CMD_LINE <= BOOT_SIZE - 0xa000, "the command line fits");

struct vm_boot boot;

struct memory_range memory_range(uint32_t i)
{
    const struct memory_range map[MEMORY_RANGES] = {
        {0, ROMS, 1},
        {ROMS, HIGH_MEMORY - ROMS, 2}, /* RAM too; Linux looks for ACPI here */
        {HIGH_MEMORY, config()->plan.memory - HIGH_MEMORY, 1},
    };
    return map[i];
}

const void *image_at(uint64_t offset, uint64_t size)
{
    const struct vm_file *f = &config()->kernel;
    return size <= f->size && offset <= f->size - size ? (const void *)(f->address + offset) : NULL;
}

bool place_initrd(uint64_t kernel_end, uint64_t limit, uint64_t *at)
{
    const struct vm_file *f = &config()->initrd;
    uint64_t top = config()->plan.memory < limit ? config()->plan.memory : limit;
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

const char *place_boot(const struct elf *e)
{
    if (elf_uses(e, ROMS, HIGH_MEMORY))
        return "a segment lies where a PC has its ROMs (A0000h to FFFFFh)";
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
    if (config()->plan.sealed) /* it has no paravirtual clock to tell it; whole MHz, so that the same image measures the same */
        used = format(line, PLAN_CMDLINE_SEALED, "tsc=reliable tsc_early_khz=%lu ", (config()->tsc_hz + 500000) / 1000000 * 1000);
    memcpy(line + used, words, PLAN_CMDLINE);
    line[used + PLAN_CMDLINE - 1] = 0;
}

/* Flat code and data segments, in 32 and 64 bits, where `boot` says the table is. */
static void put_gdt(void)
{
    const uint64_t code32 = 0xcf9b000000ffff, code64 = 0xaf9b000000ffff, data = 0xcf93000000ffff;
    const uint64_t gdt[BOOT_GDT_SIZE / 8] = {0, 0, boot.long_mode ? code64 : code32, data};
    memcpy(guest_memory(boot.gdt, sizeof(gdt)), gdt, sizeof(gdt));
}

const char *load_guest(void)
{
    const char *wrong = "unknown kind";
    if (config()->plan.memory < 2 * HIGH_MEMORY || config()->plan.memory > GUEST_MSIX)
        return "the VM's memory is not between 2 and 3584 MiB";
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
