/*
 * MSI-X tables of the VM's own devices (PCI 3.0 6.8.2). The guest writes its
 * entries into plain memory; here they are compared with what was there, and what
 * changed is carried over to the device, with the message that the IOMMU wants to
 * see from it. An entry that is being written right now is left for the next time.
 */
#include <vmm/apic.h>
#include <vmm/pci.h>

#define MASKED      1u
#define MSI_ADDRESS 0xfee00000u

struct entry {
    uint32_t address, high, data, control;
};

static struct entry seen[PLAN_DEVICES][DV_IRQS];

static const struct vm_device *device(uint32_t i) { return &config()->device[i]; }

static volatile struct entry *table(uint32_t i, uint64_t page)
{
    return (volatile struct entry *)(page + device(i)->msix_offset % PAGE_SIZE);
}
static volatile struct entry *guest_table(uint32_t i) { return table(i, VMM_MSIX + (VMM_MSIX_PAGES - 1 - i) * PAGE_SIZE); }

static struct entry copy(const volatile struct entry *e)
{
    struct entry c = {.control = e->control, .address = e->address, .high = e->high, .data = e->data};
    return c;
}

static bool same(const struct entry *a, const struct entry *b)
{
    return a->address == b->address && a->high == b->high && a->data == b->data && a->control == b->control;
}

/* The vCPU that a message is for, one if it names several; NO_VCPU: masked, or it makes no sense. */
static uint32_t target(const struct entry *e)
{
    uint32_t field = e->address >> 12 & 0xff, mode = e->data >> 8 & 7;
    if (e->control & MASKED || e->high || e->address >> 20 != MSI_ADDRESS >> 20 || mode > DELIVER_LOWEST || (e->data & 0xff) < 32)
        return NO_VCPU;
    uint32_t targets = apic_targets(field == 0xff ? APIC_EVERYBODY : field, e->address >> 2 & 1);
    return targets ? (uint32_t)__builtin_ctz(targets) : NO_VCPU;
}

/* The message by which a unit finds its table's entry `handle` (VT-d 5.1.2.2; AMD-Vi 2.2.5). */
static void put_message(volatile struct entry *e, uint32_t handle)
{
    bool vtd = config()->iommu == IOMMU_VTD;
    e->address = MSI_ADDRESS | (vtd ? (handle & 0x7fff) << 5 | 1u << 4 | (handle >> 15 & 1) << 2 : 0);
    e->high = 0;
    e->data = vtd ? 0 : handle;
}

static void carry_over(uint32_t i, uint32_t n, const struct entry *e)
{
    volatile struct entry *real = table(i, VMM_TABLE(i)) + n;
    uint32_t vcpu = target(e);
    real->control = MASKED;
    if (vcpu == NO_VCPU)
        return;
    struct result r = dv_irq(VMM_DV + i, VMM_VCPU + vcpu, n, e->data & 0xff);
    if (r.status != OK)
        return;
    put_message(real, (uint32_t)r.value);
    real->control = 0;
}

static void sync_device(uint32_t i, const struct function *f)
{
    uint32_t last = pci_read(f, f->msix) >> 16 & 0x7ff;
    for (uint32_t n = 0; n <= last; n++) {
        struct entry once = copy(guest_table(i) + n), again = copy(guest_table(i) + n);
        if (!same(&once, &again) || same(&once, &seen[i][n]))
            continue;
        seen[i][n] = once;
        carry_over(i, n, &once);
    }
}

void msix_sync(void)
{
    for (uint32_t i = 0; i < config()->devices; i++) {
        const struct function *f = own_function(i);
        if (f->msix && pci_read(f, f->msix) >> 16 & MSIX_ENABLE)
            sync_device(i, f);
    }
}

void msix_init(void)
{
    for (uint32_t i = 0; i < config()->devices; i++)
        for (uint32_t n = 0; n < DV_IRQS && device(i)->msix; n++) {
            guest_table(i)[n].control = MASKED;
            seen[i][n] = (struct entry){.control = MASKED};
        }
}
