/*
 * PCI functions of the VM's own: their registers are read from the machine's,
 * but for those that tell where things are. Writes stay here; root is told of
 * the few that matter, and lets pass what it thinks right. Of the capabilities,
 * MSI-X and PCI Express are shown, and SR-IOV if the VM may make virtual
 * functions: where those are, the guest finds functions that can do nothing.
 */
#include <vmm/pci.h>
#include <vmm/vcpu.h>
#include <lib/string.h>

#define ALL            (~0u)
#define PCIE_CONTROL   0x08u   /* offset in the capability (PCIe 3.0, 7.8.4) */
#define PCIE_WRITABLE  0x7010u /* size of read requests, relaxed ordering */
#define BAR_FLAGS      0xfu
#define NULL_CAP       0x10000u
#define VF_ENABLE      1u
#define SRIOV_WRITABLE 0x9u /* VF enable, VF memory space */

/* Offsets in the capability (SR-IOV 1.1, 3.3). */
enum sriov {
    SRIOV_CAPS = 0x04,
    SRIOV_CONTROL = 0x08,
    SRIOV_INITIAL = 0x0c, /* and total  */
    SRIOV_COUNT = 0x10,   /* and link   */
    SRIOV_OFFSET = 0x14,  /* and stride */
    SRIOV_PAGES = 0x20,
    SRIOV_BAR0 = 0x24,
    SRIOV_MIGRATION = 0x3c
};

/* A network function without registers, capabilities or, as in all virtual ones, an ID. */
static struct function virtual_function = {.value = {[PCI_ID / 4] = ALL, [PCI_CLASS / 4] = 0x02000000}};

static uint32_t device_byte(uint32_t i, uint32_t at) { return *(const volatile uint8_t *)(VMM_ECAM(i) + at); }

/* The guest may write those bits of the 16 at `at`; root is told. */
static void pass(struct function *f, uint32_t at, uint32_t value, uint32_t writable)
{
    uint32_t n = 0;
    while (n < PCI_PASSED && f->passed[n])
        n++;
    if (n == PCI_PASSED) /* a chain of capabilities in a circle */
        return;
    f->passed[n] = (uint16_t)at;
    pci_keep(f, at, 0xffff, value, writable);
}

static uint32_t bar_mask(uint32_t size) { return size ? ~(size - 1) & ~BAR_FLAGS : 0; }

static void keep_header(struct function *f, const struct vm_device *d)
{
    pci_keep(f, PCI_ID, ALL, d->id, 0);
    pass(f, PCI_COMMAND, 0, COMMAND_WRITABLE);
    pci_keep(f, PCI_CACHE_LINE, ALL, 0, 0xff);
    for (uint32_t b = 0; b < 6; b++) {
        const struct vm_bar *bar = &d->bar[b];
        pci_keep(f, PCI_BAR0 + 4 * b, ALL, bar->size ? bar->address | (bar->flags & BAR_FLAGS) : 0, bar_mask(bar->size));
    }
    pci_keep(f, PCI_CARDBUS, ALL, 0, 0);
    pci_keep(f, PCI_ROM, ALL, 0, 0);
    pci_keep(f, PCI_LINE, ALL, 0, 0xff);
}

static void keep_msix(struct function *f, uint32_t at)
{
    uint32_t last = (device_byte(f->device - 1u, at + 2) | device_byte(f->device - 1u, at + 3) << 8) & 0x7ff;
    f->msix = (uint8_t)at;
    pass(f, at + 2, last < DV_IRQS ? last : DV_IRQS - 1, MSIX_ENABLE | MSIX_MASK);
}

static void keep_pcie(struct function *f, uint32_t at)
{
    uint32_t control = device_byte(f->device - 1u, at + PCIE_CONTROL) | device_byte(f->device - 1u, at + PCIE_CONTROL + 1) << 8;
    pass(f, at + PCIE_CONTROL, control, PCIE_WRITABLE);
}

/* A chain of what is shown (PCI 3.0 6.7). */
static void keep_caps(struct function *f, const struct vm_device *d)
{
    uint32_t i = f->device - 1u, link = PCI_CAPS, at = device_byte(i, PCI_CAPS) & 0xfc;
    for (uint32_t n = 0; n < 48 && at >= 0x40; n++, at = device_byte(i, at + 1) & 0xfc) {
        uint32_t id = device_byte(i, at);
        if (id == CAP_MSIX && at == d->msix)
            keep_msix(f, at);
        else if (id == CAP_PCIE && at + PCIE_CONTROL < PCI_EXTENDED * 4u)
            keep_pcie(f, at);
        else
            continue;
        pci_keep(f, link, 0xff, at, 0);
        link = at + 1;
    }
    pci_keep(f, link, 0xff, 0, 0);
}

static void keep_sriov(struct function *f, const struct vm_device *d)
{
    uint32_t at = f->sriov = d->sriov;
    if (at != 0x100)
        pci_keep(f, 0x100, ALL, at << 20 | NULL_CAP, 0);
    pci_keep(f, at, 0xfff00000, 0, 0); /* the last one */
    pci_keep(f, at + SRIOV_CAPS, ALL, 0, 0);
    pci_keep(f, at + SRIOV_CONTROL, ALL, 0, 0);
    pass(f, at + SRIOV_CONTROL, 0, SRIOV_WRITABLE);
    pci_keep(f, at + SRIOV_INITIAL, ALL, d->vf_total | (uint32_t)d->vf_total << 16, 0);
    pci_keep(f, at + SRIOV_COUNT, ALL, (uint32_t)d->devfn << 16, 0);
    pass(f, at + SRIOV_COUNT, 0, 0xffff);
    pci_keep(f, at + SRIOV_OFFSET, ALL, d->vf_offset | (uint32_t)d->vf_stride << 16, 0);
    pci_keep(f, at + SRIOV_PAGES, ALL, 1, ALL);
    for (uint32_t b = 0; b < 6; b++)
        pci_keep(f, at + SRIOV_BAR0 + 4 * b, d->vf_bar_size[b] ? ~BAR_FLAGS : ALL, 0, bar_mask(d->vf_bar_size[b]));
    pci_keep(f, at + SRIOV_MIGRATION, ALL, 0, 0);
}

struct function *own_function(uint32_t i) { return pci_function(config()->device[i].devfn / 8 % PCI_SLOTS); }

static void add(uint32_t i)
{
    const struct vm_device *d = &config()->device[i];
    struct function *f = own_function(i);
    f->device = (uint8_t)(1 + i);
    keep_header(f, d);
    keep_caps(f, d);
    if (d->sriov)
        keep_sriov(f, d);
    f->present = true;
}

void own_init(void)
{
    for (uint32_t i = 0; i < config()->devices; i++)
        add(i);
}

struct function *own_virtual(uint32_t devfn)
{
    for (uint32_t i = 0; i < config()->devices; i++) {
        const struct vm_device *d = &config()->device[i];
        const struct function *f = own_function(i);
        uint32_t n = devfn - d->devfn - d->vf_offset;
        if (!f->sriov || d->vf_stride == 0 || !(pci_read(f, f->sriov + SRIOV_CONTROL) & VF_ENABLE))
            continue;
        if (n % d->vf_stride == 0 && n / d->vf_stride < (pci_read(f, f->sriov + SRIOV_COUNT) & 0xffff))
            return &virtual_function;
    }
    return NULL;
}

/* The core of a vCPU: as root deals them out. */
static uint32_t core_of(uint32_t vcpu)
{
    uint64_t cores = config()->plan.cores;
    for (; vcpu; vcpu--)
        cores &= cores - 1;
    return (uint32_t)__builtin_ctzll(cores);
}

/* The words go where the exit's state is: it must not notice. */
static void tell_root(uint32_t device, uint32_t at, uint32_t value)
{
    uint32_t self = devices_holder();
    struct utcb *u = (struct utcb *)VMM_HUTCB(self);
    uint64_t words[4] = {device, at, 2, value}, kept[4];
    memcpy(kept, u->word, sizeof(kept));
    memcpy(u->word, words, sizeof(words));
    pt_call(VMM_PCI + core_of(self), 4);
    memcpy(u->word, kept, sizeof(kept));
}

void own_written(const struct function *f, uint32_t at, uint32_t size)
{
    for (const uint16_t *p = f->passed; p < f->passed + PCI_PASSED; p++)
        if (*p && at < *p + 2u && *p < at + size)
            tell_root(f->device - 1u, *p, pci_read(f, *p & ~3u) >> 8 * (*p & 3) & 0xffff);
    msix_sync();
}
