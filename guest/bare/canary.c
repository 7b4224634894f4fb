/*
 * The neighbour of attackers: fills its memory with a pattern, then looks
 * again and again whether it, and some registers, are as they were, and sleeps
 * a little in between. Any interrupt but its timer's, and any NMI or
 * exception, is one too many. What is wrong ends it by its
 * exit port; else it goes on until it is stopped, and each round makes a
 * VMMCALL, which the record of its end counts.
 *   fresh=1   first look whether another canary's pattern is in its memory: then it ends
 *   leave=1   have the VMM leave first: from then on it is silent
 */
#include "bare.h"

#define FIRST       0x200000ull
#define END         0x800000ull /* of memory: 8 MiB */
#define STEP        0x9e3779b97f4a7c15ull
#define LSTAR       0xc0000082u
#define LSTAR_VALUE 0x123456789abcull
#define DR0_VALUE   0x13579bdfull
#define TOLD        4u /* rounds from one line to the next */
#define TIMER       0x71u
#define REST        20000000u /* timer ticks */

/* Values of the exit port. */
enum wrong { WRONG_MEMORY = 1, WRONG_REGISTER, WRONG_STALE, WRONG_TRAP = 0x100 /* + vector */ };

static bool silent;

static void wrong(uint32_t what, uint64_t detail)
{
    if (!silent)
        guest_print("canary: wrong %x, %lx\n", what, detail);
    guest_exit(what);
}

static void on_trap(struct frame *f) { wrong(WRONG_TRAP + (uint32_t)f->vector, f->rip); }

static uint64_t pattern(uint64_t address) { return address * STEP ^ address >> 3; }

static void fill(void)
{
    for (uint64_t a = FIRST; a < END; a += sizeof(a))
        *(volatile uint64_t *)a = pattern(a);
    wrmsr(LSTAR, LSTAR_VALUE);
    __asm__ volatile("mov %0, %%dr0" : : "r"(DR0_VALUE));
}

static void look_for_another(void)
{
    for (uint64_t a = FIRST; a < END; a += sizeof(a))
        if (*(volatile uint64_t *)a == pattern(a))
            wrong(WRONG_STALE, a);
}

static void look(void)
{
    uint64_t dr0;
    for (uint64_t a = FIRST; a < END; a += sizeof(a))
        if (*(volatile uint64_t *)a != pattern(a))
            wrong(WRONG_MEMORY, a);
    __asm__ volatile("mov %%dr0, %0" : "=r"(dr0));
    if (rdmsr(LSTAR) != LSTAR_VALUE || dr0 != DR0_VALUE)
        wrong(WRONG_REGISTER, dr0);
}

static void count_round(void)
{
    uint64_t rax = 0;
    __asm__ volatile("vmmcall" : "+a"(rax) : : "memory");
}

static void rest(void)
{
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), REST);
    wait_interrupt();
}

void guest_main(void)
{
    char word[2];
    guest_trap_stack();
    guest_apic_enable();
    for (uint32_t v = 0; v < 256; v++)
        guest_handler[v] = v == TIMER ? guest_eoi : on_trap;
    if (guest_option("fresh", word, sizeof(word)))
        look_for_another();
    fill();
    guest_print("canary: at work\n");
    silent = guest_option("leave", word, sizeof(word));
    if (silent)
        guest_leave();
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), TIMER);
    for (uint32_t round = 1;; round++) {
        look();
        count_round();
        rest();
        if (!silent && round % TOLD == 0)
            guest_print("canary: round %u\n", round);
    }
}
