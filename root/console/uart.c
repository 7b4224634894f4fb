#include <root/console/uart.h>
#include <root/hardware/port.h>
#include <root/memory.h>
#include <lib/call.h>
#include <lib/screen.h>

#define QUEUE 16384u /* bytes, a power of two */
#define FIFO  16u
/* For a UART that sends nothing, as a management controller's may while that restarts. TSC ticks:
   some 20 s, more than all of the queue takes at 9,600 baud. */
#define PATIENCE (1ull << 36)

enum reg { DATA, INTERRUPTS, FIFO_CONTROL, LINE_CONTROL, MODEM_CONTROL, LINE_STATUS, SCRATCH = 7 };
enum line_status { RECEIVED = 0x01, SENT = 0x20, IDLE = 0x40 };
enum line_control { BITS_8N1 = 0x03, SHOW_DIVISOR = 0x80 };

static const struct serial com1 = {.base = 0x3f8, .stride = 1, .divisor = 1};
static struct serial uart;
static volatile uint8_t *uart_registers; /* NULL: it has I/O ports */
static bool here, stuck; /* stuck: waited for in vain; what is said is lost until it sends again */
static struct screen screen;
static char queue[QUEUE];
static uint32_t head, tail; /* free-running */

static uint8_t uart_read(enum reg reg)
{
    volatile uint8_t *at = uart_registers + reg * uart.stride;
    if (!uart_registers)
        return port_in8((uint16_t)(uart.base + reg));
    return uart.stride == 4 ? (uint8_t) * (volatile uint32_t *)(volatile void *)at : *at;
}

static void uart_write(enum reg reg, uint8_t value)
{
    volatile uint8_t *at = uart_registers + reg * uart.stride;
    if (!uart_registers)
        port_out8((uint16_t)(uart.base + reg), value);
    else if (uart.stride == 4)
        *(volatile uint32_t *)(volatile void *)at = value;
    else
        *at = value;
}

/* Does the scratch register keep what is written? Where there is no UART all reads are ones. */
static bool answers(void)
{
    uart_write(SCRATCH, 0x5a);
    bool kept = uart_read(SCRATCH) == 0x5a;
    uart_write(SCRATCH, 0xa5);
    return kept && uart_read(SCRATCH) == 0xa5;
}

/* Registers in memory are root's for good: no VM gets a device that has them. */
static bool reach(const struct serial *at)
{
    uart = *at;
    uart_registers =
        at->memory ? memory_open_device(at->base, 8ull * at->stride, MR_READ | MR_WRITE) : 0;
    return (at->memory ? uart_registers != 0 : at->base != 0) && answers();
}

static void set_up(void)
{
    uart_write(INTERRUPTS, 0); /* polled */
    if (uart.divisor) {
        uart_write(LINE_CONTROL, SHOW_DIVISOR);
        uart_write(DATA, (uint8_t)uart.divisor);
        uart_write(INTERRUPTS, (uint8_t)(uart.divisor >> 8));
    }
    uart_write(LINE_CONTROL, BITS_8N1);
    uart_write(FIFO_CONTROL, 7);  /* FIFOs on and empty */
    uart_write(MODEM_CONTROL, 3); /* DTR, RTS           */
}

/* The screen is root's for good, like registers in memory: no VM gets a device that has it. */
static void open_screen(const struct boot_screen *how)
{
    uint64_t size = (uint64_t)how->pitch * how->height;
    void *at = how->base ? memory_open_device(how->base, size, MR_READ | MR_WRITE) : 0;
    if (at)
        screen_open(&screen, at, how, false);
}

void uart_init(const struct serial *named, const struct boot_screen *how)
{
    here = reach(named) || (!named->only && reach(&com1));
    if (here)
        set_up();
    open_screen(how);
}

uint32_t uart_space(void) { return QUEUE - (head - tail); }

void uart_put(const char *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (uart_space() == 0 && !stuck)
            uart_pump(tsc() + PATIENCE);
        stuck = uart_space() == 0;
        if (!stuck)
            queue[head++ % QUEUE] = bytes[i];
    }
}

/* What the UART's FIFO takes, as far as the screen is done with it. */
static void uart_send(void)
{
    for (uint32_t i = 0; i < FIFO && head != tail; i++) {
        char c = queue[tail % QUEUE];
        if (!screen_put(&screen, c))
            return;
        tail++;
        if (here)
            uart_write(DATA, (uint8_t)c);
    }
}

bool uart_pump(uint64_t until)
{
    if (!here && !screen.at)
        tail = head;
    while (head != tail && tsc() < until)
        if (!here || uart_read(LINE_STATUS) & SENT)
            uart_send();
    return head == tail;
}

void uart_finish(void)
{
    uart_pump(tsc() + PATIENCE);
    for (uint64_t until = tsc() + PATIENCE; here && tsc() < until;)
        if (uart_read(LINE_STATUS) & IDLE)
            return;
}

int uart_get(void) { return here && uart_read(LINE_STATUS) & RECEIVED ? uart_read(DATA) : -1; }
