/* Devices behind the port table, each called under the devices' lock. `port`: 0..FFFFh; `size`: 1,
 * 2 or 4 bytes; bits of `value` above it are zero. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include <vmm/vmm.h>

uint32_t uart_in(uint32_t port, uint32_t size);
void uart_out(uint32_t port, uint32_t size, uint32_t value);
uint32_t pci_in(uint32_t port, uint32_t size);
void pci_out(uint32_t port, uint32_t size, uint32_t value);

#endif
