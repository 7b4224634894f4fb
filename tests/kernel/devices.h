/*
 * The parts of the test of devices: the guests, the device they have, and what
 * they share: memory of the test's own, seen by frame number.
 */
#ifndef KERNEL_DEVICES_H
#define KERNEL_DEVICES_H

#include "pci.h"

#include <lib/string.h>

enum slot {
    D_UNIT = KIT_FREE,
    D_REST,
    D_RAM,
    D_TAIL,
    D_WEAK,
    D_PORTAL,
    D_DV,
    D_OTHER_DV,
    D_NEW,
    D_GUEST,
    D_VCPU = D_GUEST + 4,
    D_SC = D_VCPU + 4
};

#define RAM_FRAMES 2048u
#define RAM        0x50000000ull /* where the test sees them */
#define EDU        0x60000000ull
#define EVENTS     16u

/* Frames of the test's region: a guest's own page (code), then shared out. */
enum frame {
    F_GUEST,
    F_SMALL = 4,
    F_READONLY,
    F_SECRET,
    F_BACKUP,
    F_CHECK,
    F_LARGE = 512,
    F_TAIL = RAM_FRAMES
};
/* Where guest 1 has them. */
#define AT_SMALL    0x200000ull
#define AT_READONLY 0x201000ull
#define AT_CHECK    0x202000ull
#define AT_TAIL     0x203000ull
#define AT_LARGE    0x400000ull
#define KERNEL_AT   0x1000000ull /* kernel/link.ld, LOAD_BASE */

/* In a guest's page: counters of vectors. */
enum {
    CODE = 0x400,
    COUNT_A = 0x600,
    COUNT_B = 0x602,
    COUNT_OTHER = 0x604,
    VECTOR_A = 0x50,
    VECTOR_B = 0x51
};

extern enum iommu_kind kind; /* the machine's */
extern uint32_t rid;         /* the device's   */

static inline uint8_t *at(uint32_t frame) { return (uint8_t *)(RAM + frame * (uint64_t)PAGE_SIZE); }

/* Not that status: says so. */
bool wrong(const char *what, uint64_t got, enum status status, unsigned arg);
/* Take all fault records: was there one of the device for `address`? */
bool has_fault(uint64_t address);

/* Guest `n` (1 or 2) on core `n`, with its page at 0: real mode that counts its interrupts. */
bool make_guest(uint32_t n);
void end_guest(uint32_t n);
/* One of its counters (COUNT_A..); NMIs that it was interrupted by. */
uint16_t guest_count(uint32_t n, uint32_t counter);
uint64_t guest_nmis(uint32_t n);

/* messages.c: what the device's messages reach. */
void messages_test(void);

#endif
