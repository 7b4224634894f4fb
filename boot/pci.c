#include "boot.h"
#include "port.h"

/* Configuration mechanism #1 (PCI 3.0 3.2.2.3.2) */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u

#define VENDOR  0x00
#define COMMAND 0x04
#define HEADER  0x0c /* bits 23..16: header type */

#define ABSENT         0xffffu
#define BUS_MASTER     4u
#define MULTI_FUNCTION (1u << 23)

/* `function`: bus << 8 | device << 3 | function */
static void config_select(uint32_t function, uint32_t offset) { outl(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | offset); }

static uint32_t config_read(uint32_t function, uint32_t offset)
{
    config_select(function, offset);
    return inl(CONFIG_DATA);
}

static int present(uint32_t function) { return (config_read(function, VENDOR) & 0xffff) != ABSENT; }

/* 16 bits wide: the status bits beside the command clear when written as 1. */
static void silence(uint32_t function)
{
    config_select(function, COMMAND);
    outw(CONFIG_DATA, inw(CONFIG_DATA) & (uint16_t)~BUS_MASTER);
}

void boot_pci_silence(void)
{
    for (uint32_t device = 0; device < 1u << 16; device += 8) {
        if (!present(device))
            continue;
        uint32_t functions = config_read(device, HEADER) & MULTI_FUNCTION ? 8 : 1;
        for (uint32_t function = device; function < device + functions; function++)
            if (present(function))
                silence(function);
    }
}
