/* Threads of one processor core (SMT). They share its caches and buffers, so what runs on one can
 * learn of what runs on the other. */
#ifndef ROOT_THREADS_H
#define ROOT_THREADS_H

#include <lib/hw/cpu.h>
#include <stdint.h>

/* How many of the lowest bits of APIC IDs tell the threads of one core apart, by CPUID: leaves 0
 * and Bh (SDM2; APM3 E.3.10), and 80000000h and 8000001Eh of AMD's processors that lack leaf Bh. */
uint32_t threads_bits(struct cpuid (*cpuid)(uint32_t leaf, uint32_t subleaf));

#endif
