/*
 * A 16550 at 3F8h without an interrupt line, for early output: the guest polls.
 * "Transmitter empty" follows the space in the console ring.
 *
 * A driver has the receive interrupt enabled while programs write; the kernel
 * disables it while it prints its messages, to which nobody answers.
 */
#include <vmm/platform/devices.h>

enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };

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

/* What is kept of a write to each register; at UART_IIR that is the FIFO control. */
static const uint8_t kept[8] = {[UART_IER] = 0x0f,
                                [UART_IIR] = 0xff,
                                [UART_LCR] = 0xff,
                                [UART_MCR] = 0x1f,
                                [UART_SCRATCH] = 0xff};
static uint8_t regs[8];
static uint8_t divisor[2] = {1, 0};

static bool has_input(void) { return console_hears(CONSOLE_UART) && console_ready(); }
static uint32_t line_status(void)
{
    return (console_has_room() ? LSR_EMPTY : 0) | (has_input() ? LSR_READY : 0);
}

static uint32_t interrupt_id(void)
{
    uint32_t fifo = regs[UART_IIR] & 1 ? IIR_FIFO : 0;
    if (regs[UART_IER] & IER_RX && has_input())
        return fifo | IIR_RX;
    if (regs[UART_IER] & IER_TX && console_has_room())
        return fifo | IIR_TX;
    return fifo | IIR_NONE;
}

/* Modem status. In loop-back its inputs are its outputs: DSR, CTS, RI, DCD are DTR, RTS, OUT1,
 * OUT2. */
static uint32_t modem_status(void)
{
    uint32_t mcr = regs[UART_MCR];
    if (!(mcr & MCR_LOOP))
        return MSR_ON;
    return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4;
}

static uint32_t receive(void)
{
    char c = 0;
    if (console_hears(CONSOLE_UART))
        console_read(&c, 1);
    return (uint8_t)c;
}

static void transmit(char c)
{
    console_write(&c, 1);
    if (regs[UART_IER] & IER_RX)
        console_wrote(CONSOLE_UART, c);
}

uint32_t uart_in(uint32_t port, uint32_t size)
{
    uint32_t reg = port & 7;
    if (size != 1)
        return ~0u;
    if (regs[UART_LCR] & LCR_DLAB && reg <= UART_IER)
        return divisor[reg];
    switch (reg) {
    case UART_DATA: return receive();
    case UART_IIR: return interrupt_id();
    case UART_LSR: return line_status();
    case UART_MSR: return modem_status();
    default: return regs[reg];
    }
}

void uart_out(uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t reg = port & 7;
    uint8_t byte = (uint8_t)value;
    if (size != 1)
        return;
    if (regs[UART_LCR] & LCR_DLAB && reg <= UART_IER)
        divisor[reg] = byte;
    else if (reg != UART_DATA)
        regs[reg] = byte & kept[reg];
    else if (!(regs[UART_MCR] & MCR_LOOP))
        transmit((char)byte);
}
