/* Included before every file of root's whose I/O ports are the test's. */
#ifndef TESTS_ROOT_PORTS_H
#define TESTS_ROOT_PORTS_H
#define ROOT_PORT_H

#include <stdint.h>

uint8_t port_in8(uint16_t port);
uint32_t port_in32(uint16_t port);
void port_out8(uint16_t port, uint8_t value);

#endif
