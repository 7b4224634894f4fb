/*
 * The runtime of bare guests: entered by PVH or multiboot 1, 64-bit, memory
 * mapped one to one up to 4 GiB, interrupts off, one stack, polled COM1.
 * Works in a Hairline VM and on a bare machine alike.
 */
#ifndef GUEST_BARE_H
#define GUEST_BARE_H

#include "cpu.h"
#include <lib/hw/apic.h>

/* Registers of an exception or interrupt, as start.S saves them. */
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

enum guest_msr { APIC_BASE = 0x1b, TSC_DEADLINE = 0x6e0 };
#define APIC_BASE_X2APIC 0xc00u
#define APIC_ICR_INIT    0x4500u
#define APIC_ICR_STARTUP 0x4600u

/* Each guest program defines this; returning is guest_exit(0). */
void guest_main(void);

/* Called with interrupts off for vector 0..255. Unset: report and exit 255. */
extern void (*guest_handler[256])(struct frame *);

/* Let `entry` (assembly, ends in IRETQ) take `vector` itself. ist: 0 = the running stack, 1 = the
 * trap stack. */
void guest_gate(uint32_t vector, void (*entry)(void), uint32_t ist);
/* Take all exceptions and interrupts on the trap stack: survives any RSP. */
void guest_trap_stack(void);
/* Vector that ended the last TRY, or -1. */
int guest_trapped(void);

/* %s %u %x (32 bits), %lu %lx (64 bits), %c. */
void guest_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void guest_serial_reset(void);
/* Somebody has typed, and it was `key`. */
bool guest_key(char key);
bool guest_same(const char *a, const char *b);
/* The value of `key=value` on the command line, copied out; false if absent or longer than size
 * - 1. */
bool guest_option(const char *key, char *value, size_t size);
/* Write `value` to the exit port, else power off by ACPI. */
void __attribute__((noreturn)) guest_exit(uint32_t value);

void guest_apic_enable(void);
/* A handler: ends the interrupt, no more. */
void guest_eoi(struct frame *f);
/* leave.c: have the VMM of a dedicated guest leave; returns when it is gone, and COM1 with it. */
void guest_leave(void);
/* xorshift; seeded by seed=N on the command line. */
uint64_t guest_random(void);

/* start.S */
extern uint8_t guest_traps[256][16];
extern uint64_t guest_recover;
extern uint64_t guest_trap_slot;                 /* where a trap on the trap stack pushes SS */
extern uint8_t guest_ap_begin[], guest_ap_end[]; /* to be copied to guest_ap_base, below 1 MiB */
extern uint8_t guest_ap_base[];
void guest_ap_main(void);

#endif
