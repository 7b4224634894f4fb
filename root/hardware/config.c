#include <root/hardware/config.h>

/* Configuration bits that a VM may write: an allow list. All others are root's, above all BARs,
   resets, power management and the link's.

   Memory decoding stays on: the function's registers are mapped in the VM, and an access that
   nothing answers may stop the machine (decision 39). Virtual functions, once enabled, stay: other
   VMs have them mapped. No-snoop stays off: such DMA bypasses the caches, so it misses what a
   processor wrote. */
enum where { IN_HEADER, IN_MSIX, IN_PCIE, IN_SRIOV };
static const struct {
    /* set: bits that are always set; stay: that stay once they are */
    uint16_t where, offset, mask, set, stay;
} writable[] = {
    {IN_HEADER, PCI_COMMAND, COMMAND_MASTER, COMMAND_NO_INTX | COMMAND_MEMORY, 0},
    {IN_MSIX, MSIX_CONTROL, MSIX_ENABLE | MSIX_MASK_ALL, 0, 0},
    {IN_PCIE, PCIE_CONTROL, 0x7010, 0, 0}, /* relaxed ordering, read request size */
    {IN_SRIOV, SRIOV_NUM_VFS, 0xffff, 0, 0},
    {IN_SRIOV, SRIOV_CONTROL, SRIOV_VFE | SRIOV_MSE, 0, SRIOV_VFE | SRIOV_MSE},
};

/* Part of a write of `size` bytes at `offset` that falls on the 16-bit register at `at`. `*value`
 * is shifted to the register's place; returns the mask of its bits that are written. */
static uint32_t cut_out(uint32_t at, uint64_t offset, uint64_t size, uint64_t *value)
{
    uint32_t mask = 0;
    for (uint64_t i = 0; i < size; i++)
        if (offset + i - at < 2)
            mask |= 0xffu << 8 * (offset + i - at);
    *value = offset < at ? *value >> 8 * (at - offset) : *value << 8 * (offset - at);
    return mask;
}

/* May this write to the SR-IOV capability pass? NumVFs changes only while no virtual function is
   enabled (9.3.3.7). VF Enable passes only while First VF Offset and VF Stride are what root read
   (9.3.3.9, 9.3.3.10): they may depend on NumVFs, and they make the requester IDs, by which the
   IOMMU tells VMs apart. */
static bool vfs_may(const struct pci_function *f, uint32_t offset, uint32_t word)
{
    bool on = pci_read16(f, f->sriov + SRIOV_CONTROL) & SRIOV_VFE;
    if (offset == SRIOV_NUM_VFS)
        return !on && word <= f->vfs;
    return on || !(word & SRIOV_VFE) ||
           (pci_read16(f, f->sriov + SRIOV_OFFSET) == f->vf_offset &&
            pci_read16(f, f->sriov + SRIOV_STRIDE) == f->vf_stride);
}

static void write_allowed(const struct pci_function *f, uint64_t offset, uint64_t size,
                          uint64_t value)
{
    const uint32_t base[] = {[IN_HEADER] = 0,
                             [IN_MSIX] = f->msix,
                             [IN_PCIE] = f->pcie,
                             [IN_SRIOV] = f->vfs ? f->sriov : 0};
    for (uint32_t i = 0; i < sizeof(writable) / sizeof(writable[0]); i++) {
        uint32_t at = base[writable[i].where] + writable[i].offset;
        uint64_t bits = value;
        if ((writable[i].where != IN_HEADER && !base[writable[i].where]) || offset + size <= at ||
            offset >= at + 2)
            continue;
        uint32_t mask = cut_out(at, offset, size, &bits) & writable[i].mask,
                 was = pci_read(f->rid, at, 2);
        uint32_t word =
            (was & (~mask | writable[i].stay)) | ((uint32_t)bits & mask) | writable[i].set;
        if (writable[i].where != IN_SRIOV || vfs_may(f, writable[i].offset, word))
            pci_write(f->rid, at, 2, word);
    }
}

void config_write(struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value)
{
    if (__atomic_exchange_n(&f->at_work, true, __ATOMIC_ACQUIRE))
        return;
    write_allowed(f, offset, size, value);
    __atomic_store_n(&f->at_work, false, __ATOMIC_RELEASE);
}

void config_begin(struct pci_function *f) { f->at_work = false; }
