/*
 * PCI configuration by mechanism #1 (PCI 3.0 3.2.2.3.2): bus 0, a host bridge
 * in slot 0. Functions of the VMM's decode where their BARs say: BAR0, of ports,
 * anywhere; BAR1, the page with the MSI-X table, among the pages of GUEST_MSIX.
 * Assigned functions stay where root has mapped them, and ACPI tells of no other
 * place. Bits 27..24 of the address are bits 11..8 of the register, as AMD's
 * processors have it.
 */
#include <vmm/platform/devices.h>
#include <vmm/platform/pci.h>
#include <lib/string.h>

#define ADDRESS_ENABLE 0x80000000u

#define PORT_RANGES (0x10000u / PCI_PORTS)
static uint8_t slot_of[PORT_RANGES]; /* by port / PCI_PORTS: whose BAR0 decodes there; 0: nobody's,
                                        since slot 0 has no BAR */
static struct function functions[PCI_SLOTS] = {
    [0] = {.present = true, .value = {[PCI_ID / 4] = 0x00081b36, [PCI_CLASS / 4] = 0x06000000}},
};
static uint32_t address;

/* Index of the word that keeps register `at`, 0..FFFh. Extended space has SR-IOV at most: its other
   registers read as zeros (ZEROS), and all of it as ones where there is no SR-IOV (ONES). */
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
    if (w >= PCI_WORDS) /* of a capability whose end is not in the space */
        return;
    f->ours[w] |= bits << shift;
    f->value[w] = (f->value[w] & ~(bits << shift)) | value << shift;
    f->writable[w] |= writable << shift;
}

struct function *pci_function(uint32_t slot) { return &functions[slot]; }

/* The offset of capability `id`, 0 if there is none (PCI 3.0 6.7). */
static uint8_t find_cap(const uint8_t bytes[256], uint8_t id)
{
    uint8_t at = bytes[PCI_CAPABILITIES];
    for (uint32_t i = 0; i < 48 && at && at < 0xf0; i++) {
        if (bytes[at] == id)
            return at;
        at = bytes[at + 1];
    }
    return 0;
}

/* Make slot_of anew, after a BAR0 or a command register changed. Of two BAR0s at one place the
 * lower slot's answers. */
static void map_ports(void)
{
    uint8_t next[PORT_RANGES] = {0};
    for (uint32_t slot = PCI_SLOTS - 1; slot > 0; slot--) {
        const struct function *f = &functions[slot];
        if (f->present && !f->device && f->value[PCI_COMMAND / 4] & COMMAND_IO)
            next[f->value[PCI_BAR0 / 4] / PCI_PORTS % PORT_RANGES] = (uint8_t)slot;
    }
    memcpy(slot_of, next, sizeof(next));
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
    f->writable[PCI_INTERRUPT_LINE / 4] = 0xff;
    if (f->msix)
        f->writable[f->msix / 4] = (uint32_t)(MSIX_ENABLE | MSIX_MASK_ALL) << 16;
    f->present = true;
    map_ports();
}

static bool msix_bit(uint32_t slot, uint32_t bit)
{
    const struct function *f = &functions[slot];
    return f->msix && __atomic_load_n(&f->value[f->msix / 4], __ATOMIC_RELAXED) >> 16 & bit;
}

uint32_t pci_slot_at(uint32_t port) { return slot_of[port / PCI_PORTS % PORT_RANGES]; }

uint32_t pci_memory(uint32_t slot)
{
    return __atomic_load_n(&functions[slot].value[PCI_BAR0 / 4 + 1], __ATOMIC_RELAXED) &
           ~(PAGE_SIZE - 1u);
}

bool pci_msix_enabled(uint32_t slot) { return msix_bit(slot, MSIX_ENABLE); }
bool pci_msix_masked(uint32_t slot) { return msix_bit(slot, MSIX_MASK_ALL); }

/* The function that the address register names, NULL for an empty place. */
static struct function *pci_selected(void)
{
    uint32_t devfn = address >> 8 & 0xff, slot = devfn >> 3;
    if (!(address & ADDRESS_ENABLE) || address & 0xff0000)
        return NULL;
    if (devfn % 8 == 0 && slot < PCI_SLOTS && functions[slot].present)
        return &functions[slot];
    return pci_assigned_virtual(devfn);
}

static uint32_t register_offset(void) { return (address & 0xfc) | (address >> 16 & 0xf00); }

uint32_t pci_in(uint32_t port, uint32_t size)
{
    const struct function *f = pci_selected();
    if (port == PORT_PCI_ADDRESS && size == 4)
        return address;
    return port >= PORT_PCI_DATA && f && (port & 3) + size <= 4
               ? pci_read(f, register_offset()) >> 8 * (port & 3)
               : ~0u;
}

void pci_out(uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t at = register_offset(), shift = 8 * (port & 3), mask = ~0u >> (32 - 8 * size);
    struct function *f = pci_selected();
    if (port == PORT_PCI_ADDRESS && size == 4)
        address = value;
    if (port < PORT_PCI_DATA || !f || (port & 3) + size > 4)
        return;
    write(f, at, mask << shift, value << shift);
    if (at == PCI_COMMAND || at == PCI_BAR0)
        map_ports();
    if (f->device)
        pci_assigned_written(f, at + (port & 3), size);
}
