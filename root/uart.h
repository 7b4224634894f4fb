/* COM1, a 16550 with its FIFO of 16, polled, and the queue of bytes on their way out. */
#ifndef ROOT_UART_H
#define ROOT_UART_H

#include <stdbool.h>
#include <stdint.h>

/* 115200 baud, 8n1, FIFOs on. */
void uart_init(void);
/* Queue `n` bytes; waits for the line while the queue is full. */
void uart_put(const char *bytes, uint32_t n);
/* Bytes that can be queued without waiting. */
uint32_t uart_space(void);
/* What root says at one time is shorter: who has something to say waits until there is so much space. */
#define UART_SAY 4096u
/* Send what the line takes until the queue is empty or the TSC reaches `until`. True: the queue is empty. */
bool uart_pump(uint64_t until);
/* Send all, to the last bit. */
void uart_finish(void);
/* The next byte that came in, or -1. */
int uart_get(void);

#endif
