#include <root/config.h>

/* The bits that a VM may write, all else is root's: above all BARs, resets, power and what concerns the link. */
enum where { IN_HEADER, IN_MSIX, IN_PCIE, IN_SRIOV };
static const struct {
    uint16_t where, offset, mask, set; /* set: bits that stay set */
} writable[] = {
    {IN_HEADER, PCI_COMMAND, COMMAND_MEMORY | COMMAND_MASTER, COMMAND_NO_INTX},
    {IN_MSIX, MSIX_CONTROL, 0xc000, 0}, /* enable, mask all */
    {IN_PCIE, PCIE_CONTROL, 0x7810, 0}, /* relaxed ordering, no snoop, read request size */
    {IN_SRIOV, SRIOV_CONTROL, SRIOV_VFE | SRIOV_MSE, 0},
    {IN_SRIOV, SRIOV_NUM_VFS, 0xffff, 0},
};

/* Of a write of `size` bytes of `value` at `offset`, the bytes that fall on the 16-bit register at `at`; their mask. */
static uint32_t cut_out(uint32_t at, uint64_t offset, uint64_t size, uint64_t *value)
{
    uint32_t mask = 0;
    for (uint64_t i = 0; i < size; i++)
        if (offset + i - at < 2)
            mask |= 0xffu << 8 * (offset + i - at);
    *value = offset < at ? *value >> 8 * (at - offset) : *value << 8 * (offset - at);
    return mask;
}

void config_write(const struct pci_function *f, uint64_t offset, uint64_t size, uint64_t value)
{
    const uint32_t base[] = {[IN_HEADER] = 0, [IN_MSIX] = f->msix, [IN_PCIE] = f->pcie, [IN_SRIOV] = f->vfs ? f->sriov : 0};
    for (uint32_t i = 0; i < sizeof(writable) / sizeof(writable[0]); i++) {
        uint32_t at = base[writable[i].where] + writable[i].offset;
        uint64_t bits = value;
        if ((writable[i].where != IN_HEADER && !base[writable[i].where]) || offset + size <= at || offset >= at + 2)
            continue;
        uint32_t mask = cut_out(at, offset, size, &bits) & writable[i].mask;
        uint32_t word = (pci_read(f->rid, at, 2) & ~mask) | ((uint32_t)bits & mask) | writable[i].set;
        if (writable[i].where != IN_SRIOV || writable[i].offset != SRIOV_NUM_VFS || word <= f->vfs)
            pci_write(f->rid, at, 2, word);
    }
}
