/* Port I/O: who answers which ports, under which lock. */
#include <vmm/lock.h>
#include <vmm/platform/devices.h>
#include <vmm/vcpu/vcpu.h>

#define STATUS_WAKE    0x80u
#define KEYBOARD_RESET 0xfeu
#define FAST_RESET     1u
#define FAST_A20       2u
#define RESET_CPU      4u

/* Of all devices here and of PCI; virtio devices have locks of their own. */
static struct lock lock;

/* RTC and interval timer: absent. All registers read as zeros, so a driver that probes for them
 * soon gives up. The clock's index is write-only. */
static uint32_t cmos_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == PORT_RTC ? ~0u : 0;
}
static void cmos_out(uint32_t port, uint32_t size, uint32_t value)
{
    (void)port, (void)size, (void)value;
}

/* Keyboard controller without a keyboard, and system control port A. Systems ask them whether the
   controller is ready (it is) and whether A20 is on (it is), and for a reset, which the chipset's
   port CF9h (reset control) gives too. */
static uint32_t legacy_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == PORT_KEYBOARD ? 0 : FAST_A20;
}
static void legacy_out(uint32_t port, uint32_t size, uint32_t value)
{
    if (size == 1 && (port == PORT_KEYBOARD ? value == KEYBOARD_RESET : value & FAST_RESET))
        vm_end(REASON_REBOOT, 0, 0, 0);
}

static uint32_t chipset_in(uint32_t port, uint32_t size)
{
    return port == PORT_RESET_CONTROL && size == 1 ? 0 : pci_in(port, size);
}
static void chipset_out(uint32_t port, uint32_t size, uint32_t value)
{
    if (port == PORT_RESET_CONTROL && size == 1 && value & RESET_CPU)
        vm_end(REASON_REBOOT, 0, 0, 0);
    else
        pci_out(port, size, value);
}

/* ACPI's registers: sleep and reset. */
static uint32_t acpi_in(uint32_t port, uint32_t size)
{
    (void)size;
    return port == PORT_STATUS ? STATUS_WAKE : 0;
}
static void acpi_out(uint32_t port, uint32_t size, uint32_t value)
{
    (void)size;
    if (port == PORT_SLEEP && value == SLEEP_S5)
        vm_end(REASON_POWEROFF, 0, 0, 0);
    else if (port == PORT_RESET && value == RESET_NOW)
        vm_end(REASON_REBOOT, 0, 0, 0);
}

static uint32_t mode_in(uint32_t port, uint32_t size)
{
    (void)port, (void)size;
    return dedicated();
}

/* PORT_MODE: the guest says that it needs no VMM any more. Root takes the VMM away, if the plan
 * says so. */
static void mode_out(uint32_t port, uint32_t size, uint32_t value)
{
    (void)port;
    if (size != 1 || value != 1 || !dedicated())
        return;
    msix_sync();
    __atomic_store_n(&control()->leave, 1, __ATOMIC_RELEASE);
    bell_ring(VMM_SM_ROOT);
}

static const struct device {
    uint32_t (*in)(uint32_t port, uint32_t size);
    void (*out)(uint32_t port, uint32_t size, uint32_t value);
} uart = {uart_in, uart_out}, pci = {chipset_in, chipset_out}, acpi = {acpi_in, acpi_out},
  timers = {cmos_in, cmos_out}, legacy = {legacy_in, legacy_out}, mode = {mode_in, mode_out};

/* The fixed device at `port`. NULL: none; a virtio device may have its BAR0 there. */
static inline const struct device *find(uint32_t port)
{
    switch (flatpc_device(port)) {
    case FLATPC_TIMERS: return &timers;
    case FLATPC_LEGACY: return &legacy;
    case FLATPC_UART: return &uart;
    case FLATPC_ACPI: return &acpi;
    case FLATPC_MODE: return &mode;
    case FLATPC_CHIPSET: return &pci;
    default: return NULL;
    }
}

void devices_lock(uint32_t self) { lock_take(&lock, self); }
void devices_unlock(void) { lock_give(&lock); }
uint32_t devices_holder(void) { return lock.holder; }

static void count_unclaimed(void)
{
    __atomic_fetch_add(&control()->unclaimed_ports, 1, __ATOMIC_RELAXED);
}

/* Read from the fixed device `d`, or if that is NULL from the virtio device in `slot`, under its
 * lock. */
static uint32_t ask(uint32_t self, const struct device *d, uint32_t slot, uint32_t port,
                    uint32_t size)
{
    struct lock *l = d ? &lock : virtio_lock(slot);
    lock_take(l, self);
    uint32_t value = d ? d->in(port, size) : virtio_in(slot, port % PCI_PORTS, size);
    lock_give(l);
    virtio_poll(self);
    return value;
}

static void __attribute__((noinline)) tell(uint32_t self, const struct device *d, uint32_t slot,
                                           uint32_t port, uint32_t size, uint32_t value)
{
    struct lock *l = d ? &lock : virtio_lock(slot);
    lock_take(l, self);
    if (d)
        d->out(port, size, value);
    else
        virtio_out(slot, port % PCI_PORTS, size, value);
    lock_give(l);
    virtio_poll(self);
}

uint32_t devices_in(uint32_t self, uint32_t port, uint32_t size)
{
    const struct device *d = find(port);
    uint32_t slot = d ? 0 : pci_slot_at(port);
    if (d || slot)
        return ask(self, d, slot, port, size);
    count_unclaimed();
    return ~0u;
}

void devices_out(uint32_t self, uint32_t port, uint32_t size, uint32_t value)
{
    const struct device *d = find(port);
    uint32_t slot = d ? 0 : pci_slot_at(port);
    if (port == config()->plan.exit_port && port)
        vm_end(REASON_EXIT_PORT, value, 0, 0);
    else if (d || slot)
        tell(self, d, slot, port, size, value);
    else
        count_unclaimed();
}
