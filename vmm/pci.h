/* A PCI function as the guest sees it, for the files that make some and the one that answers for all. */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <vmm/vmm.h>

/* Registers by the word: those below 256, the first extended capability, and SR-IOV (SR-IOV 1.1, 3.3). */
enum { PCI_EXTENDED = 64, PCI_SRIOV, PCI_WORDS = PCI_SRIOV + 16 };

#define PCI_PASSED 5u

struct function {
    bool present;
    uint8_t msix;                /* offset of the MSI-X capability, 0: none */
    uint8_t device;              /* 1 + number among the VM's own devices, 0: the VMM's */
    uint16_t sriov;              /* offset of the SR-IOV capability, 0: none */
    uint16_t passed[PCI_PASSED]; /* own.c: offsets of registers of 16 bits that root is told of, 0: none */
    uint32_t value[PCI_WORDS], ours[PCI_WORDS], writable[PCI_WORDS]; /* bits that are not `ours` are the device's */
};

enum {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04,
    PCI_CLASS = 0x08,
    PCI_CACHE_LINE = 0x0c, /* and header type */
    PCI_BAR0 = 0x10,
    PCI_CARDBUS = 0x28,
    PCI_ROM = 0x30,
    PCI_CAPS = 0x34,
    PCI_LINE = 0x3c, /* and interrupt pin */
};
#define CAP_PCIE         0x10u
#define CAP_MSIX         0x11u
#define COMMAND_IO       0x0001u
#define COMMAND_WRITABLE 0x0406u /* memory, mastering, INTx off */
#define MSIX_ENABLE      0x8000u /* in message control, at offset 2 of the capability */
#define MSIX_MASK        0x4000u

struct function *pci_function(uint32_t slot); /* 0..PCI_SLOTS - 1 */
/* The 32 bits at `at`, a multiple of 4, 0..FFCh. */
uint32_t pci_read(const struct function *f, uint32_t at);
/* `bits` at `at` are ours: they read `value`, and the guest may write those in `writable`. All within a word. */
void pci_keep(struct function *f, uint32_t at, uint32_t bits, uint32_t value, uint32_t writable);

/* ---- own.c ---- */
struct function *own_function(uint32_t i); /* i < config()->devices */
/* The guest has written `size` bytes at `at` of a device of its own. */
void own_written(const struct function *f, uint32_t at, uint32_t size);
/* The SR-IOV virtual function that is at `devfn` of the guest's bus 0, NULL: none. */
struct function *own_virtual(uint32_t devfn);

#endif
