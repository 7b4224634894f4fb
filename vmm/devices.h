/* The devices behind the port table, each called under its lock. `size` is 1, 2 or 4 bytes. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include <vmm/vmm.h>

uint32_t uart_in(uint32_t port, uint32_t size);
void uart_out(uint32_t port, uint32_t size, uint32_t value);
uint32_t pci_in(uint32_t port, uint32_t size);
void pci_out(uint32_t port, uint32_t size, uint32_t value);
uint32_t acpi_in(uint32_t port, uint32_t size);
void acpi_out(uint32_t port, uint32_t size, uint32_t value);

#endif
