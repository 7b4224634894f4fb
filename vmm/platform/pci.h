/* A PCI function as the guest sees it, for the files that make some and the one that answers for
 * all. */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <vmm/vmm.h>
#include <lib/hw/msix.h>
#include <lib/hw/pci.h>

/* Registers by the word: those below 256, the first extended capability, and SR-IOV
 * (SR-IOV 1.1, 3.3). */
enum { PCI_EXTENDED = 64, PCI_SRIOV, PCI_WORDS = PCI_SRIOV + 16 };

/* The registers of 16 bits of an assigned function that root is told of. Each has a place. */
enum passed { PASSED_COMMAND, PASSED_MSIX, PASSED_PCIE, PASSED_SRIOV, PASSED_VFS, PCI_PASSED };

struct function {
    bool present;
    uint8_t msix;                /* offset of the MSI-X capability, 0: none */
    uint8_t device;              /* 1 + number among the VM's own devices, 0: the VMM's */
    uint16_t sriov;              /* offset of the SR-IOV capability, 0: none */
    uint16_t passed[PCI_PASSED]; /* pci_assigned.c: their offsets, 0: it has none */
    uint32_t value[PCI_WORDS], ours[PCI_WORDS],
        writable[PCI_WORDS]; /* bits that are not `ours` are the device's */
};

/* Bits of the command register that a guest may write, those of assigned functions included. */
#define COMMAND_WRITABLE (uint32_t)(COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX)

struct function *pci_function(uint32_t slot); /* 0..PCI_SLOTS - 1 */
/* The 32 bits at `at`, a multiple of 4, 0..FFCh. */
uint32_t pci_read(const struct function *f, uint32_t at);
/* `bits` at `at` are ours: they read `value`, and the guest may write those in `writable`. All
 * within a word. */
void pci_keep(struct function *f, uint32_t at, uint32_t bits, uint32_t value, uint32_t writable);

/* ---- pci_assigned.c ---- */
/* The VM's device `i`, 0..config()->devices - 1. */
struct function *pci_assigned_function(uint32_t i);
/* The guest has written `size` (1, 2, 4) bytes at `at` (0..FFFh) of a device of its own: root is
 * told of the registers that are passed on, and MSI-X tables are carried over. Under the lock, from
 * a vCPU's handler. */
void pci_assigned_written(const struct function *f, uint32_t at, uint32_t size);
/* The SR-IOV virtual function at `devfn` (device << 3 | function, and above on further buses) of
 * the guest's bus 0; NULL: none is enabled there. */
struct function *pci_assigned_virtual(uint32_t devfn);

#endif
