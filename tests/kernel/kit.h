/*
 * A test in root's place: it is the first and only user program. It prints to
 * COM1, makes domains that share its own image, and ends by resetting the
 * machine.
 */
#ifndef KERNEL_KIT_H
#define KERNEL_KIT_H

#include <stdbool.h>
#include <abi/boot.h>
#include <abi/image.h>
#include <lib/bell.h>

#define KIT_THREADS 12u

/* Slots of the root table that the kit itself uses; tests use those from KIT_FREE to KIT_EMPTY - 1.
 */
enum kit_slot {
    KIT_SCRATCH = 48,
    KIT_DONE,
    KIT_THREAD,
    KIT_TIME = KIT_THREAD + KIT_THREADS,
    KIT_FREE = KIT_TIME + KIT_THREADS,
    KIT_EMPTY = 400
};

/* Sums of the kernel's counters that must not change when nothing was made. */
struct kit_count {
    uint32_t frames, objects, tables;
};

extern const volatile struct kernel_stat *const kit_stat;

void kit_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line `ok NAME` or `FAIL NAME`. */
void kit_check(const char *name, bool ok);
struct kit_count kit_count(void);
bool kit_same(struct kit_count a, struct kit_count b);
/* The upper half of the biggest RAM range, from a 2 MiB boundary on, where nothing else lies,
   becomes the region in `slot`. Its address; 0: the kernel refused. */
uint64_t kit_region(uint64_t slot);
/* The range of the machine's memory that has `address`, and the root slot of its region; NULL: none
 * has. */
const struct boot_range *kit_range(uint64_t address, uint64_t *slot);
/* `frames` from `address` on become the region in slot `to`; what is behind them the one in `rest`.
 */
bool kit_cut(uint64_t address, uint64_t frames, uint64_t to, uint64_t rest);
/* Start the core that is to be `number`, which is its APIC ID. Is it online? */
bool kit_core(uint32_t number);
/* The same for a core that is there: on a busy host an emulated one may take its time. */
void kit_await_core(uint32_t number);
/* Start all cores of the machine that root would: APIC IDs 1, 2, ... until one does not come;
 * returns the number online. */
uint32_t kit_cores(void);
/* To tidy up behind a test, which may have made only a part: empty a slot of root's, and end what
 * is in it. What should have gone and is still there shows in the kit_count() after it. */
static inline void kit_empty(uint64_t slot) { ignore(revoke(SLOT_ROOT_PD, slot)); }
static inline void kit_destroy(uint64_t slot) { ignore(destroy(slot)); }
/* A host domain in `slot`, with this image mapped (data shared); false: the kernel refused.
 * `flags`: as of CALL_PD_CREATE. */
bool kit_domain(uint64_t slot, uint32_t frames, uint32_t objects);
bool kit_domain_with(uint64_t slot, uint64_t flags, uint32_t frames, uint32_t objects);
/* Handler `i` (0..KIT_THREADS - 1) of domain `pd` in slot KIT_THREAD + i, entered at portals'
 * entries. */
bool kit_handler(uint32_t i, uint64_t pd, uint32_t core);
/* The same as a thread that starts at `entry` with fault portal `events`, priority 0..31. */
bool kit_thread(uint32_t i, uint64_t pd, uint32_t core, void (*entry)(void), uint64_t events,
                uint32_t priority);
/* End thread or handler `i` and its time. */
void kit_end(uint32_t i);
/* UTCB of thread or handler `i`, as mapped in its own domain. */
struct utcb *kit_utcb(uint32_t i);
struct utcb *kit_own_utcb(void);
/* Run `work` on a thread of priority `priority` of root's domain and core 0, until it returns. */
void kit_run(void (*work)(void), uint32_t priority);
uint64_t kit_random(void);
/* The calling thread never runs again: a reply that nobody waits for. */
static inline void __attribute__((noreturn)) kit_park(void) { pt_reply(0); }
/* Tests define this. */
void kit_main(void);

static inline uint64_t address_of(const void *p) { return (uint64_t)(uintptr_t)p; }

#endif
