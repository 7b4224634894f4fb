/* Devices of a VM's own: what their configuration space shows, what root is told, what becomes of
 * MSI-X entries. */
#include <pthread.h>
#include <stdlib.h>
#include <vmm/platform/devices.h>
#include <vmm/platform/pci.h>
#include <vmm/vcpu/vcpu.h>
#include "test.h"

enum {
    PF,
    VF,
    SLOT_PF = 8,
    SLOT_VF = 9,
    MSIX = 0x70,
    PCIE = 0xa0,
    SRIOV = 0x160,
    TABLE = 0x40,
    MASKED = 1
};
enum { COMMAND = 4, BAR0 = 0x10, CAPS = 0x34 };
#define VCPUS 2u

struct entry {
    uint32_t address, high, data, control;
};

struct fake fake;
static struct {
    uint64_t pt, word[4];
} told[64];
static uint32_t tellings, routings;
static struct {
    uint64_t dv, vcpu, index, vector;
} routed;
static uint64_t handle;

uint64_t fake_sm_up(uint64_t sm) { return sm ? OK : BAD_CAP; }
uint64_t fake_ec_recall(uint64_t slot) { return slot ? OK : BAD_CAP; }
uint32_t devices_holder(void) { return 1; }

uint64_t fake_pt_call(uint64_t pt, uint64_t words)
{
    assert_int_equal(words, 4);
    told[tellings % 64].pt = pt;
    memcpy(told[tellings++ % 64].word, fake.utcb->word, sizeof told[0].word);
    return OK;
}

struct result fake_dv_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector)
{
    routed.dv = dv, routed.vcpu = vcpu, routed.index = index, routed.vector = vector;
    routings++;
    return (struct result){handle == ~0ull ? BAD_ARG : OK, handle};
}

/* ---- the machine's functions --------------------------------------------------------------- */
static void put(uint32_t i, uint32_t at, uint32_t value) { memcpy(fake.ecam[i] + at, &value, 4); }

/* As the 82576: power management, MSI, MSI-X, PCI Express, VPD; AER, ARI, SR-IOV beyond. */
static void build_function(uint32_t i)
{
    struct vm_device *d = &fake.config->device[i];
    fake.ecam[i] = calloc(1, PAGE_SIZE);
    fake.table[i] = calloc(1, PAGE_SIZE);
    put(i, 0x00, i == PF ? 0x10c98086 : 0xffffffff);
    put(i, 0x04, 0x00100000);
    put(i, 0x08, 0x02000001);
    put(i, 0x0c, 0x00800000); /* one of several functions */
    put(i, 0x10, 0xfebc0000);
    put(i, 0x30, 0xfff00001);
    put(i, 0x34, 0x40);
    put(i, 0x3c, 0x0000010b);
    put(i, 0x40, 0x00235001);
    put(i, 0x50, 0x00807005);
    put(i, MSIX, 0x001f0011 | PCIE << 8);
    put(i, MSIX + 4, 3);
    put(i, PCIE, 0x00020010 | 0xe0 << 8);
    put(i, PCIE + 8, 0x00002015);
    put(i, 0xe0, 0x00000003); /* the last */
    put(i, 0x40 + 0, 0x00235001 | 0x50 << 8);
    put(i, 0x50, 0x00800005 | MSIX << 8);
    put(i, 0x100, 0x15010001);
    put(i, SRIOV, 0x1a010010);
    put(i, SRIOV + 0x18, 0x10ca0000);
    put(i, SRIOV + 0x1c, 0x553);
    put(i, SRIOV + 0x24, 4);
    put(i, SRIOV + 0x30, 4);
    *d = (struct vm_device){.devfn = (uint16_t)((SLOT_PF + i) << 3),
                            .id = i == PF ? 0x10c98086 : 0x10ca8086};
    d->bar[0] = (struct vm_bar){0xe1000000, 0x20000, 0, 0};
    d->bar[3] = (struct vm_bar){0xe1020000, 0x4000, 0xc, 0};
    d->msix = MSIX;
    d->msix_offset = 0x2000 + TABLE;
    if (i == PF) {
        d->sriov = SRIOV;
        d->vf_offset = 0x80;
        d->vf_stride = 2;
        d->vf_total = 7;
        d->vf_bar_size[0] = d->vf_bar_size[3] = 0x4000;
    }
}

static struct entry *guest_entry(uint32_t i, uint32_t n)
{
    return (struct entry *)(void *)(fake.msix + (VMM_MSIX_PAGES - 1 - i) * PAGE_SIZE + TABLE) + n;
}
static struct entry *real_entry(uint32_t i, uint32_t n)
{
    return (struct entry *)(void *)(fake.table[i] + TABLE) + n;
}

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    fake.config = calloc(1, sizeof *fake.config);
    fake.control = calloc(1, sizeof *fake.control);
    fake.msix = calloc(VMM_MSIX_PAGES, PAGE_SIZE);
    fake.utcb = calloc(1, sizeof *fake.utcb);
    fake.config->plan.mode = MODE_DEDICATED;
    fake.config->plan.vcpus = VCPUS;
    fake.config->plan.cores = 1u << 3 | 1u << 6;
    fake.config->apic_id[0] = 3;
    fake.config->apic_id[1] = 6;
    fake.config->tsc_hz = 1000000000;
    fake.config->iommu = IOMMU_VTD;
    fake.config->devices = 2;
    build_function(PF);
    build_function(VF);
    for (uint32_t i = 0; i < PCI_SLOTS; i++)
        if (i)
            memset(pci_function(i), 0, sizeof *pci_function(i));
    pci_assigned_init();
    msix_init();
    tellings = routings = 0;
    handle = 0x21;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        free(fake.ecam[i]);
        free(fake.table[i]);
    }
    free(fake.config);
    free(fake.control);
    free(fake.msix);
    free(fake.utcb);
    return 0;
}

/* ---- the guest --------------------------------------------------------------------------- */
static void address(uint32_t devfn, uint32_t at)
{
    pci_out(0xcf8, 4, 0x80000000 | (at & 0xf00) << 16 | devfn << 8 | (at & 0xfc));
}

static uint32_t get(uint32_t devfn, uint32_t at, uint32_t size)
{
    address(devfn, at);
    uint32_t value = pci_in(0xcfc + (at & 3), size);
    return size == 4 ? value : value & ((1u << 8 * size) - 1);
}
static void set(uint32_t devfn, uint32_t at, uint32_t size, uint32_t value)
{
    address(devfn, at);
    pci_out(0xcfc + (at & 3), size, value);
}

static const uint32_t pf = SLOT_PF << 3, vf = SLOT_VF << 3;

static void assert_told(uint32_t n, uint64_t device, uint64_t at, uint64_t value)
{
    assert_true(tellings > n);
    assert_int_equal(told[n].pt, VMM_PCI + 6); /* the core of the vCPU that holds the lock */
    assert_int_equal(told[n].word[0], device);
    assert_int_equal(told[n].word[1], at);
    assert_int_equal(told[n].word[2], 2);
    assert_int_equal(told[n].word[3], value);
}

/* Of a capability at the end of its space, what would lie behind that is not kept. */
static void capabilities_at_the_end(void **state)
{
    (void)state;
    for (uint32_t at = 0xc0; at < 0x100; at += 4) {
        memset(pci_assigned_function(PF), 0, sizeof *pci_assigned_function(PF));
        memset(pci_assigned_function(VF), 0, sizeof *pci_assigned_function(VF));
        memset(fake.ecam[VF] + 0x40, 0, 0xc0);
        put(VF, CAPS, at);
        put(VF, at, 0x00020010 | at << 8); /* and in a circle */
        pci_assigned_init();
        assert_int_equal(get(vf, CAPS, 1), at < 0xf8 ? at : 0);
        set(vf, at + 8, 2, 0xffff);
    }
}

static void a_function_shows_what_the_guest_may_know(void **state)
{
    (void)state;
    assert_int_equal(get(vf, 0, 4), 0x10ca8086); /* the real one reads ones */
    assert_int_equal(get(vf, 8, 4), 0x02000001);
    assert_int_equal(get(vf, 0x0e, 1), 0); /* a single function */
    assert_int_equal(get(vf, 0x30, 4), 0);
    assert_int_equal(get(vf, 0x3c, 4), 0); /* no interrupt line */
    assert_int_equal(get(vf, 6, 2), 0x10);
    put(VF, 4, 0x00180000);
    assert_int_equal(get(vf, 6, 2), 0x18); /* status is the device's */
    assert_int_equal(get(vf | 1, 0, 4), 0xffffffff);
    assert_int_equal(get(10 << 3, 0, 4), 0xffffffff);
    pci_out(0xcf8, 4, 0x80010000 | vf << 8); /* bus 1 */
    assert_int_equal(pci_in(0xcfc, 4), 0xffffffff);
}

static void capabilities_are_those_that_work(void **state)
{
    (void)state;
    assert_int_equal(get(vf, CAPS, 1), MSIX);
    assert_int_equal(get(vf, MSIX, 2), 0x11 | PCIE << 8);
    assert_int_equal(get(vf, PCIE, 2), 0x10);
    assert_int_equal(get(vf, MSIX + 2, 2), DV_IRQS - 1); /* the device has 32 */
    assert_int_equal(get(vf, MSIX + 4, 4), 3);
    assert_int_equal(get(vf, 0x100, 4), 0xffffffff);
}

static void a_circle_of_capabilities_ends(void **state)
{
    (void)state;
    put(VF, PCIE, 0x00020010 | PCIE << 8);
    memset(pci_function(SLOT_PF), 0, sizeof(struct function));
    memset(pci_function(SLOT_VF), 0, sizeof(struct function));
    pci_assigned_init();
    assert_int_equal(get(vf, 0, 4), 0x10ca8086);
}

/* More than a device has by the manual, and so many that no note of MSI-X could be made behind
 * them. */
static void a_capability_is_shown_once(void **state)
{
    (void)state;
    put(VF, CAPS, 0xc0);
    for (uint32_t at = 0xc0; at < 0xe0; at += 8)
        put(VF, at, 0x00020010 | (at < 0xd8 ? at + 8 : MSIX) << 8);
    put(VF, MSIX, 0x07ff0011 | PCIE << 8);
    memset(pci_function(SLOT_PF), 0, sizeof(struct function));
    memset(pci_function(SLOT_VF), 0, sizeof(struct function));
    pci_assigned_init();
    msix_init();
    assert_int_equal(get(vf, CAPS, 1), 0xc0);
    assert_int_equal(get(vf, 0xc1, 1), MSIX);
    assert_int_equal(get(vf, MSIX + 1, 1), 0);
    assert_int_equal(get(vf, MSIX + 2, 2), DV_IRQS - 1);
}

static void bars_answer_sizing(void **state)
{
    (void)state;
    assert_int_equal(get(vf, BAR0, 4), 0xe1000000);
    set(vf, BAR0, 4, 0xffffffff);
    assert_int_equal(get(vf, BAR0, 4), 0xfffe0000);
    set(vf, BAR0, 4, 0xe1000000);
    assert_int_equal(get(vf, BAR0, 4), 0xe1000000);
    set(vf, BAR0 + 12, 4, 0xffffffff);
    assert_int_equal(get(vf, BAR0 + 12, 4), 0xffffc00c);
    for (uint32_t b = 1; b < 6; b++)
        if (b != 3) {
            set(vf, BAR0 + 4 * b, 4, 0xffffffff);
            assert_int_equal(get(vf, BAR0 + 4 * b, 4),
                             b == 4 ? 0xffffffff : 0); /* 3's upper half */
        }
    assert_int_equal(tellings, 0);
}

/* Both halves: where it is, and how long. */
static void large_bars_answer_sizing(void **state)
{
    (void)state;
    static const struct {
        uint64_t address, size;
        uint32_t low, high; /* after ones were written */
    } row[] = {{0x140000000, 0x20000000, 0xe000000c, 0xffffffff},
               {0x4000000000, 0x400000000, 0x0000000c, 0xfffffffc}};
    for (uint32_t i = 0; i < 2; i++) {
        memset(pci_function(SLOT_VF), 0, sizeof(struct function));
        fake.config->device[VF].bar[1] = (struct vm_bar){row[i].address, row[i].size, 0xc, 0};
        pci_assigned_init();
        uint32_t low = (uint32_t)row[i].address | 0xc, high = (uint32_t)(row[i].address >> 32);
        assert_int_equal(get(vf, BAR0 + 4, 4), low);
        assert_int_equal(get(vf, BAR0 + 8, 4), high);
        set(vf, BAR0 + 4, 4, 0xffffffff), set(vf, BAR0 + 8, 4, 0xffffffff);
        assert_int_equal(get(vf, BAR0 + 4, 4), row[i].low);
        assert_int_equal(get(vf, BAR0 + 8, 4), row[i].high);
        set(vf, BAR0 + 4, 4, low), set(vf, BAR0 + 8, 4, high);
        assert_int_equal(get(vf, BAR0 + 4, 4), low);
        assert_int_equal(get(vf, BAR0 + 8, 4), high);
    }
}

static void root_hears_of_few_writes(void **state)
{
    (void)state;
    fake.utcb->word[0] = 0x1111;
    fake.utcb->word[3] = 0x4444;
    fake.utcb->mtd = 77;
    set(vf, COMMAND, 2, 0xffff);
    assert_int_equal(get(vf, COMMAND, 2), 0x406);
    assert_told(0, VF, COMMAND, 0x406);
    assert_int_equal(fake.utcb->word[0], 0x1111); /* where the exit's state is */
    assert_int_equal(fake.utcb->word[3], 0x4444);
    assert_int_equal(fake.utcb->mtd, 77);
    set(vf, MSIX + 3, 1, 0xff);
    assert_told(1, VF, MSIX + 2, 0xc000 | (DV_IRQS - 1));
    set(vf, PCIE + 8, 2, 0xffff); /* a reset among them */
    assert_told(2, VF, PCIE + 8, 0x2015 | 0x7010);
    set(vf, PCIE + 10, 2, 0xffff);
    set(vf, 0x30, 4, 0xffffffff);
    set(vf, 0x44, 4, 0xffffffff);
    set(vf, 0x00, 4, 0);
    set(vf, SRIOV + 8, 4, 1);
    assert_int_equal(tellings, 3);
    assert_int_equal(get(vf, 0x44, 4), 0);
    set(pf, COMMAND, 4, 6);
    assert_told(3, PF, COMMAND, 6);
}

static void sriov_is_a_shadow(void **state)
{
    (void)state;
    assert_int_equal(get(pf, 0x100, 4), (uint32_t)SRIOV << 20 | 0x10000);
    assert_int_equal(get(pf, 0x104, 4), 0);
    assert_int_equal(get(pf, SRIOV, 4), 0x00010010); /* the last one */
    assert_int_equal(get(pf, SRIOV + 0x0c, 4), 0x00070007);
    assert_int_equal(get(pf, SRIOV + 0x12, 1), pf); /* depends on itself */
    assert_int_equal(get(pf, SRIOV + 0x14, 4), 0x00020080);
    assert_int_equal(get(pf, SRIOV + 0x18, 4), 0x10ca0000);
    assert_int_equal(get(pf, SRIOV + 0x1c, 4), 0x553);
    set(pf, SRIOV + 0x20, 4, 1);
    assert_int_equal(get(pf, SRIOV + 0x20, 4), 1);
    set(pf, SRIOV + 0x24, 4, 0xffffffff);
    assert_int_equal(get(pf, SRIOV + 0x24, 4), 0xffffc004);
    set(pf, SRIOV + 0x28, 4, 0xffffffff);
    assert_int_equal(get(pf, SRIOV + 0x28, 4), 0);
    assert_int_equal(tellings, 0);
    set(pf, SRIOV + 0x10, 2, 2);
    assert_told(0, PF, SRIOV + 0x10, 2);
    assert_int_equal(get(pf, SRIOV + 0x10, 4), 2 | pf << 16);
    set(pf, SRIOV + 8, 2, 0xffff);
    assert_told(1, PF, SRIOV + 8, 9);
    assert_int_equal(get(pf, SRIOV + 8, 4), 9);
}

static void virtual_functions_are_empty(void **state)
{
    (void)state;
    uint32_t first = pf + 0x80;
    assert_int_equal(get(first, 8, 4), 0xffffffff);
    set(pf, SRIOV + 0x10, 2, 2);
    assert_int_equal(get(first, 8, 4), 0xffffffff);
    set(pf, SRIOV + 8, 2, 9);
    for (uint32_t n = 0; n < 2; n++) {
        assert_int_equal(get(first + 2 * n, 0, 4), 0xffffffff);
        assert_int_equal(get(first + 2 * n, 8, 4), 0x02000000);
        assert_int_equal(get(first + 2 * n, 4, 4), 0);
        set(first + 2 * n, 4, 4, 0xffffffff);
        assert_int_equal(get(first + 2 * n, 4, 4), 0);
    }
    assert_int_equal(get(first + 1, 8, 4), 0xffffffff);
    assert_int_equal(get(first + 4, 8, 4), 0xffffffff);
    assert_int_equal(get(first - 2, 8, 4), 0xffffffff);
    set(pf, SRIOV + 8, 2, 0);
    assert_int_equal(get(first, 8, 4), 0xffffffff);
    assert_int_equal(tellings, 3);
}

/* ---- MSI-X ----------------------------------------------------------------------------------- */
static void assert_masked(uint32_t i, uint32_t n)
{
    assert_int_equal(real_entry(i, n)->control, MASKED);
}

static void write_entry(uint32_t i, uint32_t n, uint32_t to, uint32_t data)
{
    *guest_entry(i, n) = (struct entry){to, 0, data, 0};
}

static void enable(uint32_t devfn) { set(devfn, MSIX + 2, 2, 0x8000); }

static void an_entry_becomes_the_units(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < DV_IRQS; n++)
        assert_int_equal(guest_entry(VF, n)->control, MASKED);
    write_entry(VF, 2, 0xfee06000, 0x55);
    msix_sync();
    assert_int_equal(routings, 0); /* MSI-X is off */
    enable(vf);
    assert_int_equal(routings, 1);
    assert_int_equal(routed.dv, VMM_DV + VF);
    assert_int_equal(routed.vcpu, VMM_VCPU + 1);
    assert_int_equal(routed.index, 2);
    assert_int_equal(routed.vector, 0x55);
    assert_int_equal(real_entry(VF, 2)->address, 0xfee00430); /* handle 21h, remappable */
    assert_int_equal(real_entry(VF, 2)->data, 0);
    assert_int_equal(real_entry(VF, 2)->control, 0);
    assert_int_equal(real_entry(PF, 2)->address, 0);
    msix_sync();
    assert_int_equal(routings, 1); /* nothing new */
    guest_entry(VF, 2)->control = MASKED;
    msix_sync();
    assert_masked(VF, 2);
    guest_entry(VF, 2)->control = 0;
    guest_entry(VF, 2)->data = 0x56;
    handle = 0x8001;
    msix_sync();
    assert_int_equal(routed.vector, 0x56);
    assert_int_equal(real_entry(VF, 2)->address, 0xfee00034);
    fake.config->iommu = IOMMU_AMDVI;
    guest_entry(VF, 2)->address = 0xfee03000;
    handle = 2;
    msix_sync();
    assert_int_equal(routed.vcpu, VMM_VCPU);
    assert_int_equal(real_entry(VF, 2)->address, 0xfee00000);
    assert_int_equal(real_entry(VF, 2)->data, 2);
}

static void nonsense_is_masked(void **state)
{
    static const struct entry bad[] = {
        {0xfee07000, 0, 0x55, 0},  /* no vCPU */
        {0xfed06000, 0, 0x55, 0},  /* no message */
        {0xfee06000, 1, 0x55, 0},  /* beyond 4 GiB */
        {0xfee06000, 0, 0x0f, 0},  /* no vector */
        {0xfee06000, 0, 0x1f, 0},  /* an exception's */
        {0xfee06000, 0, 0x455, 0}, /* NMI */
        {0xfee06000, 0, 0x255, 0}, /* SMI */
        {0xfee10004, 0, 0x55, 0},  /* logical, nobody's bit */
        {0xfee06000, 0, 0x55, MASKED},
    };
    (void)state;
    enable(vf);
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        write_entry(VF, 0, 0xfee06000, 0x60 + i);
        msix_sync();
        assert_int_equal(real_entry(VF, 0)->control, 0);
        routings = 0;
        *guest_entry(VF, 0) = bad[i];
        msix_sync();
        assert_int_equal(routings, 0);
        assert_masked(VF, 0);
    }
    write_entry(VF, 0, 0xfee06000, 0x70);
    handle = ~0ull; /* the kernel refuses */
    msix_sync();
    assert_masked(VF, 0);
}

/* The guest set an entry before the vCPU for it had a core of its own. */
static void refused_entry_is_tried_again(void **state)
{
    (void)state;
    enable(vf);
    handle = ~0ull;
    write_entry(VF, 0, 0xfee06000, 0x70);
    msix_sync();
    assert_masked(VF, 0);
    handle = 0x21;
    msix_sync();
    assert_int_equal(real_entry(VF, 0)->control, 0);
    routings = 0;
    msix_sync();
    assert_int_equal(routings, 0);
}

static void several_targets_are_one(void **state)
{
    (void)state;
    enable(vf);
    write_entry(VF, 0, 0xfeeff000, 0x150); /* lowest priority of all */
    msix_sync();
    assert_int_equal(routed.vcpu, VMM_VCPU);
    write_entry(VF, 0, 0xfee40004, 0x51); /* logical: bit 6 */
    msix_sync();
    assert_int_equal(routed.vcpu, VMM_VCPU + 1);
}

static void a_table_ends_where_it_ends(void **state)
{
    (void)state;
    put(VF, MSIX, 0x00020011 | PCIE << 8); /* three entries */
    memset(pci_function(SLOT_PF), 0, sizeof(struct function));
    memset(pci_function(SLOT_VF), 0, sizeof(struct function));
    pci_assigned_init();
    assert_int_equal(get(vf, MSIX + 2, 2), 2);
    enable(vf);
    write_entry(VF, 2, 0xfee06000, 0x55);
    write_entry(VF, 3, 0xfee06000, 0x55);
    msix_sync();
    assert_int_equal(routings, 1);
    assert_int_equal(routed.index, 2);
    assert_int_equal(real_entry(VF, 3)->address, 0);
}

/* Of three entries at the end of a page, with a device that says more by now: nothing is written
 * behind the page. */
static void a_table_ends_with_its_page(void **state)
{
    (void)state;
    fake.config->device[PF].msix_offset = 0x2000 + PAGE_SIZE - 3 * 16;
    memset(pci_function(SLOT_PF), 0, sizeof(struct function));
    memset(pci_function(SLOT_VF), 0, sizeof(struct function));
    pci_assigned_init();
    msix_init();
    assert_int_equal(get(SLOT_PF << 3, MSIX + 2, 2), 2);
}

/* A guest that writes its table while it is read: never a message of two halves. */
#define LOOKS 3000000u
static uint32_t writing;
static void *writer(void *arg)
{
    volatile struct entry *e = arg;
    for (uint32_t n = 0; __atomic_load_n(&writing, __ATOMIC_ACQUIRE); n = (n + 1) % 2) {
        e->control = MASKED;
        e->address = n ? 0xfee03000 : 0xfee06000;
        e->data = n ? 0x43 : 0x46;
        e->control = 0;
        for (volatile uint32_t pause = 0; pause < 200; pause++)
            ;
    }
    return NULL;
}

static void no_entry_of_two_halves(void **state)
{
    pthread_t thread;
    uint32_t seen = 0;
    (void)state;
    enable(vf);
    __atomic_store_n(&writing, 1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, writer, guest_entry(VF, 0)), 0);
    for (uint32_t i = 0; i < LOOKS || !seen; i++) {
        routings = 0;
        msix_sync();
        seen += routings;
        if (routings)
            assert_int_equal(routed.vcpu, routed.vector == 0x43 ? VMM_VCPU : VMM_VCPU + 1);
    }
    __atomic_store_n(&writing, 0, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    msix_sync();
    assert_int_equal(real_entry(VF, 0)->control, 0);
}

/* Anything written anywhere: no access outside the pages, root told of nothing but the five
 * registers. */
static void any_write_is_harmless(void **state)
{
    static const uint16_t known[] = {COMMAND, MSIX + 2, PCIE + 8, SRIOV + 8, SRIOV + 0x10};
    (void)state;
    srand(1);
    for (uint32_t i = 0; i < 300000; i++) {
        pci_out(0xcf8, 4, (uint32_t)rand() << 1 ^ (rand() % 4 ? 0x80000000 : 0));
        if (rand() % 2)
            address(rand() % 2 ? pf : vf, (uint32_t)rand() % PAGE_SIZE);
        uint32_t size = 1u << rand() % 3;
        pci_out(0xcf8 + (uint32_t)rand() % 8, size, (uint32_t)rand());
        pci_in(0xcf8 + (uint32_t)rand() % 8, size);
        bool fine = tellings == 0;
        for (uint32_t k = 0; k < COUNT(known); k++)
            fine |= told[0].word[1] == known[k] && told[0].word[0] < 2;
        assert_true(fine);
        tellings = 0;
    }
}

/* A function of the VMM's own: its ports and its table are where the guest writes that they are. */
static void a_function_of_ours_moves(void **state)
{
    uint8_t bytes[256] = {0xf4, 0x1a, 0x42, 0x10, COMMAND_IO | 2};
    (void)state;
    memcpy(bytes + BAR0, &(uint32_t){PCI_IO(3) | 1}, 4);
    memcpy(bytes + BAR0 + 4, &(uint32_t){PCI_MEM(3)}, 4);
    pci_add(3, bytes);
    assert_int_equal(pci_slot_at(PCI_IO(3)), 3);
    assert_int_equal(pci_slot_at(PCI_IO(3) + 0xff), 3);
    assert_int_equal(pci_slot_at(PCI_IO(4)), 0);
    assert_int_equal(pci_memory(3), PCI_MEM(3));
    pci_out(0xcf8, 4, 0x80001810);
    pci_out(0xcfc, 4, ~0u);
    assert_int_equal(pci_in(0xcfc, 4), 0xffffff01);
    assert_int_equal(pci_slot_at(PCI_IO(3)), 0);
    pci_out(0xcfc, 4, 0xc000);
    assert_int_equal(pci_in(0xcfc, 4), 0xc001);
    assert_int_equal(pci_slot_at(PCI_IO(3)), 0);
    assert_int_equal(pci_slot_at(0xc0ff), 3);
    pci_out(0xcf8, 4, 0x80001814);
    pci_out(0xcfc, 4, 0xe0005000);
    assert_int_equal(pci_memory(3), 0xe0005000);
    pci_out(0xcf8, 4, 0x80001804);
    pci_out(0xcfc, 2, 2); /* ports off */
    assert_int_equal(pci_slot_at(0xc0ff), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(capabilities_at_the_end),
        TEST(a_function_shows_what_the_guest_may_know),
        TEST(capabilities_are_those_that_work),
        TEST(a_circle_of_capabilities_ends),
        TEST(a_capability_is_shown_once),
        TEST(bars_answer_sizing),
        TEST(large_bars_answer_sizing),
        TEST(root_hears_of_few_writes),
        TEST(sriov_is_a_shadow),
        TEST(virtual_functions_are_empty),
        TEST(an_entry_becomes_the_units),
        TEST(nonsense_is_masked),
        TEST(refused_entry_is_tried_again),
        TEST(several_targets_are_one),
        TEST(a_table_ends_where_it_ends),
        TEST(a_table_ends_with_its_page),
        TEST(no_entry_of_two_halves),
        TEST(a_function_of_ours_moves),
        TEST(any_write_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
