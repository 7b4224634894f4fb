/*
 * PCI for tests in root's place: configuration by ports, and the device that
 * they play with: QEMU's `edu`, which copies memory and sends messages as told.
 */
#ifndef KERNEL_PCI_H
#define KERNEL_PCI_H

#include "kit.h"

#define PCI_NONE 0xffffu

uint32_t pci_read(uint32_t rid, uint32_t reg);
void pci_write(uint32_t rid, uint32_t reg, uint32_t value);

/* The edu device's requester ID on bus 0, PCI_NONE: there is none. From now on it may master the
 * bus. */
uint32_t edu_find(void);
/* Physical address of its registers (256 pages); where they are mapped. */
uint64_t edu_registers(void);
void edu_open(uint64_t va);
/* It copies a page from bus address `from` into its own memory, or from there to `to`; returns when
 * it is through. */
void edu_read(uint64_t from);
void edu_write(uint64_t to);
/* Its messages are from now on `data` to `address`. */
void edu_message(uint64_t address, uint32_t data);
/* It sends one. */
void edu_interrupt(void);

#endif
