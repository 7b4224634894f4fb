/* Included before every file of root's for the target pci: time is the target's, and calls are
 * watched. */
#ifndef FUZZ_PCI_HOOKS_H
#define FUZZ_PCI_HOOKS_H

#include "pci_names.h"
#include <lib/call.h>

#include <lib/hw/cpuid.h>

extern uint64_t fuzz_now;
struct cpuid fuzz_cpuid(uint32_t leaf, uint32_t subleaf);
#define cpu_cpuid fuzz_cpuid
void fuzz_reply(void) __attribute__((noreturn));
uint64_t fuzz_dv_create(uint64_t pd, uint64_t rid);
#define tsc()           (fuzz_now)
#define pt_reply(words) ((void)(words), fuzz_reply())
#define dv_create(dst, pd, sys, rid, unit)                                                         \
    ((void)(dst), (void)(sys), (void)(unit), fuzz_dv_create(pd, rid))
#define delegate(from, slot, to, at, right)                                                        \
    ((void)(from), (void)(slot), (void)(to), (void)(at), (void)(right), (uint64_t)OK)
#define revoke(pd, slot) ((void)(pd), (void)(slot), (uint64_t)OK)

#endif
