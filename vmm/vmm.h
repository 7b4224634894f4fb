/*
 * The VMM of one VM: what its files share. One handler thread for each vCPU
 * runs that vCPU's exits; one worker thread waits for the LAN and the console.
 *
 * Locks: `struct vcpu` belongs to its own handler, except `irr` and `request`,
 * which anybody may post into with atomic operations (apic_post). PCI, UART and
 * the other ports are under one lock (devices_lock), each virtio device is under
 * one of its own (virtio.h), and the console's rings are (console.c). They nest
 * in this order: devices or a virtio device, then the rings.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <abi/vm.h>
#include <lib/bell.h>
#include <lib/flatpc.h>
#include <stdbool.h>
#include <stddef.h>

#define PCI_SLOTS 16u /* of bus 0 for devices; slot 0 is the host bridge */
#define PCI_PORTS 0x100u
#define PCI_IO(slot)                                                                               \
    ((uint32_t)PORT_BARS + PCI_PORTS * (slot)) /* BAR0, PCI_PORTS ports, at first */
#define PCI_MEM(slot)                                                                              \
    ((uint32_t)GUEST_MSIX + 0x1000u * (slot)) /* BAR1, a page of RAM, at first   */
_Static_assert(PCI_IO(PCI_SLOTS) == PORT_BARS_LAST + 1, "no exit port is in a BAR0");
/* Slots of virtio devices; assigned functions are from GUEST_DEVICE_SLOT on. */
enum { SLOT_CONSOLE = 1, SLOT_NET, SLOT_DISK /* + disk */, SLOT_STORE = SLOT_DISK + PLAN_DISKS };
/* And behind those. */
enum { SLOT_CONTROL = GUEST_DEVICE_SLOT + PLAN_DEVICES, SLOT_INPUT, SLOT_RNG };
_Static_assert(SLOT_STORE < GUEST_DEVICE_SLOT, "each slot is one device's");
_Static_assert(SLOT_RNG < PCI_SLOTS, "and is there");
_Static_assert(PCI_SLOTS <= VMM_MSIX_PAGES, "with a page for its MSI-X table");
_Static_assert(PCI_SLOTS <= DEVICE_MSIX_PAGE(PLAN_DEVICES - 1),
               "which is not that of a device of the VM's own");
#define NO_VCPU 0xffffffffu

/* Root writes the configuration before the VMM starts; it never changes. */
static inline const struct vm_config *config(void) { return (const struct vm_config *)VMM_CONFIG; }
static inline bool dedicated(void) { return config()->plan.mode == MODE_DEDICATED; }
static inline bool has_virtual(void) { return plan_has_virtual(&config()->plan); }
static inline struct vm_control *control(void) { return (struct vm_control *)VMM_CONTROL; }

/* The VMM's view of guest-physical [gpa, gpa + size), bytes; NULL unless all of it is RAM. */
static inline void *guest_memory(uint64_t gpa, uint64_t size)
{
    uint64_t ram = config()->plan.sealed && !config()->load ? 0 : config()->plan.memory;
    uint64_t end = gpa < GUEST_HIGH ? guest_low(ram) : guest_end(ram);
    return size <= end && gpa <= end - size ? (void *)(VMM_RAM + gpa) : NULL;
}

/* ---- devices.c: the port table; the lock ---------------------------------- */
/* `self`, here and below: the vCPU whose handler calls, NO_VCPU from the worker. A handler does not
 * recall its own vCPU. */
void devices_lock(uint32_t self);
void devices_unlock(void);

/* `size` 1, 2 or 4; bits of `value` above it are zero. */
uint32_t devices_in(uint32_t self, uint32_t port, uint32_t size);
void devices_out(uint32_t self, uint32_t port, uint32_t size, uint32_t value);
uint32_t devices_holder(void); /* the `self` of who holds the lock of PCI */

/* What the worker does next. */
enum work {
    WORK_NONE,  /* sleep until the bell rings */
    WORK_LATER, /* or look again, soon        */
    WORK_MORE,  /* go on                      */
};

/* ---- pci.c: configuration space (PCI 3.0 3.2.2.3.2, 6.1); pci_add under the devices' lock ---- */
/* Put a function at 00:slot.0, slot 1..15. BAR0 has PCI_PORTS ports, BAR1 a page. */
void pci_add(uint32_t slot, const uint8_t bytes[256]);
uint32_t pci_slot_at(uint32_t port);  /* whose BAR0 has this port; 0: nobody's */
uint32_t pci_memory(uint32_t slot);   /* where the guest has put its BAR1 */
bool pci_msix_enabled(uint32_t slot); /* MSI-X message control bit 15 (PCI 3.0 6.8.2.3) */
bool pci_msix_masked(uint32_t slot);  /* bit 14: the whole function is masked */

/* ---- pci_assigned.c: PCI functions of the VM's own; under the lock --------------------- */
void pci_assigned_init(void); /* put them where the configuration says */

/* ---- msix.c: their MSI-X tables; under the lock -------------------------------- */
void msix_init(void); /* all entries masked, as after a reset */
void msix_sync(void); /* give the devices the entries that the guest changed since the last time */

/* ---- apic.c: message-signalled interrupts ----------------------------------- */
/* One message as a device would write it (SDM3 10.11): decode destination and vector, wake the
 * target but for `self`. */
void apic_send_msi(uint32_t address, uint32_t data, uint32_t self);

/* ---- virtio.c: devices of the plan -------------------------------------------- */
void virtio_init(void); /* register all with pci_add */
/* The bell rang: frames from the LAN, console input, a press of the power button. One step, until
   about `limit` (TSC); WORK_LATER: a masked MSI-X entry holds a message back, or a volume's server
   has not answered. */
enum work virtio_work(uint64_t limit);
void virtio_poll(uint32_t self); /* a device was just touched: look again at masked MSI-X entries */
struct lock *virtio_lock(uint32_t slot); /* of the device there */
/* Access to BAR0 of `slot` at byte `offset` 0..255, `size` 1, 2 or 4; under the device's lock. */
uint32_t virtio_in(uint32_t slot, uint32_t offset, uint32_t size);
void virtio_out(uint32_t slot, uint32_t offset, uint32_t size, uint32_t value);

/* ---- console.c: two byte rings each of the console and the control line ------- */
/* Append as many bytes as fit and ring root's bell if it may sleep. Bytes taken, 0..size. */
uint32_t console_write(const char *data, uint32_t size);
/* Would console_write take all of a UART's FIFO? So much a driver writes after one look (16550A).
 */
bool console_has_room(void);
uint32_t console_read(char *data, uint32_t size); /* returns bytes read, 0..size */
bool console_ready(void);                         /* input is waiting */
/* The same of the control line, which has one device. */
uint32_t console_ask(const char *data, uint32_t size);
uint32_t console_answer(char *data, uint32_t size);
bool console_answered(void); /* an answer is waiting */
/* UART and virtio console share the console. Input is for one of them: the one at whose prompt the
 * user is. */
enum console_device { CONSOLE_UART, CONSOLE_VIRTIO, CONSOLE_NOBODY };
/* The guest wrote by `device`, and `last` was the last byte: if that ends no line, it is a prompt.
 */
void console_wrote(enum console_device device, char last);
/* Does input go to `device`? */
bool console_hears(enum console_device device);

/* ---- acpi.c --------------------------------------------------------------------- */
void acpi_build(void); /* tables at ACPI_RSDP, reset code at FFFF0h */
#define ACPI_RSDP 0xe0000u

/* ---- load.c ----------------------------------------------------------------------------- */
extern struct vm_boot boot;
const char *
load_guest(void); /* fills RAM and `boot`; NULL or what is wrong with the kernel image */

/* ---- vm_end.c ------------------------------------------------------------------------------- */
void vm_end(enum vm_reason reason, uint64_t value, uint64_t rip,
            uint64_t cr3);                         /* the first call counts */
void vm_refuse(const char *what, const char *why); /* the same, before the first instruction:
                                                      REASON_LOADER */
bool vm_ended(void);

#endif
