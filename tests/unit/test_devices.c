/* Each of the 65,536 ports: the VMM answers where the map of the flat PC says so, and nowhere else.
 */
#include <vmm/lock.h>
#include <vmm/platform/devices.h>
#include <vmm/vcpu/vcpu.h>
#include "test.h"

struct fake fake;
static struct vm_config config_page;
static struct vm_control control_page;
static enum flatpc_device asked;
static uint32_t slot_asked;
static struct lock slot_lock;

uint64_t fake_sm_up(uint64_t sm) { return (void)sm, OK; }
void msix_sync(void) {}
void virtio_poll(uint32_t self) { (void)self; }
struct lock *virtio_lock(uint32_t slot) { return (void)slot, &slot_lock; }
void vm_end(enum vm_reason reason, uint64_t value, uint64_t rip, uint64_t cr3)
{
    (void)reason, (void)value, (void)rip, (void)cr3;
    fail_msg("a read ended the VM");
}

static uint32_t answer(enum flatpc_device device)
{
    asked = device;
    return 0;
}
uint32_t uart_in(uint32_t port, uint32_t size)
{
    return (void)port, (void)size, answer(FLATPC_UART);
}
void uart_out(uint32_t port, uint32_t size, uint32_t value) { (void)port, (void)size, (void)value; }
uint32_t pci_in(uint32_t port, uint32_t size)
{
    return (void)port, (void)size, answer(FLATPC_CHIPSET);
}
void pci_out(uint32_t port, uint32_t size, uint32_t value) { (void)port, (void)size, (void)value; }

/* All virtio devices are where they are at first. */
uint32_t pci_slot_at(uint32_t port)
{
    for (uint32_t slot = 1; slot < PCI_SLOTS; slot++)
        if (port / PCI_PORTS == PCI_IO(slot) / PCI_PORTS)
            return slot;
    return 0;
}
uint32_t virtio_in(uint32_t slot, uint32_t offset, uint32_t size)
{
    (void)offset, (void)size;
    slot_asked = slot;
    return 0;
}
void virtio_out(uint32_t slot, uint32_t offset, uint32_t size, uint32_t value)
{
    (void)slot, (void)offset, (void)size, (void)value;
}

/* Of 2 bytes, so that the reset register's port is PCI's. */
static bool is_claimed(uint32_t port)
{
    uint64_t before = control_page.unclaimed_ports;
    asked = FLATPC_NOBODY;
    slot_asked = 0;
    devices_in(NO_VCPU, port, 2);
    return control_page.unclaimed_ports == before;
}

static void ports(void **state)
{
    (void)state;
    uint32_t claimed = 0;
    for (uint32_t port = 0; port < 0x10000; port++) {
        enum flatpc_device device = flatpc_device(port);
        bool is_bar = pci_slot_at(port) != 0;
        if (is_claimed(port) != (device != FLATPC_NOBODY || is_bar))
            fail_msg("port %x", port);
        assert_true(!is_bar || flatpc_port_is_taken(port));
        assert_int_equal(slot_asked, device == FLATPC_NOBODY ? pci_slot_at(port) : 0);
        if (device == FLATPC_UART || device == FLATPC_CHIPSET)
            assert_int_equal(asked, device);
        claimed += device != FLATPC_NOBODY;
    }
    assert_int_equal(claimed, 4 + 1 + 2 + 1 + 8 + 3 + 1 + 8);
}

/* What does not fit below the devices goes on at 4 GiB; nothing is in both. */
static void ram_has_a_hole(void **state)
{
    (void)state;
    static const struct {
        uint64_t memory, gpa, size;
        bool ram;
    } row[] = {
        {GUEST_MSIX, GUEST_MSIX - 4096, 4096, true},
        {GUEST_MSIX, GUEST_MSIX - 4096, 4097, false},
        {GUEST_MSIX, GUEST_HIGH, 1, false},
        {5ull << 30, GUEST_LOW - 1, 1, true},
        {5ull << 30, GUEST_LOW - 1, 2, false},
        {5ull << 30, GUEST_LOW, 1, false},
        {5ull << 30, GUEST_HIGH - 1, 2, false},
        {5ull << 30, GUEST_HIGH, 2ull << 30, true},
        {5ull << 30, GUEST_HIGH, (2ull << 30) + 1, false},
        {5ull << 30, 6ull << 30, 1, false},
        {5ull << 30, GUEST_HIGH, ~0ull, false},
        {5ull << 30, ~0ull, 2, false},
        {PLAN_MEMORY_MAX, PLAN_MEMORY_MAX, 1ull << 30, true},
        {PLAN_MEMORY_MAX, PLAN_MEMORY_MAX, (1ull << 30) + 1, false},
    };
    uint64_t memory = fake.config->plan.memory;
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        fake.config->plan.memory = row[i].memory;
        void *at = guest_memory(row[i].gpa, row[i].size);
        assert_true(at == (row[i].ram ? (void *)(VMM_RAM + row[i].gpa) : NULL));
    }
    fake.config->plan.memory = memory;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ports), cmocka_unit_test(ram_has_a_hole)};
    fake.config = &config_page;
    fake.control = &control_page;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
