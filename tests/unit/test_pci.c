/*
 * Configuration space of functions that may say anything, in plain memory (so BARs read back what
 * is written: none is found), and what a VM may write there.
 */
#include "test.h"
#include <root/hardware/config.h>
#include <root/memory.h>
#include <stdlib.h>

enum { BUSES = 4, SPACE = BUSES << 20 };
enum { PM = 0x40, MSIX = 0x50, PCIE = 0x60, SRIOV = 0x160 };

static uint8_t *space;

void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    (void)perm;
    return base && size == SPACE ? space : NULL;
}
bool memory_is_device(uint64_t base, uint64_t size) { return base && size; }

static uint8_t *at(uint32_t rid, uint32_t offset) { return space + ((uint64_t)rid << 12) + offset; }
static void set(uint32_t rid, uint32_t offset, uint32_t bytes, uint64_t value)
{
    memcpy(at(rid, offset), &value, bytes);
}

static int begin(void **state)
{
    (void)state;
    space = malloc(SPACE);
    assert_non_null(space);
    memset(space, 0xff, SPACE);
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(space);
    return 0;
}

/* A PCIe endpoint with power management, MSI-X and FLR, or a bridge. */
static void add(uint32_t rid, uint32_t header)
{
    memset(at(rid, 0), 0, 4096);
    set(rid, 0, 4, 0x10c98086);
    set(rid, 6, 2, 0x10);
    set(rid, 8, 4, 0x02000001);
    set(rid, 14, 1, header);
    set(rid, 0x34, 1, PM);
    set(rid, PM, 4, 0x00030001 | MSIX << 8);
    set(rid, MSIX, 4, 0x00090011 | PCIE << 8); /* ten vectors */
    set(rid, MSIX + 4, 4, 0x2003);
    set(rid, PCIE, 4, 0x00020010);
    set(rid, PCIE + 4, 4, 1 << 28);
}

static void add_bridge(uint32_t rid, uint32_t type, uint32_t secondary, uint32_t subordinate)
{
    add(rid, 1);
    set(rid, 8, 4, 0x06040000);
    set(rid, PCIE + 2, 2, 2 | type << 4);
    set(rid, 0x19, 1, secondary);
    set(rid, 0x1a, 1, subordinate);
    set(rid, 0x20, 4, 0xfe10fe00); /* forwards fe000000h..fe1fffffh */
}

static void add_acs(uint32_t rid, uint32_t capable)
{
    set(rid, 0x100, 4, 0x0001000d);
    set(rid, 0x104, 2, capable);
}

static void scan(void) { assert_null(pci_scan(0x10000000, BUSES)); }

static void test_capabilities(void **state)
{
    (void)state;
    add(0x18, 0);
    scan();
    const struct pci_function *f = pci_find(0x18);
    assert_non_null(f);
    assert_int_equal(pci_count(), 1);
    assert_int_equal(f->class, 0x0200);
    assert_int_equal(f->msix, MSIX);
    assert_int_equal(f->pcie, PCIE);
    assert_int_equal(f->pm, PM);
    assert_int_equal(f->reset, RESET_FLR);
    assert_int_equal(f->msix_count, 10);
    assert_int_equal(f->msix_bar, 3);
    assert_int_equal(f->msix_offset, 0x2000);
    assert_int_equal(f->vfs, 0);
}

static void test_reset_kinds(void **state)
{
    (void)state;
    add(0, 0), add(8, 0), add(16, 0);
    set(0, PCIE + 4, 4, 0);
    set(8, PCIE + 4, 4, 0), set(8, PM + 4, 2, 8); /* keeps its state from D3 to D0 */
    set(16, PCIE + 4, 4, 0), set(16, PM, 4, 0x02060013 | MSIX << 8);
    scan();
    assert_int_equal(pci_find(0)->reset, RESET_PM);
    assert_int_equal(pci_find(8)->reset, RESET_NONE);
    assert_int_equal(pci_find(16)->reset, RESET_AF);
}

/* It says that it has one; and it is known to hang by it. */
static void test_flr_that_fails(void **state)
{
    (void)state;
    add(0, 0), add(8, 0), add(16, 0), add(24, 0);
    set(0, 0, 4, 0x149c1022);
    set(8, 0, 4, 0x15028086), set(8, PM + 4, 2, 8);
    set(16, 0, 4, 0x149b1022);
    set(24, 0, 4, 0x061614c3), set(24, PCIE + 4, 4, 0), set(24, PM, 4, 0x02060013 | MSIX << 8);
    scan();
    assert_int_equal(pci_find(0)->reset, RESET_PM);
    assert_int_equal(pci_find(8)->reset, RESET_NONE);
    assert_int_equal(pci_find(16)->reset, RESET_FLR);
    assert_int_equal(pci_find(24)->reset, RESET_NONE);
}

static void test_circles(void **state)
{
    (void)state;
    add(0, 0);
    set(0, PM + 1, 1, PM); /* a capability that is its own next */
    set(0, 0x34, 1, PM);
    add(8, 0);
    set(8, 0x100, 4, 0x10000099); /* and an extended one */
    scan();
    assert_int_equal(pci_find(0)->msix, 0);
    assert_int_equal(pci_find(8)->sriov, 0);
}

static void test_lists_in_the_header(void **state)
{
    (void)state;
    add(0, 0);
    set(0, 0x34, 1, 0x10);
    scan();
    assert_int_equal(pci_find(0)->pcie, 0);
}

static void test_bridges(void **state)
{
    (void)state;
    add_bridge(0x08, 4, 1, 2), add_bridge(0x100, 5, 2, 2), add(0x200, 0);
    scan();
    assert_int_equal(pci_count(), 3);
    assert_ptr_equal(pci_find(0x200)->parent, pci_find(0x100));
    assert_int_equal(pci_find(0x08)->window[0].address, 0xfe000000);
    assert_int_equal(pci_find(0x08)->window[0].size, 0x200000);
    assert_int_equal(pci_buses(), 3);
    assert_int_equal(pci_group(pci_find(0x200)), 0x08); /* behind a switch: its root port's */
    assert_int_equal(pci_read16(pci_find(0x08), PCI_COMMAND), COMMAND_MEMORY | COMMAND_MASTER);
    assert_int_equal(pci_read16(pci_find(0x200), PCI_COMMAND) & COMMAND_MASTER, 0);
}

/* A BAR that firmware left at 0 is nowhere, however large; nor is a window there one. */
static void test_what_has_no_place(void **state)
{
    (void)state;
    add(0x18, 0);
    add(0x20, 0);
    add_bridge(0x08, 4, 2, 3);
    set(0x08, 0x20, 4, 0);
    set(0x08, 0x24, 4, 0);
    scan();
    struct pci_function *other = pci_find(0x20);
    other->bar[0] = (struct pci_bar){0, 8ull << 30, 12};
    assert_true(pci_owns(pci_find(0x18), 0xfe000000, 0x1000));
    other->bar[0].address = 0xfd000000;
    assert_false(pci_owns(pci_find(0x18), 0xfe000000, 0x1000));
    assert_int_equal(pci_find(0x08)->window[0].size, 0);
    assert_int_equal(pci_find(0x08)->window[1].size, 0);
}

static void test_bridges_in_a_circle(void **state)
{
    (void)state;
    add_bridge(0x08, 4, 1, 1), add_bridge(0x100, 5, 1, 1), add_bridge(0x108, 5, 0, 3),
        add_bridge(0x110, 5, 9, 9);
    scan();
    assert_int_equal(pci_count(), 4);
    assert_int_equal(pci_last_bus(pci_find(0x108)), 1); /* that is no bridge to bus 3 */
    assert_int_equal(pci_last_bus(pci_find(0x110)), 9);
}

/* Servers have several: what is on one, and behind its ports, is found; bus 1 is bus 0's. */
static void test_root_buses(void **state)
{
    (void)state;
    add_bridge(0x08, 4, 1, 1), add(0x100, 0);
    add(0x210, 0);
    add_bridge(0x208, 4, 3, 3), add(0x300, 0);
    scan();
    assert_int_equal(pci_count(), 5);
    assert_ptr_equal(pci_find(0x100)->parent, pci_find(0x08));
    assert_null(pci_find(0x210)->parent);
    assert_ptr_equal(pci_find(0x300)->parent, pci_find(0x208));
    assert_int_equal(pci_buses(), 4);
    assert_int_equal(pci_group(pci_find(0x300)), 0x208); /* a port without ACS */
}

static void test_more_than_fit(void **state)
{
    (void)state;
    for (uint32_t rid = 0; rid <= PCI_FUNCTIONS; rid++)
        add(rid, 0x80);
    assert_non_null(pci_scan(0x10000000, BUSES));
    assert_int_equal(pci_count(), PCI_FUNCTIONS);
}

static void test_no_configuration_space(void **state)
{
    (void)state;
    assert_non_null(pci_scan(0, BUSES));
}

static void test_groups(void **state)
{
    (void)state;
    add(0x10, 0x80), add(0x11, 0); /* two functions of a device */
    add(0x18, 0x80), add(0x19, 0); /* two that keep away from each other */
    add_acs(0x18, 0x0c), add_acs(0x19, 0x0c);
    add(0x30, 0x80), add(0x31, 0); /* one of the two does not care */
    add_acs(0x31, 0x0c);
    add_bridge(0x20, 4, 1, 1), add(0x100, 0);
    add_acs(0x20, 0x1f);
    add_bridge(0x28, 7, 2, 2), add(0x200, 0), add(0x208, 0); /* to conventional PCI */
    scan();
    assert_int_equal(pci_group(pci_find(0x11)), 0x10);
    assert_int_equal(pci_group(pci_find(0x18)), 0x18);
    assert_int_equal(pci_group(pci_find(0x19)), 0x19);
    assert_int_equal(pci_group(pci_find(0x31)), 0x30);
    assert_int_equal(pci_read16(pci_find(0x19), 0x106), 0x0c); /* and it is on */
    assert_int_equal(pci_group(pci_find(0x100)), 0x100);
    assert_int_equal(pci_group(pci_find(0x200)), 0x28);
    assert_int_equal(pci_group(pci_find(0x208)), 0x28);
}

/* Two ports of a slot, a function behind each: apart only if both ports send all up. */
static void assert_ports_apart(bool apart)
{
    assert_int_equal(pci_group(pci_find(0x100)), apart ? 0x100 : 0x08);
    assert_int_equal(pci_group(pci_find(0x200)), apart ? 0x200 : 0x08);
}

static void test_ports_of_a_slot(void **state)
{
    (void)state;
    for (uint32_t lacks = 0; lacks < 32; lacks++) {
        add(0x08, 0x80), set(0x08, 8, 4, 0x06000000); /* as on AMD's processors: no port, but a host
                                                         bridge that does nothing */
        add_bridge(0x09, 4, 1, 1), add_bridge(0x0a, 4, 2, 2), add(0x100, 0), add(0x200, 0);
        if (lacks != 31)
            add_acs(0x09, 0x1d), add_acs(0x0a, 0x1f & ~lacks);
        scan();
        assert_ports_apart(lacks == 0 || lacks == 2);
    }
}

/* Intel's 100 and 200 series chipsets have the control register 4 bytes on. */
static void test_control_elsewhere(void **state)
{
    (void)state;
    add_bridge(0x08, 4, 1, 1), set(0x08, 14, 1, 0x81), add_bridge(0x09, 4, 2, 2), add(0x100, 0),
        add(0x200, 0);
    add_acs(0x08, 0x1f), add_acs(0x09, 0x1f);
    scan();
    assert_ports_apart(true);
    set(0x08, 0x106, 2, 0), set(0x09, 0x106, 2, 0); /* what was written is lost */
    assert_ports_apart(false);
}

static void test_switch(void **state)
{
    (void)state;
    for (uint32_t lacks = 0; lacks < 4; lacks++) {
        add_bridge(0x08, 4, 1, 3), add_bridge(0x100, 5, 2, 3), add_bridge(0x200, 6, 3, 3),
            add(0x300, 0);
        if (lacks != 1)
            add_acs(0x08, 0x1f);
        if (lacks != 2)
            add_acs(0x200, 0x1f);
        if (lacks == 3) /* a function beside the switch's upper port */
            set(0x100, 14, 1, 0x81), add(0x101, 0);
        scan();
        const uint32_t group[] = {0x300, 0x08, 0x200, 0x100};
        assert_int_equal(pci_group(pci_find(0x300)), group[lacks]);
    }
}

/* ---- reset ------------------------------------------------------------------------------------
 */
static void test_reset_keeps(void **state)
{
    (void)state;
    add(0x18, 0);
    set(0x18, PCIE + 8, 2, 0x2857); /* 512 bytes in a packet */
    set(0x18, PCIE + 0x28, 2, 0x0406);
    scan();
    const struct pci_function *f = pci_find(0x18);
    pci_reset(f);
    assert_int_equal(pci_read(0x18, PCIE + 8, 2),
                     0xa057); /* and no requests that do not look into caches */
    set(0x18, PCIE + 8, 2, 0x2810), set(0x18, PCIE + 0x28, 2, 0), set(0x18, 4, 2, 0);
    pci_restore(f);
    assert_int_equal(pci_read(0x18, PCIE + 8, 2), 0x2057);
    assert_int_equal(pci_read(0x18, PCIE + 0x28, 2), 0x0406);
    assert_int_equal(pci_read(0x18, 4, 2), 0x402);
}

/* A reset makes them those of the data sheet; firmware chose larger ones. */
static void test_reset_keeps_sizes_of_bars(void **state)
{
    (void)state;
    add(0x18, 0), add(0x20, 0);
    set(0x18, 0x100, 4, 0x20010015);
    set(0x18, 0x108, 4, 0x00000840), set(0x18, 0x110, 4, 0x00000c02); /* two of them */
    set(0x18, 0x200, 4, 0x00010024), set(0x18, 0x208, 4, 0x00000520);
    set(0x20, 0x100, 4, 0xff010015), set(0x20, 0xff0, 4, 0x00010024);
    set(0x20, 0x108, 4, 0x000008e0),
        set(0x20, 0xff8, 4, 0x00000540); /* seven; and beyond the end */
    scan();
    for (uint32_t rid = 0x18; rid <= 0x20; rid += 8) {
        set(rid, 0x108, 4, 0x40), set(rid, 0x110, 4, 2), set(rid, 0x208, 4, 0x20);
        set(rid, 0xff8, 4, 0x40);
        pci_restore(pci_find((uint16_t)rid));
        bool kept = rid == 0x18;
        assert_int_equal(pci_read((uint16_t)rid, 0x108, 4), kept ? 0x840 : 0x40);
        assert_int_equal(pci_read((uint16_t)rid, 0x110, 4), kept ? 0xc02 : 2);
        assert_int_equal(pci_read((uint16_t)rid, 0x208, 4), kept ? 0x520 : 0x20);
        assert_int_equal(pci_read((uint16_t)rid, 0xff8, 4), 0x40);
    }
}

static void test_reset_by_power_state(void **state)
{
    (void)state;
    add(0, 0), add(8, 0);
    set(0, PCIE + 4, 4, 0), set(0, PCIE + 8, 2, 0x2057);
    set(8, PCIE + 4, 4, 0), set(8, PCIE + 8, 2, 0x2057),
        set(8, PM, 4, 0x02060013 | MSIX << 8); /* by advanced features */
    scan();
    pci_reset(pci_find(0)), pci_reset(pci_find(8));
    assert_int_equal(pci_read(0, PM + 4, 2), 3);
    assert_int_equal(pci_read(8, PM + 4, 1), 1);
    pci_wake(pci_find(0));
    assert_int_equal(pci_read(0, PM + 4, 2), 0);
    for (uint32_t rid = 0; rid <= 8; rid += 8) {
        set(rid, PCIE + 8, 2, 0x2810);
        pci_restore(pci_find((uint16_t)rid));
        assert_int_equal(pci_read((uint16_t)rid, PCIE + 8, 2), 0x2057);
    }
}

static void test_quiet(void **state)
{
    (void)state;
    add(0x18, 0);
    scan();
    const struct pci_function *f = pci_find(0x18);
    set(0x18, 4, 2, 6), set(0x18, MSIX + 2, 2, 0x8009);
    pci_quiet(f);
    assert_int_equal(pci_read(0x18, 4, 2), 0x402); /* a guest may still touch its registers */
    assert_int_equal(pci_read(0x18, MSIX + 2, 2) & 0xc000, 0);
    assert_false(pci_pending(f));
    set(0x18, PCIE + 10, 2, 0x20);
    assert_true(pci_pending(f));
}

/* ---- lists that lead elsewhere ----------------------------------------------------------------
 */
/* All that root does with a function, and all that its VM may; nothing outside the function's own
 * page changes. */
static void use_all(uint32_t rid)
{
    uint8_t *before = malloc(SPACE);
    assert_non_null(before);
    memcpy(before, space, SPACE);
    scan();
    struct pci_function *f = pci_find((uint16_t)rid);
    pci_group(f), pci_pending(f), pci_quiet(f), pci_reset(f), pci_wake(f), pci_restore(f);
    for (uint32_t offset = 0; offset < 4096; offset += 4)
        config_write(f, offset, 4, offset % 8 ? ~0ull : 0x00010001);
    memcpy(before + ((uint64_t)rid << 12), at(rid, 0), 4096);
    assert_memory_equal(before, space, SPACE);
    free(before);
}

static void test_extended_at_the_end(void **state)
{
    (void)state;
    for (uint32_t end = 0xf80; end < 0x1000; end += 4)
        for (uint32_t id = 0x0d; id <= 0x10; id += 3) {
            add(0x18, 0);
            set(0x18, 0x100, 4, end << 20 | 0x10099);
            set(0x18, end, 4, 0x10000 | id);
            if (end <= 0xff8)
                set(0x18, end + 4, 4, 0x1f);
            if (id == 0x10 && end <= 0xfe8)
                set(0x18, end + 0x0c, 4, 0x00020002), set(0x18, end + 0x14, 4, 0x00010080);
            use_all(0x18);
            assert_int_equal(pci_find(0x18)->sriov != 0, id == 0x10 && end <= 0xfc0);
        }
}

static void test_listed_at_the_end(void **state)
{
    (void)state;
    static const uint8_t ids[] = {0x01, 0x10, 0x11, 0x13}, sizes[] = {8, 60, 12, 6};
    for (uint32_t i = 0; i < sizeof ids; i++)
        for (uint32_t end = 0x40; end < 0x100; end += 4) {
            add(0x18, 0);
            memset(at(0x18, 0x40), 0, 0xc0);
            set(0x18, 0x34, 1, end);
            set(0x18, end, 2, ids[i]);
            if (end < 0xfc)
                set(0x18, end + 2, 2, 2);
            use_all(0x18);
            const struct pci_function *f = pci_find(0x18);
            const uint16_t found[] = {f->pm, f->pcie, f->msix, f->af};
            assert_int_equal(found[i], end + sizes[i] <= 0x100 ? end : 0);
        }
}

static void test_any_lists(void **state)
{
    (void)state;
    uint64_t seed = 0x2545f4914f6cdd1d;
    for (uint32_t round = 0; round < 300; round++) {
        add(0x18, 0);
        for (uint32_t i = 0x34; i < 4096; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            static const uint8_t likely[] = {0x01, 0x10, 0x11, 0x13, 0x0d, 0x0e, 0xfc, 0xf8};
            set(0x18, i, 1, seed >> 40 & 1 ? likely[seed >> 32 & 7] : seed >> 24);
        }
        use_all(0x18);
    }
}

/* ---- writes by a VM ------------------------------------------------------------------------- */
static struct pci_function function = {.rid = 0x18,
                                       .msix = MSIX,
                                       .pcie = PCIE,
                                       .sriov = SRIOV,
                                       .vfs = 7,
                                       .vf_offset = 0x80,
                                       .vf_stride = 2};

/* What may change, 16 bits at an offset. */
static uint32_t allowed(uint32_t offset, bool sriov)
{
    switch (offset) {
    case 4: return 0x406;
    case MSIX + 2: return 0xc000;
    case PCIE + 8: return 0x7010;
    case SRIOV + 8: return sriov ? 9 : 0;
    case SRIOV + 16: return sriov ? 7 : 0;
    default: return 0;
    }
}

static void write_all(struct pci_function *f, uint64_t value)
{
    for (uint32_t size = 0; size <= 4; size++)
        for (uint32_t offset = 0; offset < 4096; offset++)
            config_write(f, offset, size, value);
}

static void test_writes(void **state)
{
    (void)state;
    struct pci_function without = function;
    without.vfs = 0;
    scan();
    for (uint32_t sriov = 0; sriov < 2; sriov++) {
        memset(at(0x18, 0), 0, 4096);
        set(0x18, SRIOV + 0x14, 4, 0x00020080);
        write_all(sriov ? &function : &without, ~0ull);
        set(0x18, SRIOV + 0x14, 4, 0);
        for (uint32_t offset = 0; offset < 4096; offset += 2)
            assert_int_equal(pci_read(0x18, offset, 2) & ~allowed(offset, sriov), 0);
        assert_int_equal(pci_read(0x18, 4, 2), 0x406);
        assert_int_equal(pci_read(0x18, MSIX + 2, 2), 0xc000);
        assert_int_equal(pci_read(0x18, SRIOV + 8, 2), sriov ? 9 : 0);
    }
    memset(at(0x18, 0), 0xff, 4096);
    write_all(&function, 0);
    for (uint32_t offset = 0; offset < 4096; offset += 2)
        assert_int_equal(~pci_read(0x18, offset, 2) & 0xffff & ~allowed(offset, true), 0);
    assert_int_equal(pci_read(0x18, 4, 2), 0xffff & ~4u); /* it goes on decoding */
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 0xffff);
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 0xffff);
}

static void control_vfs(uint32_t value) { config_write(&function, SRIOV + 8, 2, value); }
static void count_vfs(uint32_t value) { config_write(&function, SRIOV + 16, 2, value); }

/* Other VMs have them: where they are and that they are there is not for their owner to change. */
static void test_virtual_functions(void **state)
{
    (void)state;
    scan();
    memset(at(0x18, 0), 0, 4096);
    count_vfs(2);
    control_vfs(1 | 8); /* their requester IDs would be others */
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 0);
    set(0x18, SRIOV + 0x14, 4, 0x00010080);
    control_vfs(1 | 8);
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 0);
    set(0x18, SRIOV + 0x14, 4, 0x00020080);
    count_vfs(3);
    control_vfs(1);
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 1);
    count_vfs(7);
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 3);
    control_vfs(8);
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 9);
    control_vfs(0);
    assert_int_equal(pci_read(0x18, SRIOV + 8, 2), 9);
}

/* A thread that is preempted in it keeps others of its VM out: what it read is what it decides on.
 */
static void test_one_write_at_a_time(void **state)
{
    (void)state;
    scan();
    memset(at(0x18, 0), 0, 4096);
    function.at_work = true;
    count_vfs(2);
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 0);
    config_begin(&function); /* that thread is no more */
    count_vfs(2);
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 2);
    count_vfs(3);
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 3);
}

static void test_write_sizes(void **state)
{
    (void)state;
    scan();
    memset(at(0x18, 0), 0, 4096);
    config_write(&function, MSIX, 4, 0x80000000); /* from the capability's first byte on */
    assert_int_equal(pci_read(0x18, MSIX + 2, 2), 0x8000);
    config_write(&function, MSIX + 3, 1, 0x40);
    assert_int_equal(pci_read(0x18, MSIX + 2, 2), 0x4000);
    config_write(&function, SRIOV + 16, 2, 7);
    config_write(&function, SRIOV + 16, 2, 8); /* more than there are */
    assert_int_equal(pci_read(0x18, SRIOV + 16, 2), 7);
    config_write(&function, PCI_COMMAND, 2, 7);
    assert_int_equal(pci_read(0x18, 4, 2), 0x406);
    config_write(&function, PCI_COMMAND, 2, 0);
    assert_int_equal(pci_read(0x18, 4, 2), 0x402);
    config_write(&function, PCIE + 8, 2, 0x8000); /* a reset of its own */
    assert_int_equal(pci_read(0x18, PCIE + 8, 2), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest all[] = {
        TEST(test_capabilities),
        TEST(test_reset_kinds),
        TEST(test_flr_that_fails),
        TEST(test_circles),
        TEST(test_lists_in_the_header),
        TEST(test_bridges),
        TEST(test_what_has_no_place),
        TEST(test_bridges_in_a_circle),
        TEST(test_root_buses),
        TEST(test_more_than_fit),
        TEST(test_no_configuration_space),
        TEST(test_groups),
        TEST(test_ports_of_a_slot),
        TEST(test_control_elsewhere),
        TEST(test_switch),
        TEST(test_reset_keeps),
        TEST(test_reset_keeps_sizes_of_bars),
        TEST(test_reset_by_power_state),
        TEST(test_quiet),
        TEST(test_extended_at_the_end),
        TEST(test_listed_at_the_end),
        TEST(test_any_lists),
        TEST(test_writes),
        TEST(test_virtual_functions),
        TEST(test_one_write_at_a_time),
        TEST(test_write_sizes),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
