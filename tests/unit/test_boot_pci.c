/* Whose bus mastering the stub switches off. Configuration mechanism #1, byte by byte. */
#include "test.h"
#include <cpu.h>
#include <stdbool.h>
#include <stdlib.h>

#undef cpu_outb
#undef cpu_inb
#undef cpu_outl
#define cpu_outb test_outb
#define cpu_inb  test_inb
#define cpu_outl test_outl

enum { COUNT_MAX = 16 };
static struct {
    uint32_t rid;
    uint8_t space[64];
} machine_function[COUNT_MAX];
static uint32_t functions, address, order[COUNT_MAX], writes;

static uint8_t *byte_at(uint16_t port)
{
    assert_true(port >= 0xcfc && port < 0xd00 && address >> 31);
    for (uint32_t i = 0; i < functions; i++)
        if (machine_function[i].rid == (address >> 8 & 0xffff))
            return &machine_function[i].space[(address & 0xfc) + port - 0xcfc];
    return NULL;
}

static uint8_t test_inb(uint16_t port)
{
    const uint8_t *byte = byte_at(port);
    return byte ? *byte : 0xff;
}

static void test_outb(uint16_t port, uint8_t value)
{
    uint8_t *byte = byte_at(port);
    assert_non_null(byte);
    *byte = value;
    order[writes++] = (address >> 8) & 0xffff;
}

static void test_outl(uint16_t port, uint32_t value)
{
    assert_int_equal(port, 0xcf8);
    address = value;
}

#include "../../boot/pci.c"

/* With all of I/O, memory and bus mastering on. */
static uint8_t *add(uint32_t rid, uint32_t class, uint8_t header)
{
    uint8_t *space = machine_function[functions].space;
    machine_function[functions++].rid = rid;
    space[0] = 0x22, space[1] = 0x10;
    space[4] = 7;
    space[10] = (uint8_t) class, space[11] = (uint8_t)(class >> 8);
    space[14] = header;
    return space + 4;
}

static void test_whose_mastering(void **state)
{
    (void)state;
    uint8_t *host = add(0x00, 0x0600, 0), *iommu = add(0x02, 0x0806, 0),
            *port = add(0x09, 0x0604, 0), *usb = add(0x100, 0x0c03, 0x80),
            *disk = add(0x107, 0x0106, 0), *lpc = add(0xa3, 0x0601, 0),
            *timer = add(0xffff, 0x0803, 0);
    machine_function[0].space[14] =
        0x80; /* 00:00 has more functions, and so have the others' devices */
    add(0x08, 0x0600, 0x80), add(0xa0, 0x0c05, 0x80), add(0xfff8, 0x0880, 0x80);
    boot_pci_silence();
    assert_int_equal(*host, 7);
    assert_int_equal(*iommu, 7);
    assert_int_equal(*lpc, 7);
    assert_int_equal(*port, 3);
    assert_int_equal(*usb, 3);
    assert_int_equal(*disk, 3);
    assert_int_equal(*timer, 3);
    for (uint32_t i = 0, behind = 0; i < writes; i++) {
        behind += order[i] == 0x100 || order[i] == 0x107;
        assert_true(order[i] != 0x09 || behind == 2); /* the port comes after what is behind it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whose_mastering)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
