/* Which functions a VM can have: of each kind that none can have, one that is otherwise as good as
 * any. */
#include "test.h"
#include <root/hardware/assign.h>
#include <root/hardware/iommu.h>
#include <root/memory.h>

static const char *iommus_wrong, *behind_wrong;
static bool owns;

bool memory_is_device(uint64_t base, uint64_t size) { return base && size; }
bool pci_owns(const struct pci_function *f, uint64_t address, uint64_t size)
{
    return owns && f && address && size;
}
const char *iommu_problem(void) { return iommus_wrong; }
const char *iommu_of(const struct pci_function *f, uint32_t *unit)
{
    *unit = f->rid != 0;
    return behind_wrong;
}

static struct pci_function good(void)
{
    iommus_wrong = behind_wrong = NULL;
    owns = true;
    return (struct pci_function){.id = 0x10c98086,
                                 .class = 0x0200,
                                 .msix = 0x70,
                                 .pcie = 0xa0,
                                 .msix_count = 10,
                                 .reset = RESET_FLR,
                                 .bar = {{0xfe000000, 0x4000, 0}}};
}

static void any_other(void **state)
{
    (void)state;
    struct pci_function f = good();
    assert_null(assign_wrong(&f));
    for (uint32_t class = 0; class < 0x10000; class ++) {
        bool chipset = class >> 8 == 6 || class >> 8 == 8 || class >> 8 == 0x13;
        f.class = class;
        f.id = 0x00011234;
        const char *wrong = assign_wrong(&f);
        assert_int_equal(wrong != NULL, chipset || class == 0x0502 || class == 0x0c05 ||
                                            class == 0x0c07 || class == 0x0c80);
        f.id = 0x14861022;
        assert_int_equal(assign_wrong(&f) != NULL, wrong || class == 0x1080);
        f.id = 0xa13a8086;
        assert_int_equal(assign_wrong(&f) != NULL, wrong || class == 0x0780 || class == 0x1080);
    }
}

static void with_power_over_the_machine(void **state)
{
    (void)state;
    static const struct {
        uint32_t id, class;
        const char *why;
    } kinds[] = {
        {0x14861022, 0x1080, "it is AMD's secure processor, which reaches all memory"},
        {0xa13a8086, 0x0780, "it leads to Intel's management engine, which reaches all memory"},
        {0x0f188086, 0x1080,
         "it leads to Intel's trusted execution engine, which reaches all memory"},
        {0x0d938086, 0x0502, "it holds memory of the machine (CXL)"},
        {0x14511022, 0x0806, "it is an IOMMU"},
        {0x14501022, 0x0600, "it is a bridge or a part of the chipset"},
        {0x790b1022, 0x0c05, "it leads to the SMBus, and so to memory modules and voltages"},
    };
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct pci_function f = good(), pf = good(), vf = good();
        f.id = pf.id = vf.id = kinds[i].id;
        f.class = pf.class = vf.class = kinds[i].class;
        vf.pf = &pf;
        assert_string_equal(assign_wrong(&f), kinds[i].why);
        assert_string_equal(assign_wrong(&vf), kinds[i].why);
    }
}

static void wrong_in_itself(void **state)
{
    (void)state;
    struct pci_function f = good();
    f.header = 1;
    assert_string_equal(assign_wrong(&f), "it is a bridge");
    f = good(), f.type = 4;
    assert_string_equal(assign_wrong(&f), "it is not a PCI Express endpoint");
    f = good(), f.msix = 0;
    assert_string_equal(assign_wrong(&f), "it has no MSI-X");
    f = good(), f.msix_offset = 0xff0; /* most of its entries are in the next page */
    assert_null(assign_wrong(&f));
    f.msix_offset = 0xff8;
    assert_string_equal(assign_wrong(&f), "its MSI-X table is not where one can be");
    f = good(), f.msix_count = 0x800, f.bar[0].size = 0x8000;
    assert_null(assign_wrong(&f));
    f.msix_offset = 16;
    assert_string_equal(assign_wrong(&f), "its MSI-X table is not where one can be");
    f = good(), f.msix_bar = 6;
    assert_string_equal(assign_wrong(&f), "its MSI-X table is not where one can be");
    f = good(), f.reset = RESET_NONE;
    assert_string_equal(assign_wrong(&f), "it cannot be reset");
    f = good(), f.bar[2] = (struct pci_bar){0xfe004000, 0x800, 0};
    assert_string_equal(assign_wrong(&f), "its registers share a page with others");
}

static void wrong_where_it_is(void **state)
{
    (void)state;
    struct pci_function f = good();
    owns = false;
    assert_string_equal(assign_wrong(&f), "firmware gave its registers no place of their own");
    f = good(), f.bar[1] = (struct pci_bar){0xfe002000, 0x1000, 0};
    assert_string_equal(assign_wrong(&f), "firmware gave its registers no place of their own");
    f.bar[1].address += 0x2000;
    assert_null(assign_wrong(&f));
    f = good(), behind_wrong = "it is behind no IOMMU";
    assert_string_equal(assign_wrong(&f), "it is behind no IOMMU");
    f = good(), iommus_wrong = "the machine has no IOMMU";
    assert_string_equal(assign_wrong(&f), "the machine has no IOMMU");
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(any_other),
        cmocka_unit_test(with_power_over_the_machine),
        cmocka_unit_test(wrong_in_itself),
        cmocka_unit_test(wrong_where_it_is),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
