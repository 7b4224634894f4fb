/* Port I/O: who answers which ports, under which lock. */
#include <vmm/devices.h>
#include <vmm/lock.h>
#include <vmm/vcpu.h>

#define STATUS_WAKE    0x80u
#define KEYBOARD       0x64u /* status and command of the keyboard's controller */
#define KEYBOARD_RESET 0xfeu
#define FAST_PORT      0x92u /* system control port A */
#define FAST_RESET     1u
#define FAST_A20       2u
#define RESET_CONTROL  0xcf9u
#define RESET_CPU      4u

static struct lock lock; /* of all but virtio devices, which have their own */

/* No clock and no timer: who looks for them by their zeros soon gives up. The clock's index is write-only. */
static uint32_t cmos_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == 0x70 ? ~0u : 0;
}
static void cmos_out(uint32_t port, uint32_t size, uint32_t value) { (void)port, (void)size, (void)value; }

/* No keyboard, but what systems ask its controller and its neighbour for: is it ready (it is), address line 20 (is on),
   and a reset. The same by the chipset's port CF9h (reset control). */
static uint32_t legacy_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == KEYBOARD ? 0 : FAST_A20;
}
static void legacy_out(uint32_t port, uint32_t size, uint32_t value)
{
    if (size == 1 && (port == KEYBOARD ? value == KEYBOARD_RESET : value & FAST_RESET))
        vm_end(REASON_REBOOT, 0, 0, 0);
}

static uint32_t chipset_in(uint32_t port, uint32_t size) { return port == RESET_CONTROL && size == 1 ? 0 : pci_in(port, size); }
static void chipset_out(uint32_t port, uint32_t size, uint32_t value)
{
    if (port == RESET_CONTROL && size == 1 && value & RESET_CPU)
        vm_end(REASON_REBOOT, 0, 0, 0);
    else
        pci_out(port, size, value);
}

static uint32_t mode_in(uint32_t port, uint32_t size)
{
    (void)port, (void)size;
    return dedicated();
}

/* The guest is settled: have root take the VMM away, if the plan says so. */
static void mode_out(uint32_t port, uint32_t size, uint32_t value)
{
    (void)port;
    if (size != 1 || value != 1 || !dedicated())
        return;
    msix_sync();
    __atomic_store_n(&control()->leave, 1, __ATOMIC_RELEASE);
    sm_up(VMM_SM_ROOT);
}

static const struct device {
    uint32_t (*in)(uint32_t port, uint32_t size);
    void (*out)(uint32_t port, uint32_t size, uint32_t value);
} uart = {uart_in, uart_out}, pci = {chipset_in, chipset_out}, acpi = {acpi_in, acpi_out}, cmos = {cmos_in, cmos_out},
  legacy = {legacy_in, legacy_out}, mode = {mode_in, mode_out};

/* NULL: none, or a virtio device, whose BAR0 may be anywhere. */
static const struct device *find(uint32_t port)
{
    switch (port) {
    case 0x3f8 ... 0x3ff: return &uart;
    case 0xcf8 ... 0xcff: return &pci;
    case PORT_SLEEP ... PORT_RESET: return &acpi;
    case PORT_MODE: return &mode;
    case KEYBOARD:
    case FAST_PORT: return &legacy;
    case 0x40 ... 0x43:
    case 0x70 ... 0x71: return &cmos;
    default: return NULL;
    }
}

void devices_lock(uint32_t self) { lock_take(&lock, self); }
void devices_unlock(void) { lock_give(&lock); }
uint32_t devices_holder(void) { return lock.holder; }

static void count_unclaimed(void) { __atomic_fetch_add(&control()->unclaimed_ports, 1, __ATOMIC_RELAXED); }

uint32_t port_in(uint32_t self, uint32_t port, uint32_t size)
{
    const struct device *d = find(port);
    uint32_t slot = d ? PCI_SLOTS : pci_slot_at(port);
    if (!d && slot == PCI_SLOTS) {
        count_unclaimed();
        return ~0u;
    }
    struct lock *l = d ? &lock : virtio_lock(slot);
    lock_take(l, self);
    uint32_t value = d ? d->in(port, size) : virtio_in(slot, port % PCI_PORTS, size);
    lock_give(l);
    virtio_poll(self);
    return value;
}

void port_out(uint32_t self, uint32_t port, uint32_t size, uint32_t value)
{
    const struct device *d = find(port);
    uint32_t slot = d ? PCI_SLOTS : pci_slot_at(port);
    if (port == config()->plan.exit_port && port) {
        vm_end(REASON_EXIT_PORT, value, 0, 0);
    } else if (!d && slot == PCI_SLOTS) {
        count_unclaimed();
    } else {
        struct lock *l = d ? &lock : virtio_lock(slot);
        lock_take(l, self);
        if (d)
            d->out(port, size, value);
        else
            virtio_out(slot, port % PCI_PORTS, size, value);
        lock_give(l);
        virtio_poll(self);
    }
}

uint32_t acpi_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == PORT_STATUS ? STATUS_WAKE : 0;
}

void acpi_out(uint32_t port, uint32_t size, uint32_t value)
{
    (void)size;
    if (port == PORT_SLEEP && value == SLEEP_S5)
        vm_end(REASON_POWEROFF, 0, 0, 0);
    else if (port == PORT_RESET && value == RESET_NOW)
        vm_end(REASON_REBOOT, 0, 0, 0);
}
