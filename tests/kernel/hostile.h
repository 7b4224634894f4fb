/*
 * The test of what a hostile VMM costs its neighbours: hostile_acts.c is what
 * it does, hostile.c makes it and its victims and measures.
 */
#ifndef KERNEL_HOSTILE_H
#define KERNEL_HOSTILE_H

#include "guests.h"

#define CORES      3u
#define OTHER_CORE 2u /* where nobody else is */

/* The attacker's table, filled as root fills a VMM's. It has a region besides: what comes of that
 * is the kernel's affair. */
enum hostile_slot {
    E_PD = 1,
    E_GUEST,
    E_ROOT_BELL,
    E_BELL,
    E_GO,
    E_HANDLER,
    E_VCPU,
    E_CALL,
    E_NAP,
    E_FAR,
    E_DV,
    E_REGION,
    E_NEW = 100,
    E_EMPTY = 200
};

/* Where an attack is tried, a bit each: attacker and victim share a core, or not; the attacker
   wakes its own worker, or reaches its own vCPU, on the victim's core; the victim has root's core;
   the attacker's domain is ended again and again. */
enum arena { SAME = 1, APART = 2, FAR_WAKE = 4, FAR_VCPU = 8, ROOTS = 16, ENDED = 32 };

struct attack {
    const char *name;
    void (*once)(void);
    uint64_t argument; /* ticks, rounds of work, a core, or calls */
    unsigned arenas;
    uint32_t calls; /* that it makes, a bit each */
};
extern const struct attack attacks[];
extern const uint32_t attack_count;
#define ATTACKS_MAX 64u

/* Of the attack under way: its argument, rounds until now, the last status that was not OK. */
extern volatile uint64_t argument, rounds, status;

/* Is there an attack by each call of the kernel's? Prints those that are missing. */
bool attacks_have_all_calls(void);

#endif
