/*
 * The storm: domains with threads on all cores make random calls with nearly
 * all rights, and die at random moments. storm.c is the janitor that makes and
 * ends them and looks at what is left; storm_acts.c is what they do.
 */
#ifndef KERNEL_STORM_H
#define KERNEL_STORM_H

#include "kit.h"

#define STORM_DOMAINS 4u
#define STORM_THREADS 2u  /* of a domain */
#define STORM_FRAMES  64u /* of a domain's region, which its guests have as memory */

/* Slots of a domain's table. Its threads make and lose what is in those from STORM_FREE on. */
enum storm_slot {
    STORM_PD = 1, /* itself */
    STORM_SYS,    /* all but ports and IOMMUs' start */
    STORM_MR,
    STORM_ANY,  /* a portal in the making */
    STORM_PEER, /* + domain: each other's */
    STORM_FREE = 10,
    STORM_END = 60,
    STORM_FAULT = 200, /* empty: a thread that faults ends */
};

/* What a guest finds at 0; its code is at STORM_CODE. */
struct storm_shared {
    volatile uint32_t done, arg, rounds, result[6];
};
enum {
    STORM_CODE = 0x1000,
    STORM_IDT = 0x3000,
    STORM_GDT = 0x3800,
    STORM_STUBS = 0x4000,
    STORM_STACK = 0x8000
};

struct storm {
    uint64_t seed, epochs, cores, nap; /* nap: TSC ticks between two deaths, at most */
    uint32_t device;                   /* a function that domains assign, PCI_NONE: there is none */
    volatile uint64_t calls, events, runs; /* made, seen, vCPUs that got time */
};
extern struct storm storm;

/* xorshift64 */
static inline uint64_t storm_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Where a domain's threads begin. */
void storm_thread(void);

#endif
