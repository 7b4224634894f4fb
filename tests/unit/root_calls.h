/*
 * Included before every file of root's for test_quota: calls that make objects are counted, and the
 * memory that root maps is an array.
 */
#ifndef TESTS_ROOT_CALLS_H
#define TESTS_ROOT_CALLS_H

#include <lib/call.h>

extern uint8_t *fake_memory, *fake_stat;

uint64_t fake_pd(uint64_t dst, uint64_t payer, uint64_t objects);
uint64_t fake_map(uint64_t pd, uint64_t perm, uint64_t va, uint64_t frames);
uint64_t fake_unmap(uint64_t mr, uint64_t pd);
uint64_t fake_made(uint64_t payer); /* one more object that the PD in that slot pays */
struct result fake_ec(uint64_t dst, uint64_t pd);
uint64_t fake_sc(uint64_t ec, uint64_t priority);
static inline uint64_t fake_ok(uint64_t a, uint64_t b) { return (void)a, (void)b, OK; }

#define pd_create(dst, payer, sys, kind, flags, frames, objects, cores)                            \
    ((void)(sys), (void)(kind), (void)(flags), (void)(frames), (void)(cores),                      \
     fake_pd(dst, payer, objects))
#define ec_create(dst, pd, core, kind, utcb, events, entry, sp)                                    \
    ((void)(core), (void)(utcb), (void)(events), (void)(entry), (void)(sp), fake_ec(dst, pd))
#define sc_create(dst, sys, ec, priority, budget, period)                                          \
    ((void)(budget), (void)(period), fake_sc(ec, priority))
#define pt_create(dst, payer, ec, entry, mtd, id)                                                  \
    ((void)(ec), (void)(entry), (void)(mtd), (void)(id), fake_made(payer))
#define sm_create(dst, payer, count)    fake_made(payer)
#define mr_split(dst, payer, mr, frame) ((void)(mr), (void)(frame), fake_made(payer))
#define mr_map(mr, pd, perm, va, first, frames)                                                    \
    ((void)(mr), (void)(first), fake_map(pd, perm, va, frames))
#define dv_create(dst, pd, sys, rid, unit) ((void)(rid), (void)(unit), fake_made(pd))
#define delegate(src_pd, src, dst_pd, dst, rights)                                                 \
    ((void)(dst_pd), (void)(rights), fake_ok(src, dst))
#define revoke        fake_ok
#define mr_unmap      fake_unmap
#define mr_seal       fake_ok
#define destroy(slot) fake_ok(slot, 0)
#define sm_up(slot)   fake_ok(slot, 0)
#define sm_down       fake_ok

#include <root/slots.h> /* its functions call the fakes, too */
#undef ROOT_PHYS
#undef ROOT_STAT
#define ROOT_PHYS ((uintptr_t)fake_memory)
#define ROOT_STAT ((uintptr_t)fake_stat)

#endif
