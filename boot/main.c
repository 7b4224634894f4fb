#include <cpu.h>
#include "boot.h"
#include "uefi/handover.h"

#define MULTIBOOT1 0x2badb002u
#define MULTIBOOT2 0x36d76289u

#define COM1      0x3f8
#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1

static const struct {
    uint16_t port;
    uint8_t value;
} legacy_setup[] = {
    {PIC1_MASK, 0xff}, /* no interrupts through the 8259s,    */
    {PIC2_MASK, 0xff}, /* first and second                    */
    {COM1 + 1, 0x00},  /* none from the 16550 either          */
    {COM1 + 3, 0x80},  /* show its divisor                    */
    {COM1 + 0, 0x01},  /* 115200 baud, low byte               */
    {COM1 + 1, 0x00},  /* high byte                           */
    {COM1 + 3, 0x03},  /* hide it; 8 bits, no parity, one stop bit */
    {COM1 + 2, 0x07},  /* FIFOs on and empty                  */
    {COM1 + 4, 0x03},  /* DTR and RTS                         */
};

/* In a page of the kernel's data: the kernel maps it into root. Root looks for the ACPI tables
 * itself. */
__attribute__((section(".boot_info"), aligned(PAGE_SIZE))) struct boot_info boot_info = {
    .magic = BOOT_MAGIC};
/* The kernel's data, too: it reads it whenever root starts a core. */
__attribute__((section(".boot_left"))) uint8_t core_ap_page;

static void set_up_legacy(void)
{
    for (unsigned i = 0; i < sizeof legacy_setup / sizeof legacy_setup[0]; i++)
        cpu_outb(legacy_setup[i].port, legacy_setup[i].value);
}

/* Is the machine the installed system's, which is at work on it? */
static bool is_host(uint32_t magic, uint32_t info)
{
    return magic == UEFI_MAGIC && ((const struct uefi_handover *)boot_at(info))->host;
}

static void read_loader(uint32_t magic, uint32_t info)
{
    if (magic == MULTIBOOT1)
        boot_multiboot1(info);
    else if (magic == MULTIBOOT2)
        boot_multiboot2(info);
    else if (magic == UEFI_MAGIC)
        boot_uefi(info);
    else
        boot_refuse(SENTENCE("the loader speaks neither multiboot 1 nor 2", "use another loader"));
}

/* Copy the trampoline for other cores to its page. After the loader's information has been read,
 * because that may lie there. Volatile: the compiler must not make it a call of memcpy. */
static void place_trampoline(void)
{
    volatile char *to = (volatile char *)(KERNEL_BASE + core_ap_page * PAGE_SIZE);
    for (uint64_t i = 0; i < (uint64_t)ap_end - (uint64_t)ap_start; i++)
        to[i] = ap_start[i];
}

void boot_main(uint32_t magic, uint32_t info)
{
    cpu_outb(POST_PORT, POST_STUB);
    if (!is_host(magic, info)) {
        set_up_legacy();
        boot_pci_silence();
    }
    read_loader(magic, info); /* early: only then can a refusal be seen on the screen */
    boot_memory_finish();
    boot_module_finish();
    boot_processor_check();
    if (core_ap_page)
        place_trampoline();
    cpu_outb(POST_PORT, POST_KERNEL);
    kernel_main(&boot_info);
}
