#include "boot.h"
#include "port.h"

#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1

#define RSDP_SIGNATURE 0x2052545020445352ull /* "RSD PTR " */
#define RSDP_SIZE      20u                   /* what the checksum covers: ACPI 5.2.5.3 */
#define EBDA_SEGMENT   0x40eu

/* In the kernel's data: root gets to read it. */
__attribute__((section(".boot_info"), aligned(PAGE_SIZE))) struct boot_info boot_info = {.magic = BOOT_MAGIC};

static void mask_legacy_interrupts(void)
{
    outb(PIC1_MASK, 0xff);
    outb(PIC2_MASK, 0xff);
}

/* Physical memory below 1 MiB */
static const void *low(uint32_t address) { return (const void *)(KERNEL_BASE + address); }

static int is_rsdp(uint32_t address)
{
    const uint8_t *byte = low(address);
    uint8_t sum = 0;
    for (unsigned i = 0; i < RSDP_SIZE; i++)
        sum = (uint8_t)(sum + byte[i]);
    return *(const uint64_t *)low(address) == RSDP_SIGNATURE && !sum;
}

static uint32_t find_rsdp(uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at += 16)
        if (is_rsdp(at))
            return at;
    return 0;
}

/* The places of ACPI 5.2.5.1; 0: not there. */
static uint64_t rsdp(void)
{
    uint32_t ebda = (uint32_t) * (const uint16_t *)low(EBDA_SEGMENT) << 4;
    uint32_t found = find_rsdp(ebda, ebda + 1024);
    return found ? found : find_rsdp(0xe0000, 0x100000);
}

static void read_loader(uint32_t magic, uint32_t info)
{
    if (magic == MULTIBOOT1_MAGIC)
        boot_multiboot1(info);
    else if (magic == MULTIBOOT2_MAGIC)
        boot_multiboot2(info);
    else
        boot_refuse("the loader speaks neither multiboot 1 nor 2", "; use another loader");
}

void boot_main(uint32_t magic, uint32_t info)
{
    boot_serial_init();
    mask_legacy_interrupts();
    boot_pci_silence();
    boot_processor_check();
    read_loader(magic, info);
    boot_memory_finish();
    boot_module_finish();
    boot_info.rsdp = rsdp();
    boot_info.bsp_apic_id = boot_processor_id();
    copy((void *)(KERNEL_BASE + AP_PAGE), ap_start, (uint64_t)(ap_end - ap_start));
    kernel_main(&boot_info);
}
