/*
 * Works, and tells how far it got: `progress COUNT TICKS` after each EVERY
 * ticks, COUNT being turns of its loop. What is typed to it comes back as
 * `key K`; `v` makes a hypercall first, `q` ends it.
 */
#include <guest/bare/bare.h>

#define EVERY (1ull << 27) /* TSC ticks */
#define POLL  (1ull << 24)
#define COM1  0x3f8
#define READY 1 /* line status: a byte was received */

static void hypercall(void)
{
    uint64_t rax = 0;
    __asm__ volatile("vmmcall" : "+a"(rax) : : "memory");
}

static void take_key(void)
{
    if (!(in8(COM1 + 5) & READY))
        return;
    char key = (char)in8(COM1);
    if (key == 'v')
        hypercall();
    guest_print("key %c\n", key);
    if (key == 'q')
        guest_exit(0);
}

void guest_main(void)
{
    uint64_t start = rdtsc(), told = start, polled = start, now;
    guest_print("victim: at work\n");
    for (uint64_t count = 0;; count++) {
        now = rdtsc();
        if (now - polled > POLL) {
            polled = now;
            take_key();
        }
        if (now - told > EVERY) {
            told = now;
            guest_print("progress %lu %lu\n", count, now - start);
        }
    }
}
