/*
 * What a PC has and a guest may expect without asking: `test=NAME` on the
 * command line, with `leave=1` after the VMM of a dedicated guest has gone.
 * The exit port, or the power-off, tells 0; a wrong answer is told on the
 * console, where there still is one, and by 1 or a triple fault.
 */
#include "bare.h"

#include <abi/vm.h>

#define RESET_STATUS 0xfed803c0ull
#define CHIPSET_END  (GUEST_CHIPSET + GUEST_CHIPSET_PAGES * 4096ull)

static bool left;

/* Where there is no console any more, a reset without a word. */
static void expect(bool right, const char *what)
{
    static const uint8_t nowhere[10];
    if (right)
        return;
    if (left)
        __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
    guest_print("platform: FAIL %s\n", what);
    guest_exit(1);
}

/* As Linux does (since 6.16): why the last reset? Writing back what was read clears it. */
static void chipset(void)
{
    volatile uint32_t *status = (volatile uint32_t *)RESET_STATUS;
    for (uint64_t at = GUEST_CHIPSET; at < CHIPSET_END; at += 4)
        expect(*(volatile uint32_t *)at == 0, "a register of the chipset is not zero");
    *status = *status;
    expect(*status == 0, "the reset status is not clear");
}

static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"chipset", chipset},
};

void guest_main(void)
{
    char name[32] = "", leave[2];
    guest_option("test", name, sizeof(name));
    guest_apic_enable();
    if (guest_option("leave", leave, sizeof(leave))) {
        guest_leave();
        left = true;
    }
    for (uint32_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (guest_same(tests[i].name, name)) {
            tests[i].run();
            guest_exit(0);
        }
    expect(false, "no such test");
}
