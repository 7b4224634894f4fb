/*
 * MSI-X tables of the VM's own devices (PCI 3.0 6.8.2). The guest writes its
 * entries into plain memory. Here they are compared with what was there before;
 * what changed goes to the device, with the message that the IOMMU remaps.
 *
 * TOCTOU: another vCPU may be writing an entry meanwhile. Each is copied twice;
 * if the copies differ, it is left for the next time. Only the copy is used.
 */
#include <vmm/platform/pci.h>
#include <vmm/vcpu/apic.h>
#include <lib/hw/msix.h>
#include <lib/string.h>

static struct msix_entry seen[PLAN_DEVICES][DV_IRQS];

static const struct vm_device *device(uint32_t i) { return &config()->device[i]; }

static volatile struct msix_entry *table(uint32_t i, uint64_t page)
{
    return (volatile struct msix_entry *)(page + device(i)->msix_offset % PAGE_SIZE);
}
static volatile struct msix_entry *guest_table(uint32_t i)
{
    return table(i, VMM_MSIX + DEVICE_MSIX_PAGE(i) * PAGE_SIZE);
}

/* The vCPU that a message is for; of several the lowest. NO_VCPU: the entry is masked, or no
 * interrupt message. */
static uint32_t target(const struct msix_entry *e)
{
    uint32_t field = e->address >> 12 & 0xff, mode = e->data >> 8 & 7;
    if (e->control & MSIX_ENTRY_MASKED || e->address_high ||
        e->address >> 20 != MSI_ADDRESS >> 20 || mode > APIC_LOWEST || (e->data & 0xff) < 32)
        return NO_VCPU;
    uint64_t targets = apic_targets(field == 0xff ? APIC_EVERYBODY : field, e->address >> 2 & 1);
    return targets ? (uint32_t)__builtin_ctzll(targets) : NO_VCPU;
}

/* The message that an IOMMU remaps by its table's entry `handle` (VT-d 5.1.2.2; AMD-Vi 2.2.5). */
static void put_message(volatile struct msix_entry *e, uint32_t handle)
{
    bool vtd = config()->iommu == IOMMU_VTD;
    e->address =
        MSI_ADDRESS | (vtd ? (handle & 0x7fff) << 5 | 1u << 4 | (handle >> 15 & 1) << 2 : 0);
    e->address_high = 0;
    e->data = vtd ? 0 : handle;
}

/* The device's entry `n` is as the guest's. False: not yet, since its vCPU has no core of its own
 * before it has begun; the entry is masked, and the next look tries again. */
static bool carry_over(uint32_t i, uint32_t n, const struct msix_entry *e)
{
    volatile struct msix_entry *real = table(i, VMM_TABLE(i)) + n;
    uint32_t vcpu = target(e);
    real->control = MSIX_ENTRY_MASKED;
    if (vcpu == NO_VCPU)
        return true;
    struct result r = dv_irq(VMM_DV + i, VMM_VCPU + vcpu, n, e->data & 0xff);
    if (r.status != OK)
        return false;
    put_message(real, (uint32_t)r.value);
    real->control = 0;
    return true;
}

/* Entries of the function's table, 0..DV_IRQS; 0: it has none. */
static uint32_t entries(const struct function *f)
{
    return f->msix ? (pci_read(f, f->msix) >> 16 & MSIX_LAST) + 1 : 0;
}

static void sync_device(uint32_t i, const struct function *f)
{
    for (uint32_t n = 0; n < entries(f); n++) {
        struct msix_entry once = guest_table(i)[n], again = guest_table(i)[n];
        if (memcmp(&once, &again, sizeof once) != 0 || memcmp(&once, &seen[i][n], sizeof once) == 0)
            continue;
        if (carry_over(i, n, &once))
            seen[i][n] = once;
    }
}

void msix_sync(void)
{
    for (uint32_t i = 0; i < config()->devices; i++) {
        const struct function *f = pci_assigned_function(i);
        if (f->msix && pci_read(f, f->msix) >> 16 & MSIX_ENABLE)
            sync_device(i, f);
    }
}

void msix_init(void)
{
    for (uint32_t i = 0; i < config()->devices; i++)
        for (uint32_t n = 0; n < entries(pci_assigned_function(i)); n++) {
            guest_table(i)[n].control = MSIX_ENTRY_MASKED;
            seen[i][n] = (struct msix_entry){.control = MSIX_ENTRY_MASKED};
        }
}
