/* Configuration space: PCI 3.0 chapter 6, PCI Express 6.0 chapter 7, SR-IOV 1.1 chapter 3. */
#ifndef LIB_HW_PCI_H
#define LIB_HW_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_BARS 6u

enum pci_register {
    PCI_ID = 0x00, /* vendor, device */
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_CLASS = 0x08, /* behind the revision */
    PCI_CACHE_LINE = 0x0c,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SECONDARY_BUS = 0x19, /* of a bridge, to PCI_PREFETCH_UPPER */
    PCI_SUBORDINATE_BUS = 0x1a,
    PCI_MEMORY_WINDOW = 0x20,
    PCI_PREFETCH_WINDOW = 0x24,
    PCI_PREFETCH_UPPER = 0x28,
    PCI_CARDBUS = 0x28,
    PCI_SUBSYSTEM = 0x2c,
    PCI_ROM = 0x30,
    PCI_CAPABILITIES = 0x34, /* where the list begins */
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_EXTENDED_SPACE = 0x100
};
enum pci_bar_flag { BAR_IO = 1, BAR_64 = 4, BAR_PREFETCH = 8 };
enum pci_command {
    COMMAND_IO = 1,
    COMMAND_MEMORY = 2,
    COMMAND_MASTER = 4,
    COMMAND_NO_INTX = 0x400
};
enum pci_capability {
    CAP_PM = 0x01,
    CAP_VENDOR = 0x09,
    CAP_PCIE = 0x10,
    CAP_MSIX = 0x11,
    CAP_AF = 0x13
};
enum pci_extended_capability {
    EXT_ACS = 0x0d,
    EXT_ARI = 0x0e,
    EXT_SRIOV = 0x10,
    EXT_RESIZABLE = 0x15,
    EXT_VF_RESIZABLE = 0x24
};

/* Offsets in capabilities. */
enum pcie_register {
    PCIE_FLAGS = 2,
    PCIE_CAPABLE = 4,
    PCIE_CONTROL = 8, /* device control */
    PCIE_STATUS = 10,
    PCIE_CAPABLE2 = 36,
    PCIE_CONTROL2 = 40
};
/* Bits 7..4 of the flags, as far as bridges go. */
enum pcie_type { PCIE_ROOT_PORT = 4, PCIE_UPSTREAM_PORT, PCIE_DOWNSTREAM_PORT };
enum sriov_register {
    SRIOV_CAPABLE = 0x04,
    SRIOV_CONTROL = 0x08,
    SRIOV_INITIAL_VFS = 0x0c,
    SRIOV_TOTAL_VFS = 0x0e,
    SRIOV_NUM_VFS = 0x10, /* and, behind it, the link to another function */
    SRIOV_OFFSET = 0x14,
    SRIOV_STRIDE = 0x16,
    SRIOV_DEVICE = 0x1a,
    SRIOV_PAGES = 0x20, /* system page size */
    SRIOV_BAR0 = 0x24,
    SRIOV_MIGRATION = 0x3c
};
enum sriov_control { SRIOV_VFE = 1, SRIOV_MSE = 8, SRIOV_ARI = 16 };

/* Does a function-level reset hang the function, or leave it useless, though it says that it has
 * one? `id`: vendor | device << 16. */
static inline bool pci_flr_fails(uint32_t id)
{
    static const uint32_t ids[] = {
        0x14871022, 0x148c1022, 0x149c1022, /* AMD Starship and Matisse: audio, USB */
        0x79011022,                         /* AMD FCH: SATA */
        0x15028086, 0x15038086,             /* Intel 82579 */
        0x061614c3,                         /* MediaTek MT7922 */
    };
    for (uint32_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (ids[i] == id)
            return true;
    return false;
}

#endif
