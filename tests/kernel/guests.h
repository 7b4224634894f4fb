/*
 * Small guests with one vCPU each, and cores to run them on, for tests in
 * root's place. The test is the VMM: it says who answers a guest's exits.
 */
#ifndef KERNEL_GUESTS_H
#define KERNEL_GUESTS_H

#include "kit.h"

#define GUESTS        3u
#define GUEST_FRAMES  64u
#define GUEST_CODE    0x1000u
#define GUEST_EVENTS0 1u          /* the first portal slot of the guest's own table */
#define PATIENCE      20000000ull /* TSC ticks */

enum guest_slot {
    G_MEMORY = KIT_FREE,
    G_SPARE, /* RAM behind that of all guests, GUEST_SPARE frames */
    G_REST,
    G_PORTAL,
    G_NAP,
    G_GUEST,
    G_VCPU = G_GUEST + GUESTS,
    G_TIME = G_VCPU + GUESTS,
    G_FREE = G_TIME + GUESTS /* from here on each test's own */
};
#define GUEST_SPARE 200u

/* What a guest and the test share: its first page. */
struct shared {
    volatile uint32_t done, arg, rounds, result[13];
};

/* Answers event id & FFh of guest id >> 8, and ends with pt_reply(0). */
typedef void guest_vmm(uint64_t id, struct utcb *u);

bool guests_memory(void);          /* first */
bool guests_cores(uint32_t cores); /* start so many */
/* Guest `g` with code [code, code + 1 KiB) at GUEST_CODE. Its exits go to `vmm`, a handler in the
 * domain `pd`. */
bool guest_make(uint32_t g, const uint8_t *code, uint64_t pd, uint32_t core, guest_vmm *vmm,
                uint64_t mtd);
bool guest_end(uint32_t g);
struct shared *guest_shared(uint32_t g);
uint64_t guest_window(uint32_t g); /* where its memory is for the test */
const volatile struct vcpu_stat *guest_stat(uint32_t g);
uint64_t guest_exits(uint32_t g); /* of all causes */
/* A VMM that starts its guest, lets it halt until it is recalled, and ends it at everything else.
 */
void guest_plain_vmm(uint64_t id, struct utcb *u);
/* 32-bit protected mode without paging, flat, at GUEST_CODE. */
void guest_start_state(struct exit_state *x);
#define GUEST_START_MTD                                                                            \
    (uint64_t)(MTD_ACDB | MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER | MTD_INJECT)

void rest(uint64_t ticks); /* sleep */
bool wait_done(uint32_t g, uint32_t value);
bool becomes_set(const volatile uint64_t *word);
/* Prints the difference. */
bool is(const char *what, uint64_t got, uint64_t want);

#endif
