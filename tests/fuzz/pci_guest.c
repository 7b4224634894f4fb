/* The VMM of a VM with devices of its own, and a guest that touches them. */
#include "pci.h"
#include <stdlib.h>
#undef pci_read
#undef pci_function
#include <vmm/platform/devices.h>
#include <vmm/platform/pci.h>
#include <vmm/vcpu/vcpu.h>

enum { VCPUS = 2, LIST = 48 };

struct fake fake;
static uint32_t self;
static uint8_t untouched[PLAN_DEVICES][PAGE_SIZE];
static uint32_t last[PLAN_DEVICES]; /* messages but one, as each said at first */

uint64_t fake_sm_up(uint64_t sm) { return sm ? OK : BAD_CAP; }
uint64_t fake_ec_recall(uint64_t slot) { return slot ? OK : BAD_CAP; }
uint32_t devices_holder(void) { return 0; }

uint64_t fake_pt_call(uint64_t pt, uint64_t words)
{
    fuzz_must(pt == VMM_PCI && words == 4, "root is called on the core of the vCPU");
    root_called(self, fake.utcb->word);
    return OK;
}

struct result fake_dv_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector)
{
    fuzz_must(dv >= VMM_DV && dv < VMM_DV + fake.config->devices && index < DV_IRQS,
              "an interrupt of a device that is there");
    fuzz_must(vcpu >= VMM_VCPU && vcpu < VMM_VCPU + VCPUS && vector >= 32 && vector <= 255,
              "an interrupt to a vCPU that is there");
    return (struct result){OK, index << 8 | vector};
}

static void begin(const struct vm_config *config)
{
    memset(&fake, 0, sizeof fake);
    fake.config = malloc(sizeof *fake.config);
    memcpy(fake.config, config, sizeof *config);
    fake.control = calloc(1, sizeof *fake.control);
    fake.msix = calloc(VMM_MSIX_PAGES, PAGE_SIZE);
    fake.utcb = calloc(1, sizeof *fake.utcb);
    fake.config->plan.mode = MODE_DEDICATED;
    fake.config->plan.vcpus = VCPUS;
    fake.config->plan.cores = 3;
    for (uint32_t i = 0; i < VCPUS; i++)
        fake.config->apic_id[i] = i;
    for (uint32_t i = 0; i < config->devices; i++) {
        fake.ecam[i] = space_page(config->device[i].rid);
        fake.table[i] = malloc(PAGE_SIZE);
        memset(fake.table[i], 0x5a, PAGE_SIZE);
        last[i] = space_word(fake.ecam[i], config->device[i].msix + 2u, 2) & 0x7ff;
    }
    for (uint32_t i = 1; i < PCI_SLOTS; i++)
        memset(pci_function(i), 0, sizeof *pci_function(i));
}

static void end(void)
{
    for (uint32_t i = 0; i < fake.config->devices; i++)
        free(fake.table[i]);
    free(fake.config), free(fake.control), free(fake.msix), free(fake.utcb);
}

/* ---- what the guest sees ------------------------------------------------------------------- */
static uint32_t get(uint32_t i, uint32_t at, uint32_t size)
{
    pci_out(0xcf8, 4,
            0x80000000 | (uint32_t)fake.config->device[i].devfn << 8 | (at & 0xfc) |
                (at & 0xf00) << 16);
    return pci_in(0xcfc + (at & 3), size) & ~0u >> (32 - 8 * size);
}

static void set(uint32_t i, uint32_t at, uint32_t size, uint32_t value)
{
    get(i, at, 4);
    pci_out(0xcfc + (at & 3), size, value);
}

static uint64_t get_bar(uint32_t i, uint32_t b)
{
    uint64_t low = get(i, 0x10 + 4 * b, 4);
    return low | (low & 4 ? (uint64_t)get(i, 0x14 + 4 * b, 4) << 32 : 0);
}

static void check_bars(uint32_t i)
{
    for (uint32_t b = 0, step; b < 6; b += step) {
        const struct vm_bar *bar = &fake.config->device[i].bar[b];
        uint64_t first = get_bar(i, b);
        step = first & 4 ? 2 : 1;
        fuzz_must(bar->size ? first == (bar->address | (bar->flags & 15)) : !first,
                  "a BAR says where the guest has it");
        for (uint32_t half = 0; half < step; half++)
            set(i, 0x10 + 4 * (b + half), 4, ~0u);
        uint64_t ones = get_bar(i, b) & ~15ull;
        fuzz_must((step == 2 ? ones : (uint32_t)ones) ==
                      (step == 2 ? -bar->size : (uint32_t)-bar->size),
                  "a BAR says how long it is");
        for (uint32_t half = 0; half < step; half++)
            set(i, 0x10 + 4 * (b + half), 4, (uint32_t)(first >> 32 * half));
    }
    fuzz_must(!get(i, 0x30, 4) && !get(i, 0x28, 4), "there is no option ROM");
}

static void check_lists(uint32_t i)
{
    uint32_t at = get(i, 0x34, 1) & 0xfc, left = LIST;
    for (; at && left; left--, at = get(i, at + 1, 1) & 0xfc)
        fuzz_must(get(i, at, 1) == 0x10 || at == fake.config->device[i].msix,
                  "MSI-X and PCI Express are shown");
    fuzz_must(!at, "the list of capabilities ends");
    if (!fake.config->device[i].sriov)
        return;
    for (at = 0x100, left = LIST; at && left; left--)
        at = get(i, at, 4) >> 20;
    fuzz_must(!at, "the list of extended capabilities ends");
}

/* ---- what becomes of MSI-X tables --------------------------------------------------------------
 */
static void check_page(uint32_t i, const uint8_t *page, const uint8_t *before)
{
    uint32_t from = fake.config->device[i].msix_offset % PAGE_SIZE, to = from + 16 * DV_IRQS;
    to = last[i] < DV_IRQS ? from + 16 * (last[i] + 1) : to;
    to = to < PAGE_SIZE ? to : PAGE_SIZE;
    fuzz_must(!memcmp(page, before, from) && !memcmp(page + to, before + to, PAGE_SIZE - to),
              "of a page only the MSI-X table is written");
}

static uint8_t *guest_page(uint32_t i) { return fake.msix + (VMM_MSIX_PAGES - 1 - i) * PAGE_SIZE; }

static void check_tables(void)
{
    static const uint8_t zeros[PAGE_SIZE];
    for (uint32_t i = 0; i < VMM_MSIX_PAGES; i++) {
        if (i >= fake.config->devices)
            fuzz_must(!memcmp(guest_page(i), zeros, PAGE_SIZE),
                      "pages of devices that are not there stay");
        else
            check_page(i, fake.table[i], untouched[i]);
    }
}

static void write_entry(uint32_t i, struct feed *f)
{
    uint32_t at = fake.config->device[i].msix_offset % PAGE_SIZE + feed_8(f) % DV_IRQS * 16;
    uint32_t entry[4] = {0xfee00000 | (uint32_t)feed_16(f) << 2, feed_8(f) & 1, feed_16(f),
                         feed_8(f) & 1};
    if (at + 16 <= PAGE_SIZE)
        memcpy(guest_page(i) + at, entry, sizeof entry);
}

static void make_vfs(uint32_t i, struct feed *f)
{
    uint32_t at = fake.config->device[i].sriov, n = feed_8(f);
    if (!at)
        return;
    set(i, at + 16, 2, n);
    set(i, at + 8, 2, 9);
}

/* The VMM, if its guest has taken it over. */
static void call_root(uint32_t i, struct feed *f)
{
    uint32_t at = feed_16(f), size = feed_8(f);
    root_called(self,
                (uint64_t[4]){size & 0x80 ? feed_value(f) : i, at & 0x8000 ? at : at % PAGE_SIZE,
                              size & 0x40 ? feed_value(f) : size % 5, feed_value(f)});
}

static void act(struct feed *f)
{
    uint8_t what = feed_8(f);
    uint32_t i = what >> 6 & 1, size = 1u << (what >> 4 & 3) % 3,
             at = feed_16(f) % PAGE_SIZE & ~(size - 1);
    if (i >= fake.config->devices)
        return;
    switch (what % 8) {
    case 0: call_root(i, f); break;
    case 1:
    case 2: set(i, at, size, feed_32(f)); break;
    case 3: set(i, fake.config->device[i].msix + 2u, 2, 0x8000 | (feed_8(f) & 0x40u) << 8); break;
    case 4: write_entry(i, f); break;
    case 5: make_vfs(i, f); break;
    case 6: space_change(f); break;
    default: set(i, 4, 2, feed_16(f));
    }
    space_settle();
    msix_sync();
    check_tables();
}

void guest_run(uint32_t vm, const struct vm_config *config, struct feed *f)
{
    self = vm;
    begin(config);
    for (uint32_t i = 0; i < config->devices; i++)
        memcpy(untouched[i], fake.table[i], PAGE_SIZE);
    pci_assigned_init();
    msix_init();
    check_tables();
    for (uint32_t i = 0; i < config->devices; i++) {
        fuzz_must(get(i, 0, 4) == config->device[i].id, "each device is there");
        check_bars(i);
        check_lists(i);
    }
    for (uint32_t n = feed_8(f) % 32; n; n--)
        act(f);
    end();
}
