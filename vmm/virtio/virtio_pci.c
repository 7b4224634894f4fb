/* Which slots of the bus have virtio devices, and what those show in their configuration space
   (virtio 1.2, 4.1.2, 4.1.4). */
#include <lib/hw/msix.h>
#include <lib/hw/pci.h>
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

#define PCI_WORD(offset) ((offset) / 4)
/* One structure in BAR0: capability 09h, next, length and kind; BAR; offset; bytes. */
#define STRUCTURE(next, length, kind, at, size)                                                    \
    CAP_VENDOR | (next) << 8 | (length) << 16 | (kind) << 24, 0, at, size

static const uint32_t pci_template[64] = {
    [PCI_WORD(PCI_ID)] = 0x10401af4,        /* vendor, device: the kind's ID is added    */
    [PCI_WORD(PCI_COMMAND)] = 0x00100003,   /* I/O and memory on; has a capability list  */
    [PCI_WORD(PCI_CLASS)] = 0x00000001,     /* revision; the kind's class is added       */
    [PCI_WORD(PCI_SUBSYSTEM)] = 0x11001af4, /* subsystem                                 */
    [PCI_WORD(PCI_CAPABILITIES)] = 0x40,    /* first capability: MSI-X, all of it in BAR1 */
    [PCI_WORD(0x40)] = CAP_MSIX | 0x4c << 8 | (VIRTIO_VECTORS - 1) << 16,
    [PCI_WORD(0x44)] = 1,               /* table: BAR1 + 0 */
    [PCI_WORD(0x48)] = 1 | BAR_PENDING, /* pending bits    */
    [PCI_WORD(0x4c)] = STRUCTURE(0x5c, 16, 1, BAR_COMMON, 0x38),
    [PCI_WORD(0x5c)] =
        STRUCTURE(0x70, 20, 2, BAR_NOTIFY, 4), /* multiplier 0: one address for all queues */
    [PCI_WORD(0x70)] = STRUCTURE(0x80, 16, 3, BAR_ISR, 1),
    [PCI_WORD(0x80)] = STRUCTURE(0, 16, 4, BAR_DEVICE, VIRTIO_CONFIG),
};

void virtio_pci_add(uint32_t slot, const struct virtio_kind *kind)
{
    uint32_t words[64];
    memcpy(words, pci_template, sizeof words);
    words[PCI_WORD(PCI_ID)] += (uint32_t)kind->id << 16;
    words[PCI_WORD(PCI_CLASS)] += (uint32_t)kind->pci_class << 16;
    words[PCI_WORD(PCI_BAR0)] = PCI_IO(slot) | 1;
    words[PCI_WORD(PCI_BAR0 + 4)] = PCI_MEM(slot);
    pci_add(slot, (const uint8_t *)words);
}

void virtio_init(void)
{
    virtio_console_init(SLOT_CONSOLE);
    if (config()->plan.lan)
        virtio_net_init(SLOT_NET, LINK_LAN);
    if (config()->plan.server == plan_index(&config()->plan) + 1)
        virtio_net_init(SLOT_STORE, LINK_STORE);
    virtio_blk_init(SLOT_DISK);
    virtio_control_init(SLOT_CONTROL);
    virtio_input_init(SLOT_INPUT);
    virtio_rng_init(SLOT_RNG);
}
