#include <root/hardware/assign.h>
#include <root/hardware/iommu.h>
#include <root/memory.h>

enum vendor { ANY = 0, AMD = 0x1022, INTEL = 0x8086 };

/* Functions that no VM gets, by class code: they have power over the machine that neither an IOMMU
 * nor a reset limits. */
static const struct {
    uint16_t vendor, class, mask; /* class << 8 | subclass; the bits of it that count */
    const char *why;
} never[] = {
    {AMD, 0x1080, 0xffff, "it is AMD's secure processor, which reaches all memory"},
    {INTEL, 0x0780, 0xffff, "it leads to Intel's management engine, which reaches all memory"},
    {INTEL, 0x1080, 0xffff,
     "it leads to Intel's trusted execution engine, which reaches all memory"},
    {ANY, 0x0502, 0xffff, "it holds memory of the machine (CXL)"},
    {ANY, 0x0600, 0xff00, "it is a bridge or a part of the chipset"},
    {ANY, 0x0806, 0xffff, "it is an IOMMU"},
    {ANY, 0x0800, 0xff00, "it is a part of the chipset"},
    {ANY, 0x0c05, 0xffff, "it leads to the SMBus, and so to memory modules and voltages"},
    {ANY, 0x0c07, 0xffff, "it leads to the machine's management controller (IPMI)"},
    {ANY, 0x0c80, 0xffff, "it leads to the machine's firmware (serial bus of the chipset)"},
    {ANY, 0x1300, 0xff00, "it watches the machine (instrumentation)"},
};

static const char *is_never(const struct pci_function *f)
{
    for (uint32_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if ((never[i].vendor == ANY || never[i].vendor == (f->id & 0xffff)) &&
            (f->class & never[i].mask) == never[i].class)
            return never[i].why;
    return 0;
}

/* Does BAR `i` overlap an earlier BAR of the same function? Then a page of one BAR is also in the
 * other. The page of the MSI-X table, which must not be mapped in a VM, would be mapped there. */
static bool meets_itself(const struct pci_function *f, uint32_t i)
{
    const struct pci_bar *b = &f->bar[i];
    for (const struct pci_bar *other = f->bar; other < b; other++)
        if (pci_bar_meets(other, 1, b->address, b->size))
            return true;
    return false;
}

static const char *bars_wrong(const struct pci_function *f)
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        const struct pci_bar *b = &f->bar[i];
        if (b->size == 0)
            continue;
        if (b->size % PAGE_SIZE || b->size & (b->size - 1))
            return "its registers share a page with others";
        if (b->address == 0 || b->address % b->size || !memory_is_device(b->address, b->size) ||
            !pci_owns(f, b->address, b->size) || meets_itself(f, i))
            return "firmware gave its registers no place of their own";
    }
    return 0;
}

/* Is the table in a BAR, and the first entry in one page? Of entries in further pages a guest is
 * not told. */
static bool msix_fits(const struct pci_function *f)
{
    uint64_t entry = sizeof(struct msix_entry), end = f->msix_offset + entry * f->msix_count;
    return f->msix_bar < PCI_BARS && end <= f->bar[f->msix_bar].size &&
           f->msix_offset % PAGE_SIZE <= PAGE_SIZE - entry;
}

const char *assign_function_wrong(const struct pci_function *f)
{
    if (f->header != 0)
        return "it is a bridge";
    if (is_never(f))
        return is_never(f);
    if (!f->pcie || (f->type != 0 && f->type != 9))
        return "it is not a PCI Express endpoint";
    if (!f->msix)
        return "it has no MSI-X";
    if (!msix_fits(f))
        return "its MSI-X table is not where one can be";
    return f->reset == RESET_NONE ? "it cannot be reset" : 0;
}

const char *assign_wrong(const struct pci_function *f)
{
    uint32_t unit;
    const char *wrong = f->pf ? is_never(f) : assign_function_wrong(f);
    wrong = wrong ? wrong : bars_wrong(f);
    wrong = wrong ? wrong : iommu_problem();
    return wrong ? wrong : iommu_of(f, &unit);
}
