/*
 * PCI configuration by mechanism #1 (PCI 3.0 3.2.2.3.2): bus 0, a host bridge
 * in slot 0. A function of ours is where its BARs say: ports anywhere, the page
 * with the MSI-X table among those of GUEST_MSIX. One of the machine's stays where
 * root has mapped it, and ACPI tells of no other place. Bits 27..24 of the address
 * are bits 11..8 of the register, as AMD's processors have it.
 */
#include <vmm/devices.h>
#include <vmm/pci.h>
#include <lib/string.h>

#define ADDRESS_ENABLE 0x80000000u

static struct function functions[PCI_SLOTS] = {
    [0] = {.present = true, .value = {[PCI_ID / 4] = 0x00081b36, [PCI_CLASS / 4] = 0x06000000}},
};
static uint32_t address;

/* The word that keeps register `at`, 0..FFFh; extended ones are there for SR-IOV only. Others read zeros, or ones if
   there are none at all. */
enum { ZEROS = PCI_WORDS, ONES };
static uint32_t place(const struct function *f, uint32_t at)
{
    if (at < 256)
        return at / 4;
    if (!f->sriov)
        return ONES;
    if (at >= f->sriov && at < f->sriov + 64u)
        return PCI_SRIOV + (at - f->sriov) / 4;
    return at < 260 ? PCI_EXTENDED : ZEROS;
}

uint32_t pci_read(const struct function *f, uint32_t at)
{
    uint32_t w = place(f, at);
    if (w >= PCI_WORDS)
        return w == ONES ? ~0u : 0;
    if (!f->device || f->ours[w] == ~0u)
        return f->value[w];
    uint32_t theirs = *(const volatile uint32_t *)(VMM_ECAM(f->device - 1u) + at);
    return (f->value[w] & f->ours[w]) | (theirs & ~f->ours[w]);
}

static void write(struct function *f, uint32_t at, uint32_t mask, uint32_t value)
{
    uint32_t w = place(f, at);
    if (w >= PCI_WORDS)
        return;
    mask &= f->writable[w];
    f->value[w] = (f->value[w] & ~mask) | (value & mask);
}

void pci_keep(struct function *f, uint32_t at, uint32_t bits, uint32_t value, uint32_t writable)
{
    uint32_t w = place(f, at), shift = 8 * (at & 3);
    if (w >= PCI_WORDS) /* of a capability that the device has put where it does not fit */
        return;
    f->ours[w] |= bits << shift;
    f->value[w] = (f->value[w] & ~(bits << shift)) | value << shift;
    f->writable[w] |= writable << shift;
}

struct function *pci_function(uint32_t slot) { return &functions[slot]; }

/* The offset of capability `id`, 0 if there is none (PCI 3.0 6.7). */
static uint8_t find_cap(const uint8_t bytes[256], uint8_t id)
{
    uint8_t at = bytes[PCI_CAPS];
    for (uint32_t i = 0; i < 48 && at && at < 0xf0; i++) {
        if (bytes[at] == id)
            return at;
        at = bytes[at + 1];
    }
    return 0;
}

void pci_add(uint32_t slot, const uint8_t bytes[256])
{
    struct function *f = &functions[slot];
    memcpy(f->value, bytes, 256);
    f->msix = find_cap(bytes, CAP_MSIX);
    f->writable[PCI_COMMAND / 4] = COMMAND_WRITABLE | COMMAND_IO;
    f->writable[PCI_BAR0 / 4] = ~(PCI_PORTS - 1);
    f->writable[PCI_BAR0 / 4 + 1] = 0xfffff000;
    f->writable[PCI_CACHE_LINE / 4] = 0xff;
    f->writable[PCI_LINE / 4] = 0xff;
    if (f->msix)
        f->writable[f->msix / 4] = (uint32_t)(MSIX_ENABLE | MSIX_MASK) << 16;
    f->present = true;
}

static bool msix_bit(uint32_t slot, uint32_t bit)
{
    const struct function *f = &functions[slot];
    return f->msix && __atomic_load_n(&f->value[f->msix / 4], __ATOMIC_RELAXED) >> 16 & bit;
}

uint32_t pci_slot_at(uint32_t port)
{
    for (uint32_t slot = 1; slot < PCI_SLOTS; slot++) {
        const struct function *f = &functions[slot];
        bool decodes = f->present && !f->device && f->value[PCI_COMMAND / 4] & COMMAND_IO;
        if (decodes && port - (f->value[PCI_BAR0 / 4] & ~0xffu) < PCI_PORTS)
            return slot;
    }
    return PCI_SLOTS;
}

uint32_t pci_memory(uint32_t slot)
{
    return __atomic_load_n(&functions[slot].value[PCI_BAR0 / 4 + 1], __ATOMIC_RELAXED) & ~(PAGE_SIZE - 1u);
}

bool pci_msix_enabled(uint32_t slot) { return msix_bit(slot, MSIX_ENABLE); }
bool pci_msix_masked(uint32_t slot) { return msix_bit(slot, MSIX_MASK); }

/* The function that the address register names, NULL for an empty place. */
static struct function *selected(void)
{
    uint32_t devfn = address >> 8 & 0xff, slot = devfn >> 3;
    if (!(address & ADDRESS_ENABLE) || address & 0xff0000)
        return NULL;
    if (devfn % 8 == 0 && slot < PCI_SLOTS && functions[slot].present)
        return &functions[slot];
    return own_virtual(devfn);
}

static uint32_t register_offset(void) { return (address & 0xfc) | (address >> 16 & 0xf00); }

uint32_t pci_in(uint32_t port, uint32_t size)
{
    const struct function *f = selected();
    if (port == 0xcf8 && size == 4)
        return address;
    return port >= 0xcfc && f && (port & 3) + size <= 4 ? pci_read(f, register_offset()) >> 8 * (port & 3) : ~0u;
}

void pci_out(uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t at = register_offset(), shift = 8 * (port & 3), mask = ~0u >> (32 - 8 * size);
    struct function *f = selected();
    if (port == 0xcf8 && size == 4)
        address = value;
    if (port < 0xcfc || !f || (port & 3) + size > 4)
        return;
    write(f, at, mask << shift, value << shift);
    if (f->device)
        own_written(f, at + (port & 3), size);
}
