/*
 * A 16550 at 3F8h without an interrupt line, for early output: the guest polls.
 * "Transmitter empty" follows the space in the console ring.
 */
#include <vmm/devices.h>

enum uart_reg { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };

#define IER_RX    0x1u
#define IER_TX    0x2u
#define IIR_NONE  0x1u
#define IIR_TX    0x2u
#define IIR_RX    0x4u
#define IIR_FIFO  0xc0u
#define LCR_DLAB  0x80u
#define MCR_LOOP  0x10u
#define LSR_READY 0x1u
#define LSR_EMPTY 0x60u
#define MSR_ON    0xb0u /* carrier, data set ready, clear to send */

static uint8_t ier, fcr, lcr, mcr, scratch;
static uint8_t divisor[2] = {1, 0};

static uint32_t line_status(void) { return (console_space() ? LSR_EMPTY : 0) | (console_ready() ? LSR_READY : 0); }

static uint32_t interrupt_id(void)
{
    uint32_t fifo = fcr & 1 ? IIR_FIFO : 0;
    if (ier & IER_RX && console_ready())
        return fifo | IIR_RX;
    if (ier & IER_TX && console_space())
        return fifo | IIR_TX;
    return fifo | IIR_NONE;
}

/* In loop-back the modem's outputs come back as its inputs: DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD. */
static uint32_t modem_status(void)
{
    if (!(mcr & MCR_LOOP))
        return MSR_ON;
    return (mcr & 1u) << 5 | (mcr & 2u) << 3 | (mcr & 4u) << 4 | (mcr & 8u) << 4;
}

static uint32_t receive(void)
{
    char c = 0;
    console_read(&c, 1);
    return (uint8_t)c;
}

uint32_t uart_in(uint32_t port, uint32_t size)
{
    uint32_t reg = port & 7;
    if (size != 1)
        return ~0u;
    if (lcr & LCR_DLAB && reg <= UART_IER)
        return divisor[reg];
    switch (reg) {
    case UART_DATA:
        return receive();
    case UART_IER:
        return ier;
    case UART_IIR:
        return interrupt_id();
    case UART_LCR:
        return lcr;
    case UART_MCR:
        return mcr;
    case UART_LSR:
        return line_status();
    case UART_MSR:
        return modem_status();
    default:
        return scratch;
    }
}

void uart_out(uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t reg = port & 7;
    uint8_t byte = (uint8_t)value;
    if (size != 1)
        return;
    if (lcr & LCR_DLAB && reg <= UART_IER) {
        divisor[reg] = byte;
        return;
    }
    switch (reg) {
    case UART_DATA:
        if (!(mcr & MCR_LOOP))
            console_write((const char *)&byte, 1);
        break;
    case UART_IER:
        ier = byte & 0xf;
        break;
    case UART_IIR:
        fcr = byte;
        break;
    case UART_LCR:
        lcr = byte;
        break;
    case UART_MCR:
        mcr = byte & 0x1f;
        break;
    case UART_SCRATCH:
        scratch = byte;
        break;
    }
}
