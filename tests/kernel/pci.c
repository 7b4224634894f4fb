/* See pci.h. */
#include "pci.h"

#include <root/hardware/port.h>

#define EDU_ID     0x11e81234u
#define EDU_BUFFER 0x40000u
#define TICKS      1000000u
#define CAP_MSI    5u
#define BUS_MASTER 6u /* and memory */
#define MSI_ENABLE (1u << 16)

enum edu {
    EDU_RAISE = 0x60,
    EDU_ACK = 0x64,
    EDU_FROM = 0x80,
    EDU_TO = 0x88,
    EDU_COUNT = 0x90,
    EDU_COMMAND = 0x98
};
enum command { EDU_START = 1, EDU_OUT = 2 };

static uint32_t edu;
static uint64_t registers;

static void port_out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

uint32_t pci_read(uint32_t rid, uint32_t reg)
{
    port_out32(0xcf8, 1u << 31 | rid << 8 | reg);
    return port_in32(0xcfc);
}

void pci_write(uint32_t rid, uint32_t reg, uint32_t value)
{
    port_out32(0xcf8, 1u << 31 | rid << 8 | reg);
    port_out32(0xcfc, value);
}

uint32_t edu_find(void)
{
    for (edu = 0; edu < 256 && pci_read(edu, 0) != EDU_ID;)
        edu++;
    if (edu == 256)
        return PCI_NONE;
    pci_write(edu, 4, pci_read(edu, 4) | BUS_MASTER);
    return edu;
}

uint64_t edu_registers(void) { return pci_read(edu, 0x10) & ~0xfu; }
void edu_open(uint64_t va) { registers = va; }

static volatile uint32_t *at32(enum edu reg) { return (volatile uint32_t *)(registers + reg); }
static volatile uint64_t *at64(enum edu reg) { return (volatile uint64_t *)(registers + reg); }

/* It takes a tenth of a second, most of which passes at once while nobody runs. */
static void copy(uint64_t from, uint64_t to, uint64_t command)
{
    *at64(EDU_FROM) = from;
    *at64(EDU_TO) = to;
    *at64(EDU_COUNT) = PAGE_SIZE;
    *at64(EDU_COMMAND) = command | EDU_START;
    while (*at64(EDU_COMMAND) & EDU_START)
        bell_wait(KIT_SCRATCH, tsc() + TICKS);
}

void edu_read(uint64_t from) { copy(from, EDU_BUFFER, 0); }
void edu_write(uint64_t to) { copy(EDU_BUFFER, to, EDU_OUT); }

void edu_message(uint64_t address, uint32_t data)
{
    uint32_t cap = pci_read(edu, 0x34) & 0xfc;
    while (cap && (pci_read(edu, cap) & 0xff) != CAP_MSI)
        cap = pci_read(edu, cap) >> 8 & 0xfc;
    pci_write(edu, cap + 4, (uint32_t)address);
    pci_write(edu, cap + 8, (uint32_t)(address >> 32));
    pci_write(edu, cap + 12, data);
    pci_write(edu, cap, pci_read(edu, cap) | MSI_ENABLE);
}

void edu_interrupt(void)
{
    *at32(EDU_RAISE) = 1;
    *at32(EDU_ACK) = 1;
    bell_wait(KIT_SCRATCH, tsc() + TICKS);
}
