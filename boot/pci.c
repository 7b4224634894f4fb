#include <cpu.h>
#include "boot.h"

/* Configuration mechanism #1 (PCI 3.0 3.2.2.3.2). Data is read by bytes; the address takes 32 bits at once. */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u

#define VENDOR         0x00
#define COMMAND        0x04
#define BUS_MASTER     4u
#define HEADER_TYPE    0x0e
#define MULTI_FUNCTION 0x80u

/* `function`: bus << 8 | device << 3 | function. The port at which the byte at `offset` is now to be found. */
static uint16_t config_byte(uint32_t function, uint32_t offset)
{
    __asm__ volatile("outl %0, %1" : : "a"(CONFIG_ENABLE | function << 8 | (offset & 0xfc)), "Nd"((uint16_t)CONFIG_ADDRESS));
    return (uint16_t)(CONFIG_DATA + (offset & 3));
}

static bool present(uint32_t function)
{
    uint16_t low = config_byte(function, VENDOR);
    return (cpu_inb(low) & cpu_inb((uint16_t)(low + 1))) != 0xff;
}

void boot_pci_silence(void)
{
    uint32_t step;
    for (uint32_t function = 0; function < 1u << 16; function += step) {
        step = function & 7 ? 1 : 8;
        if (!present(function))
            continue;
        if (cpu_inb(config_byte(function, HEADER_TYPE)) & MULTI_FUNCTION)
            step = 1;
        uint16_t command = config_byte(function, COMMAND);
        cpu_outb(command, cpu_inb(command) & (uint8_t)~BUS_MASTER);
    }
}
