/* The console's serial line, a 16550 with its FIFO of 16, polled, its screen, and the queue of
 * bytes on their way to both. */
#ifndef ROOT_UART_H
#define ROOT_UART_H

#include <root/hardware/acpi.h>
#include <abi/boot.h>
#include <stdbool.h>
#include <stdint.h>

/* Use the UART that firmware named (base 0: it named none); if it does not answer, COM1; if that
   does not either, none: then nothing comes in. 8n1, FIFOs on. And use the screen, if there is one.
   Without both what is queued is dropped. Once; until then bytes are only queued. Before anything
   in device memory is mapped. */
void uart_init(const struct serial *named, const struct boot_screen *screen);
/* Queue `n` bytes; waits for the line while the queue is full. */
void uart_put(const char *bytes, uint32_t n);
/* Bytes that can be queued without waiting. */
uint32_t uart_space(void);
/* Bytes. All that root says in one turn is shorter, so it asks for so much space before, and never
 * waits in the middle. */
#define UART_SAY 4096u
/* Send what the line takes until the queue is empty or the TSC reaches `until`. True: the queue is
 * empty. */
bool uart_pump(uint64_t until);
/* Send all, to the last bit. */
void uart_finish(void);
/* The next byte that came in, or -1. */
int uart_get(void);

#endif
