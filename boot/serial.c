#include "boot.h"
#include "port.h"

#define COM1           0x3f8
#define LINE_STATUS    (COM1 + 5)
#define TRANSMIT_EMPTY 0x20

struct setting {
    uint8_t offset, value;
};

/* 16550 registers, in the order they are written */
static const struct setting line_setup[] = {
    {1, 0x00},            /* no interrupts                     */
    {3, 0x80},            /* the next two are the divisor      */
    {0, 0x01},            /* 115200 baud                       */
    {1, 0x00}, {3, 0x03}, /* 8 bits, no parity, one stop bit   */
    {2, 0x07},            /* FIFOs on and empty                */
    {4, 0x03},            /* DTR and RTS                       */
};

void boot_serial_init(void)
{
    for (unsigned i = 0; i < sizeof line_setup / sizeof line_setup[0]; i++)
        outb((uint16_t)(COM1 + line_setup[i].offset), line_setup[i].value);
}

void boot_print(const char *string)
{
    for (; *string; string++) {
        while (!(inb(LINE_STATUS) & TRANSMIT_EMPTY))
            ;
        outb(COM1, (uint8_t)*string);
    }
}

void boot_refuse(const char *wrong, const char *advice)
{
    boot_print("hairline: ");
    boot_print(wrong);
    boot_print(advice);
    boot_print("\r\n");
    halt();
}
