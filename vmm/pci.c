/*
 * PCI configuration by mechanism #1 (PCI 3.0 3.2.2.3.2): bus 0, one function a
 * slot, a host bridge in slot 0. BARs answer sizing; their place is fixed.
 */
#include <vmm/devices.h>
#include <lib/string.h>

#define ADDRESS_ENABLE    0x80000000u
#define OFFSET_COMMAND    0x04u
#define OFFSET_CACHE_LINE 0x0cu
#define OFFSET_BAR0       0x10u
#define OFFSET_BAR1       0x14u
#define OFFSET_CAPS       0x34u
#define OFFSET_LINE       0x3cu
#define CAP_MSIX          0x11u
#define MSIX_ENABLE       0x80u /* in the high byte of message control */
#define MSIX_MASK         0x40u

struct function {
    bool present;
    uint8_t msix; /* offset of the MSI-X capability, 0: none */
    uint8_t bytes[256];
    uint8_t writable[256]; /* bit masks */
};

static struct function functions[PCI_SLOTS] = {
    [0] = {.present = true, .bytes = {0x36, 0x1b, 0x08, 0x00, [0x0b] = 0x06}},
};
static uint32_t address;

/* The offset of capability `id`, 0 if there is none (PCI 3.0 6.7). */
static uint8_t find_cap(const uint8_t bytes[256], uint8_t id)
{
    uint8_t at = bytes[OFFSET_CAPS];
    for (uint32_t i = 0; i < 48 && at && at < 0xf0; i++) {
        if (bytes[at] == id)
            return at;
        at = bytes[at + 1];
    }
    return 0;
}

static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof(value)); }

void pci_add(uint32_t slot, const uint8_t bytes[256])
{
    struct function *f = &functions[slot];
    memcpy(f->bytes, bytes, sizeof(f->bytes));
    f->msix = find_cap(bytes, CAP_MSIX);
    put32(f->writable + OFFSET_COMMAND, 0x0407); /* decoding, mastering, INTx off */
    put32(f->writable + OFFSET_BAR0, 0xffffff00);
    put32(f->writable + OFFSET_BAR1, 0xfffff000);
    f->writable[OFFSET_CACHE_LINE] = 0xff;
    f->writable[OFFSET_LINE] = 0xff;
    if (f->msix)
        f->writable[f->msix + 3] = MSIX_ENABLE | MSIX_MASK;
    f->present = true;
}

static bool msix_bit(uint32_t slot, uint8_t bit)
{
    const struct function *f = &functions[slot];
    return f->msix && f->bytes[f->msix + 3] & bit;
}

bool pci_msix_enabled(uint32_t slot) { return msix_bit(slot, MSIX_ENABLE); }
bool pci_msix_masked(uint32_t slot) { return msix_bit(slot, MSIX_MASK); }

/* The function that the address register names, NULL for an empty place. */
static struct function *selected(void)
{
    uint32_t slot = address >> 11 & 31;
    bool here = address & ADDRESS_ENABLE && (address & 0xff0700) == 0 && slot < PCI_SLOTS && functions[slot].present;
    return here ? &functions[slot] : NULL;
}

uint32_t pci_in(uint32_t port, uint32_t size)
{
    uint32_t value = ~0u, at = (address & 0xfc) + (port & 3);
    const struct function *f = selected();
    if (port == 0xcf8 && size == 4)
        return address;
    if (port >= 0xcfc && f && (port & 3) + size <= 4)
        memcpy(&value, f->bytes + at, size);
    return value;
}

void pci_out(uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t at = (address & 0xfc) + (port & 3);
    struct function *f = selected();
    if (port == 0xcf8 && size == 4)
        address = value;
    if (port < 0xcfc || !f || (port & 3) + size > 4)
        return;
    for (uint32_t i = at; i < at + size; i++, value >>= 8)
        f->bytes[i] = (uint8_t)((f->bytes[i] & ~f->writable[i]) | (value & f->writable[i]));
}
