#include <cpu.h>
#include "boot.h"

/* Configuration mechanism #1 (PCI 3.0 3.2.2.3.2). The address register takes 32 bits at once; data
 * is read and written by bytes. */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u

#define VENDOR         0x00
#define COMMAND        0x04
#define BUS_MASTER     4u
#define SUBCLASS       0x0a
#define CLASS          0x0b
#define HEADER_TYPE    0x0e
#define MULTI_FUNCTION 0x80u

/* Select the byte at `offset` of `function` (bus << 8 | device << 3 | function); the port at which
 * it is then read and written. */
static uint16_t config_byte(uint32_t function, uint32_t offset)
{
    cpu_outl(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | (offset & 0xfc));
    return (uint16_t)(CONFIG_DATA + (offset & 3));
}

static bool present(uint32_t function)
{
    uint16_t low = config_byte(function, VENDOR);
    return (cpu_inb(low) & cpu_inb((uint16_t)(low + 1))) != 0xff;
}

/* The chipset's own functions (host and ISA bridges, IOMMUs), which no VM ever gets: firmware may
   have work under way with them. */
static bool is_firmwares(uint32_t function)
{
    enum { BRIDGE = 0x06, TO_PCI = 0x04, SYSTEM = 0x08, IOMMU = 0x06 };
    uint8_t class = cpu_inb(config_byte(function, CLASS)),
            subclass = cpu_inb(config_byte(function, SUBCLASS));
    return class == BRIDGE ? subclass != TO_PCI : class == SYSTEM && subclass == IOMMU;
}

/* Of the device whose first function is `first`. */
static void silence(uint32_t first)
{
    uint32_t count = cpu_inb(config_byte(first, HEADER_TYPE)) & MULTI_FUNCTION ? 8 : 1;
    for (uint32_t function = first; function < first + count; function++) {
        if (!present(function) || is_firmwares(function))
            continue;
        uint16_t command = config_byte(function, COMMAND);
        cpu_outb(command, cpu_inb(command) & (uint8_t)~BUS_MASTER);
    }
}

/* From the last bus on: a bridge that is silenced answers what is behind it with errors, so that
 * comes first. */
void boot_pci_silence(void)
{
    for (uint32_t device = 1; device <= 1u << 13; device++) {
        uint32_t first = (1u << 16) - 8 * device;
        if (present(first))
            silence(first);
    }
}
