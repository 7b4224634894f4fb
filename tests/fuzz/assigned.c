/*
 * Devices of a VM's own, as its guest touches them: configuration by ports, and
 * MSI-X tables in memory. The devices' registers say anything; what root says of
 * them is right. Checked: what the kernel and root are asked for, and what is
 * written to the device.
 */
#include "fuzz.h"
#include <stdlib.h>
#include <vmm/platform/devices.h>
#include <vmm/platform/pci.h>
#include <vmm/vcpu/vcpu.h>

enum { DEVICES = 2, VCPUS = 3, SLOT = 8, MSIX = 0x70, SRIOV = 0x160, TABLE = 0x40 };

struct fake fake;
static uint8_t before[DEVICES][PAGE_SIZE];

void fuzz_begin(void) {}
uint64_t fake_sm_up(uint64_t sm) { return sm ? OK : BAD_CAP; }
uint64_t fake_ec_recall(uint64_t slot)
{
    fuzz_must(slot >= VMM_VCPU && slot < VMM_VCPU + VCPUS, "a vCPU that is there is recalled");
    return OK;
}
uint32_t devices_holder(void) { return 1; }

uint64_t fake_pt_call(uint64_t pt, uint64_t words)
{
    const uint64_t *w = fake.utcb->word;
    fuzz_must(pt == VMM_PCI + 6 && words == 4, "root is called on the core of the vCPU");
    fuzz_must(w[0] < DEVICES && w[1] < PAGE_SIZE && w[1] % 2 == 0 && w[2] == 2 && w[3] <= 0xffff,
              "root is told of a register of a device");
    return OK;
}

struct result fake_dv_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector)
{
    fuzz_must(dv >= VMM_DV && dv < VMM_DV + DEVICES, "an interrupt of a device that is there");
    fuzz_must(vcpu >= VMM_VCPU && vcpu < VMM_VCPU + VCPUS, "an interrupt to a vCPU that is there");
    fuzz_must(index < DV_IRQS && vector >= 32 && vector <= 255, "an interrupt that there is");
    return (struct result){vector % 7 ? OK : BAD_ARG, index << 8 | vector};
}

static void build(struct feed *f, uint32_t i)
{
    struct vm_device *d = &fake.config->device[i];
    fake.ecam[i] = malloc(PAGE_SIZE);
    fake.table[i] = calloc(1, PAGE_SIZE);
    memset(fake.ecam[i], feed_8(f), PAGE_SIZE);
    feed_bytes(f, fake.ecam[i] + 0x34, 0x20);
    for (uint32_t n = feed_8(f) % 16; n; n--)
        fake.ecam[i][feed_16(f) % PAGE_SIZE] = feed_8(f);
    *d = (struct vm_device){.devfn = (uint16_t)((SLOT + i) << 3),
                            .id = 0x10c98086,
                            .msix = MSIX,
                            .msix_offset = 0x2000 + TABLE};
    d->bar[0] = (struct vm_bar){0xe1000000, 0x20000, 0, 0};
    if (i == 0)
        d->sriov = SRIOV, d->vf_offset = 0x80, d->vf_stride = feed_8(f) % 3, d->vf_total = 7,
        d->vf_bar_size[0] = 0x4000;
}

static void begin(struct feed *f)
{
    memset(&fake, 0, sizeof fake);
    fake.config = calloc(1, sizeof *fake.config);
    fake.control = calloc(1, sizeof *fake.control);
    fake.msix = calloc(VMM_MSIX_PAGES, PAGE_SIZE);
    fake.utcb = calloc(1, sizeof *fake.utcb);
    fake.config->plan.mode = MODE_DEDICATED;
    fake.config->plan.vcpus = VCPUS;
    fake.config->plan.cores = 1u << 3 | 1u << 6 | 1u << 7;
    for (uint32_t i = 0; i < VCPUS; i++)
        fake.config->apic_id[i] = feed_8(f) % 4 ? 3 + i : (uint32_t)feed_value(f);
    fake.config->iommu = feed_8(f) & 1 ? IOMMU_VTD : IOMMU_AMDVI;
    fake.config->devices = DEVICES;
    for (uint32_t i = 0; i < DEVICES; i++)
        build(f, i);
    for (uint32_t i = 1; i < PCI_SLOTS; i++)
        memset(pci_function(i), 0, sizeof *pci_function(i));
    pci_out(0xcf8, 4, 0);
    pci_assigned_init();
    msix_init();
}

/* Of the page of registers only the table's entries are written. */
static void check_tables(void)
{
    for (uint32_t i = 0; i < DEVICES; i++) {
        uint32_t end = TABLE + DV_IRQS * 16;
        fuzz_must(memcmp(fake.table[i], before[i], TABLE) == 0 &&
                      memcmp(fake.table[i] + end, before[i] + end, PAGE_SIZE - end) == 0,
                  "of a device's registers only the MSI-X table is written");
        for (uint32_t n = 0; n < DV_IRQS; n++) {
            uint32_t entry[4];
            memcpy(entry, fake.table[i] + TABLE + n * 16, sizeof entry);
            fuzz_must(entry[3] & 1 || (entry[0] >> 20 == 0xfee && !entry[1]),
                      "an open entry has a message");
        }
    }
}

static void act(struct feed *f)
{
    static const uint16_t ports[] = {0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff};
    uint8_t what = feed_8(f);
    uint32_t size = 1u << (what >> 4 & 3) % 3;
    uint32_t mask = size == 4 ? ~0u : (1u << 8 * size) - 1, i = what >> 7;
    switch (what % 5) {
    case 0: pci_out(0xcf8, 4, 0x80000000 | (SLOT + i) << 11 | (feed_32(f) & 0xf0000fc)); break;
    case 1: pci_out(ports[feed_8(f) % 5], size, feed_32(f) & mask); break;
    case 2: pci_in(ports[feed_8(f) % 5], size); break;
    case 3: {
        uint32_t entry[4] = {0xfee00000 | (uint32_t)feed_16(f) << 2, feed_8(f) & 1, feed_16(f),
                             feed_8(f) & 1};
        memcpy(fake.msix + (VMM_MSIX_PAGES - 1 - i) * PAGE_SIZE + TABLE + feed_8(f) % 32 * 16,
               entry, sizeof entry);
        break;
    }
    default: msix_sync();
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    begin(&f);
    for (uint32_t i = 0; i < DEVICES; i++) {
        for (uint32_t n = 0; n < DV_IRQS; n++)
            fake.table[i][TABLE + n * 16 + 12] = 1;
        memcpy(before[i], fake.table[i], PAGE_SIZE);
    }
    while (f.left) {
        act(&f);
        check_tables();
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        free(fake.ecam[i]);
        free(fake.table[i]);
    }
    free(fake.config), free(fake.control), free(fake.msix), free(fake.utcb);
}
