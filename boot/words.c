/* Words for whoever stands before the machine: on COM1, COM2, and the screen as far as it is below
 * 4 GiB. */
#include <cpu.h>
#include <panic.h>
#include <lib/screen.h>
#include "boot.h"

enum { LINE_STATUS = 5, SENT = 0x20, SCRATCH = 7, CMOS_INDEX = 0x70, CMOS_DATA = 0x71 };
#define POLLS     1000000u /* some seconds: what is not done then never will be */
#define FOUR_GIB  (1ull << 32)
#define READ_IN_S 10u

static struct screen screen;

/* Is a UART there? Its scratch register keeps what is written. */
static bool answers(uint16_t port)
{
    cpu_outb((uint16_t)(port + SCRATCH), 0x5a);
    return cpu_inb((uint16_t)(port + SCRATCH)) == 0x5a;
}

static void send(uint16_t port, const char *text)
{
    for (uint32_t polls = 0; *text && polls < POLLS; polls++) {
        if (!(cpu_inb((uint16_t)(port + LINE_STATUS)) & SENT))
            continue;
        cpu_outb(port, (uint8_t)*text++);
        polls = 0;
    }
}

void boot_set_screen(uint64_t base, uint32_t bits, uint32_t width, uint32_t height, uint32_t pitch)
{
    struct boot_screen s = {base, bits / 8, width, height, pitch};
    if ((bits == 24 || bits == 32) && pitch / s.bytes >= width)
        boot_info.screen = s;
}

static void show(const char *text)
{
    static const uint16_t port[] = {0x3f8, 0x2f8};
    const struct boot_screen *how = &boot_info.screen;
    for (unsigned i = 0; i < sizeof port / sizeof port[0]; i++)
        if (answers(port[i]))
            send(port[i], text);
    if (how->base == 0 || how->base + (uint64_t)how->pitch * how->height > FOUR_GIB)
        return;
    for (screen_open(&screen, (void *)how->base, how, true); *text;)
        text += screen_put(&screen, *text);
}

static uint8_t second(void)
{
    cpu_outb(CMOS_INDEX, 0);
    return cpu_inb(CMOS_DATA);
}

/* Ten changes of the RTC's seconds, or as long as a clock that stands still is polled. */
static void wait_for_reader(void)
{
    uint8_t before = second();
    for (uint32_t changes = 0, polls = 0; changes < READ_IN_S && polls < 10 * POLLS; polls++) {
        uint8_t now = second();
        if (now == before)
            continue;
        before = now;
        changes++;
        polls = 0;
    }
}

void boot_refuse(const char *sentence)
{
    cpu_outb(POST_PORT, POST_REFUSED);
    show(sentence);
    if (boot_info.flags & BOOT_BATCH)
        cpu_reset();
    for (;;)
        __asm__ volatile("cli; hlt");
}

void boot_last_words(const char *text)
{
    cpu_outb(POST_PORT, POST_PANIC);
    show(text);
    if (!(boot_info.flags & BOOT_BATCH))
        wait_for_reader();
    cpu_reset();
}
