#include <root/port.h>
#include <root/uart.h>
#include <lib/call.h>

#define QUEUE 16384u /* a power of two */
#define FIFO  16u

enum com1 { DATA = 0x3f8, INTERRUPTS, FIFO_CONTROL, LINE_CONTROL, MODEM_CONTROL, LINE_STATUS };
enum line_status { RECEIVED = 0x01, SENT = 0x20, IDLE = 0x40 };

static char queue[QUEUE];
static uint32_t head, tail; /* free-running */

void uart_init(void)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } setup[] = {
        {INTERRUPTS, 0},      /* polled             */
        {LINE_CONTROL, 0x80}, /* divisor: 115200    */
        {DATA, 1},
        {INTERRUPTS, 0},
        {LINE_CONTROL, 3},  /* 8n1                */
        {FIFO_CONTROL, 7},  /* FIFOs on and empty */
        {MODEM_CONTROL, 3}, /* DTR, RTS           */
    };
    for (uint32_t i = 0; i < sizeof(setup) / sizeof(setup[0]); i++)
        port_out8(setup[i].port, setup[i].value);
}

uint32_t uart_space(void) { return QUEUE - (head - tail); }

void uart_put(const char *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (uart_space() == 0)
            uart_pump(~0ull);
        queue[head++ % QUEUE] = bytes[i];
    }
}

bool uart_pump(uint64_t until)
{
    while (head != tail && tsc() < until)
        if (port_in8(LINE_STATUS) & SENT)
            for (uint32_t i = 0; i < FIFO && head != tail; i++)
                port_out8(DATA, (uint8_t)queue[tail++ % QUEUE]);
    return head == tail;
}

void uart_finish(void)
{
    uart_pump(~0ull);
    while (!(port_in8(LINE_STATUS) & IDLE))
        ;
}

int uart_get(void) { return port_in8(LINE_STATUS) & RECEIVED ? port_in8(DATA) : -1; }
