/* See pci.h. */
#include "pci.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc
#define PCI_ENABLE  0x80000000u

uint32_t pci_read(uint32_t slot, uint32_t offset)
{
    out32(PCI_ADDRESS, PCI_ENABLE | slot << 11 | (offset & 0xfc));
    return in32(PCI_DATA);
}

void pci_write(uint32_t slot, uint32_t offset, uint32_t value)
{
    out32(PCI_ADDRESS, PCI_ENABLE | slot << 11 | (offset & 0xfc));
    out32(PCI_DATA, value);
}

uint64_t pci_bar(uint32_t slot, uint32_t bar, bool *memory)
{
    uint32_t low = pci_read(slot, PCI_BAR0 + 4 * bar);
    *memory = !(low & 1);
    if (low & 1)
        return low & ~3u;
    uint64_t high = (low & 6) == 4 ? pci_read(slot, PCI_BAR0 + 4 * bar + 4) : 0;
    return high << 32 | (low & ~15u);
}

uint32_t pci_capability(uint32_t slot, uint32_t id, uint32_t after)
{
    uint32_t at =
        after ? pci_read(slot, after) >> 8 & 0xfc : pci_read(slot, PCI_CAPABILITIES) & 0xfc;
    for (uint32_t i = 0; at && i < PCI_CHAINED; i++) {
        uint32_t header = pci_read(slot, at);
        if ((header & 0xff) == id)
            return at;
        at = header >> 8 & 0xfc;
    }
    return 0;
}
