/*
 * Assigned PCI functions. Reads come from the machine's configuration space, but
 * for registers that tell addresses. Writes stay here; root is told of a few
 * registers, and writes the bits that its own allow list has (root/hardware/config.c). Of
 * the capabilities the guest sees MSI-X and PCI Express, and SR-IOV if the VM may
 * enable virtual functions. Where those are, it finds functions without
 * registers: the real ones are for other VMs.
 */
#include <vmm/platform/pci.h>
#include <vmm/vcpu/vcpu.h>
#include <lib/string.h>

#define ALL            (~0u)
#define PCIE_WRITABLE  0x7010u /* size of read requests, relaxed ordering */
#define BAR_FLAGS      0xfu
#define NULL_CAP       0x10000u
#define SRIOV_WRITABLE (uint32_t)(SRIOV_VFE | SRIOV_MSE)

/* An enabled virtual function as its physical one's guest sees it: a network controller without
 * registers or capabilities, and, as all virtual functions, without an ID. */
static struct function virtual_function = {
    .value = {[PCI_ID / 4] = ALL, [PCI_CLASS / 4] = 0x02000000}};

static uint32_t device_byte(uint32_t i, uint32_t at)
{
    return *(const volatile uint8_t *)(VMM_ECAM(i) + at);
}

/* The 16 bits at `at` read `value`. The guest may write those in `writable`; root is told. */
static void assigned_pass(struct function *f, enum passed which, uint32_t at, uint32_t value,
                          uint32_t writable)
{
    f->passed[which] = (uint16_t)at;
    pci_keep(f, at, 0xffff, value, writable);
}

/* What may be written to a BAR of `size` bytes. */
static uint64_t bar_mask(uint64_t size) { return size ? ~(size - 1) & ~(uint64_t)BAR_FLAGS : 0; }

/* BAR `b`, and its upper half. Of none all is 0. */
static void keep_bar(struct function *f, const struct vm_bar *bar, uint32_t b)
{
    uint64_t mask = bar_mask(bar->size);
    pci_keep(f, PCI_BAR0 + 4 * b, ALL, (uint32_t)bar->address | (bar->flags & BAR_FLAGS),
             (uint32_t)mask);
    if (bar->flags & BAR_64)
        pci_keep(f, PCI_BAR0 + 4 * b + 4, ALL, (uint32_t)(bar->address >> 32),
                 (uint32_t)(mask >> 32));
}

static void keep_header(struct function *f, const struct vm_device *d)
{
    pci_keep(f, PCI_ID, ALL, d->id, 0);
    assigned_pass(f, PASSED_COMMAND, PCI_COMMAND, 0, COMMAND_WRITABLE);
    pci_keep(f, PCI_CACHE_LINE, ALL, 0, 0xff);
    for (uint32_t b = PCI_BARS; b > 0; b--) /* an upper half is kept as no BAR, and then written */
        keep_bar(f, &d->bar[b - 1], b - 1);
    pci_keep(f, PCI_CARDBUS, ALL, 0, 0);
    pci_keep(f, PCI_ROM, ALL, 0, 0);
    pci_keep(f, PCI_INTERRUPT_LINE, ALL, 0, 0xff);
}

/* MSI-X: as many messages as the function says, but DV_IRQS at most, and as many entries as the
 * table's page has room for. The register is read again for each life and may say anything. */
static void keep_msix(struct function *f, const struct vm_device *d, uint32_t at)
{
    uint32_t last = (device_byte(f->device - 1u, at + MSIX_CONTROL) |
                     device_byte(f->device - 1u, at + MSIX_CONTROL + 1) << 8) &
                    MSIX_LAST;
    uint32_t room_last =
        (PAGE_SIZE - d->msix_offset % PAGE_SIZE) / (uint32_t)sizeof(struct msix_entry) - 1;
    last = last < DV_IRQS ? last : DV_IRQS - 1;
    f->msix = (uint8_t)at;
    assigned_pass(f, PASSED_MSIX, at + MSIX_CONTROL, last < room_last ? last : room_last,
                  MSIX_ENABLE | MSIX_MASK_ALL);
}

static void keep_pcie(struct function *f, uint32_t at)
{
    uint32_t control = device_byte(f->device - 1u, at + PCIE_CONTROL) |
                       device_byte(f->device - 1u, at + PCIE_CONTROL + 1) << 8;
    assigned_pass(f, PASSED_PCIE, at + PCIE_CONTROL, control, PCIE_WRITABLE);
}

/* Link the capabilities that are shown, each once: the device's own list may be faulty, or a circle
 * (PCI 3.0 6.7). */
static void keep_caps(struct function *f, const struct vm_device *d)
{
    uint32_t i = f->device - 1u, link = PCI_CAPABILITIES,
             at = device_byte(i, PCI_CAPABILITIES) & 0xfc;
    bool has_pcie = false;
    for (uint32_t n = 0; n < 48 && at >= 0x40; n++, at = device_byte(i, at + 1) & 0xfc) {
        uint32_t id = device_byte(i, at);
        if (id == CAP_MSIX && at == d->msix && !f->msix)
            keep_msix(f, d, at);
        else if (id == CAP_PCIE && at + PCIE_CONTROL < PCI_EXTENDED * 4u && !has_pcie)
            keep_pcie(f, at), has_pcie = true;
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
    if (at != PCI_EXTENDED_SPACE)
        pci_keep(f, PCI_EXTENDED_SPACE, ALL, at << 20 | NULL_CAP, 0);
    pci_keep(f, at, 0xfff00000, 0, 0); /* no further extended capability */
    pci_keep(f, at + SRIOV_CAPABLE, ALL, 0, 0);
    pci_keep(f, at + SRIOV_CONTROL, ALL, 0, 0);
    assigned_pass(f, PASSED_SRIOV, at + SRIOV_CONTROL, 0, SRIOV_WRITABLE);
    pci_keep(f, at + SRIOV_INITIAL_VFS, ALL, d->vf_total | (uint32_t)d->vf_total << 16, 0);
    pci_keep(f, at + SRIOV_NUM_VFS, ALL, (uint32_t)d->devfn << 16, 0);
    assigned_pass(f, PASSED_VFS, at + SRIOV_NUM_VFS, 0, 0xffff);
    pci_keep(f, at + SRIOV_OFFSET, ALL, d->vf_offset | (uint32_t)d->vf_stride << 16, 0);
    pci_keep(f, at + SRIOV_PAGES, ALL, 1, ALL);
    for (uint32_t b = 0; b < PCI_BARS; b++)
        pci_keep(f, at + SRIOV_BAR0 + 4 * b, d->vf_bar_size[b] ? ~BAR_FLAGS : ALL, 0,
                 (uint32_t)bar_mask(d->vf_bar_size[b]));
    pci_keep(f, at + SRIOV_MIGRATION, ALL, 0, 0);
}

struct function *pci_assigned_function(uint32_t i)
{
    return pci_function(config()->device[i].devfn / 8 % PCI_SLOTS);
}

static void add(uint32_t i)
{
    const struct vm_device *d = &config()->device[i];
    struct function *f = pci_assigned_function(i);
    f->device = (uint8_t)(1 + i);
    keep_header(f, d);
    keep_caps(f, d);
    if (d->sriov)
        keep_sriov(f, d);
    f->present = true;
}

void pci_assigned_init(void)
{
    for (uint32_t i = 0; i < config()->devices; i++)
        add(i);
}

struct function *pci_assigned_virtual(uint32_t devfn)
{
    for (uint32_t i = 0; i < config()->devices; i++) {
        const struct vm_device *d = &config()->device[i];
        const struct function *f = pci_assigned_function(i);
        uint32_t n = devfn - d->devfn - d->vf_offset;
        if (!f->sriov || d->vf_stride == 0 || !(pci_read(f, f->sriov + SRIOV_CONTROL) & SRIOV_VFE))
            continue;
        if (n % d->vf_stride == 0 &&
            n / d->vf_stride < (pci_read(f, f->sriov + SRIOV_NUM_VFS) & 0xffff))
            return &virtual_function;
    }
    return NULL;
}

/* The core of a vCPU: the i-th of the plan's cores (lib/cores.h). */
static uint32_t core_of(uint32_t vcpu)
{
    uint64_t cores = config()->plan.cores;
    for (; vcpu; vcpu--)
        cores &= cores - 1;
    return (uint32_t)__builtin_ctzll(cores);
}

/* Have root write a register. utcb.word and utcb.exit are one union: the exit's state, of which the
 * handler is in the middle, is saved around the call. */
static void tell_root(uint32_t device, uint32_t at, uint32_t value)
{
    uint32_t self = devices_holder();
    struct utcb *u = (struct utcb *)VMM_HUTCB(self);
    uint64_t words[4] = {device, at, 2, value}, kept[4];
    memcpy(kept, u->word, sizeof(kept));
    memcpy(u->word, words, sizeof(words));
    /* Root drops bits that the VM may not write without an error; a call that fails drops all. */
    ignore(pt_call(VMM_PCI + core_of(self), 4));
    memcpy(u->word, kept, sizeof(kept));
}

void pci_assigned_written(const struct function *f, uint32_t at, uint32_t size)
{
    for (const uint16_t *p = f->passed; p < f->passed + PCI_PASSED; p++)
        if (*p && at < *p + 2u && *p < at + size)
            tell_root(f->device - 1u, *p, pci_read(f, *p & ~3u) >> 8 * (*p & 3) & 0xffff);
    msix_sync();
}
