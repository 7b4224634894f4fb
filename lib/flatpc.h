/*
 * The I/O ports of the flat PC, the platform that every VM is. One map: the VMM answers by it, and
 * who checks a plan refuses an exit port that is one of these.
 */
#ifndef LIB_FLATPC_H
#define LIB_FLATPC_H

#include <abi/vm.h>

/* Ports beside those of abi/vm.h. */
enum flatpc_port {
    PORT_KEYBOARD_DATA = 0x60,
    PORT_KEYBOARD = 0x64,       /* status and command of the keyboard's controller */
    PORT_RTC = 0x70,            /* the clock's index; its data is one further */
    PORT_FAST_A20 = 0x92,       /* system control port A */
    PORT_PCI_ADDRESS = 0xcf8,   /* PCI 3.0 3.2.2.3.2 */
    PORT_RESET_CONTROL = 0xcf9, /* the chipset's, by single bytes */
    PORT_PCI_DATA = 0xcfc,
    /* Where the virtio devices have their BAR0, until the guest moves it. */
    PORT_BARS = 0xc000,
    PORT_BARS_LAST = 0xcfff,
};
enum flatpc_device {
    FLATPC_NOBODY,
    FLATPC_TIMERS, /* the interval timer and the clock */
    FLATPC_LEGACY, /* the keyboard's controller and system control port A */
    FLATPC_UART,
    FLATPC_ACPI,
    FLATPC_MODE,
    FLATPC_CHIPSET, /* PCI configuration, reset control */
};

/* The device at I/O port `port`. BARs of virtio devices, which may be anywhere, do not count.
 * tests/system reads the numbers of the cases. */
static inline enum flatpc_device flatpc_device(uint32_t port)
{
    switch (port) {
    case 0x40 ... 0x43: return FLATPC_TIMERS;
    case 0x64: return FLATPC_LEGACY;
    case 0x70 ... 0x71: return FLATPC_TIMERS;
    case 0x92: return FLATPC_LEGACY;
    case 0x3f8 ... 0x3ff: return FLATPC_UART;
    case 0x600 ... 0x602: return FLATPC_ACPI;
    case 0x610: return FLATPC_MODE;
    case 0xcf8 ... 0xcff: return FLATPC_CHIPSET;
    default: return FLATPC_NOBODY;
    }
}

_Static_assert(PORT_SLEEP == 0x600 && PORT_RESET == 0x602 && PORT_MODE == 0x610 &&
                   PORT_KEYBOARD == 0x64 && PORT_RTC == 0x70 && PORT_FAST_A20 == 0x92 &&
                   PORT_PCI_ADDRESS == 0xcf8,
               "as above");

/* May no VM's exit port be there? At the keyboard's data port nothing answers, but systems write to
 * it. */
static inline bool flatpc_port_is_taken(uint32_t port)
{
    return flatpc_device(port) != FLATPC_NOBODY || port == PORT_KEYBOARD_DATA ||
           (port >= PORT_BARS && port <= PORT_BARS_LAST);
}

#endif
