/*
 * System-call stubs for user mode. Each returns the kernel's status, whole
 * (STATUS_CODE / STATUS_ARG take it apart), which the caller must look at or
 * ignore() by name; docs/abi.md explains the calls.
 */
#ifndef LIB_CALL_H
#define LIB_CALL_H

#include <abi/utcb.h>

/* The caller must use what the function returns: gcc warns, and a cast to void does not help. */
#define WARN_UNUSED __attribute__((warn_unused_result))

struct result {
    uint64_t status, value;
};

/* Drop a status that cannot matter: after a failure the caller goes on in the same way, and nothing
 * later needs the call to have succeeded. Each use says why that is so. */
static inline void ignore(uint64_t status) { (void)status; }

static inline WARN_UNUSED struct result call5(uint64_t call, uint64_t a1, uint64_t a2, uint64_t a3,
                                              uint64_t a4, uint64_t a5)
{
    struct result r;
    register uint64_t r10 __asm__("r10") = a4;
    register uint64_t r8 __asm__("r8") = a5;
    __asm__ volatile("syscall"
                     : "=a"(r.status), "=d"(r.value), "+D"(a1), "+S"(a2), "+r"(r10), "+r"(r8)
                     : "0"(call), "1"(a3)
                     : "rcx", "r9", "r11", "memory");
    return r;
}

static inline WARN_UNUSED uint64_t nop(void) { return call5(CALL_NOP, 0, 0, 0, 0, 0).status; }

/* Call `pt` with the first `words` words of the caller's UTCB. */
static inline WARN_UNUSED uint64_t pt_call(uint64_t pt, uint64_t words)
{
    return call5(CALL_PT_CALL, pt, words, 0, 0, 0).status;
}

/* Answer the caller (`words` for a plain call; the UTCB's mtd for an exit or fault) and wait. The
   handler starts anew at the portal's entry with an empty stack at the next call. */
static inline void __attribute__((noreturn)) pt_reply(uint64_t words)
{
    __asm__ volatile("syscall" : : "a"((uint64_t)CALL_PT_REPLY), "D"(words) : "memory");
    __builtin_unreachable();
}

static inline WARN_UNUSED uint64_t sm_up(uint64_t sm)
{
    return call5(CALL_SM_UP, sm, 0, 0, 0, 0).status;
}
static inline WARN_UNUSED uint64_t sm_down(uint64_t sm, uint64_t deadline)
{
    return call5(CALL_SM_DOWN, sm, deadline, 0, 0, 0).status;
}
static inline WARN_UNUSED uint64_t ec_recall(uint64_t ec)
{
    return call5(CALL_EC_RECALL, ec, 0, 0, 0, 0).status;
}

static inline WARN_UNUSED uint64_t pd_create(uint64_t dst, uint64_t payer, uint64_t sys,
                                             uint64_t kind, uint64_t flags, uint64_t frames,
                                             uint64_t objects, uint64_t cores)
{
    return call5(CALL_PD_CREATE, dst | payer << 16 | sys << 32, kind | flags << 8, frames, objects,
                 cores)
        .status;
}

/* `utcb`: page-aligned address in `pd`, not mapped yet (0 for a vCPU); `events`: first portal slot.
   A vCPU's value is its index in kernel_stat.vcpu. */
static inline WARN_UNUSED struct result ec_create(uint64_t dst, uint64_t pd, uint64_t core,
                                                  enum ec_kind kind, uint64_t utcb, uint64_t events,
                                                  uint64_t entry, uint64_t sp)
{
    return call5(CALL_EC_CREATE, dst | pd << 16 | core << 32 | (uint64_t)kind << 48, utcb, events,
                 entry, sp);
}

/* `budget`, `period` in TSC ticks; period 0: round robin with slices of `budget`. The EC starts at
 * once. */
static inline WARN_UNUSED uint64_t sc_create(uint64_t dst, uint64_t sys, uint64_t ec,
                                             uint64_t priority, uint64_t budget, uint64_t period)
{
    return call5(CALL_SC_CREATE, dst | sys << 16 | ec << 32, priority, budget, period, 0).status;
}

/* The handler enters at `entry` with rdi = `id`, rsi = its UTCB, rsp = the sp it was created with.
 */
static inline WARN_UNUSED uint64_t pt_create(uint64_t dst, uint64_t payer, uint64_t ec,
                                             uint64_t entry, uint64_t mtd, uint64_t id)
{
    return call5(CALL_PT_CREATE, dst | payer << 16 | ec << 32, entry, mtd, id, 0).status;
}

static inline WARN_UNUSED uint64_t sm_create(uint64_t dst, uint64_t payer, uint64_t count)
{
    return call5(CALL_SM_CREATE, dst | payer << 16, count, 0, 0, 0).status;
}

/* `mr` keeps frames [0, frame); the new region gets [frame, end). */
static inline WARN_UNUSED uint64_t mr_split(uint64_t dst, uint64_t payer, uint64_t mr,
                                            uint64_t frame)
{
    return call5(CALL_MR_SPLIT, dst | payer << 16 | mr << 32, frame, 0, 0, 0).status;
}

/* Map frames [first, first + frames) of `mr` at `va` of `pd`; perm: MR_READ | MR_WRITE | MR_EXEC.
 */
static inline WARN_UNUSED uint64_t mr_map(uint64_t mr, uint64_t pd, uint64_t perm, uint64_t va,
                                          uint64_t first, uint64_t frames)
{
    return call5(CALL_MR_MAP, mr | pd << 16 | perm << 32, va, first, frames, 0).status;
}
static inline WARN_UNUSED uint64_t mr_unmap(uint64_t mr, uint64_t pd)
{
    return call5(CALL_MR_UNMAP, mr | pd << 16, 0, 0, 0, 0).status;
}

static inline WARN_UNUSED uint64_t delegate(uint64_t src_pd, uint64_t src, uint64_t dst_pd,
                                            uint64_t dst, uint64_t rights)
{
    return call5(CALL_DELEGATE, src_pd | src << 16, dst_pd | dst << 16, rights, 0, 0).status;
}
static inline WARN_UNUSED uint64_t revoke(uint64_t pd, uint64_t slot)
{
    return call5(CALL_REVOKE, pd | slot << 16, 0, 0, 0, 0).status;
}
static inline WARN_UNUSED uint64_t destroy(uint64_t slot)
{
    return call5(CALL_DESTROY, slot, 0, 0, 0, 0).status;
}
static inline WARN_UNUSED uint64_t vcpu_cpuid(uint64_t vcpu)
{
    return call5(CALL_VCPU_CPUID, vcpu, 0, 0, 0, 0).status;
}
/* Take `mr` from all but the guest space of `pd`, for as long as `pd` lives. */
static inline WARN_UNUSED uint64_t mr_seal(uint64_t mr, uint64_t pd)
{
    return call5(CALL_MR_SEAL, mr | pd << 16, 0, 0, 0, 0).status;
}
/* Clean the next frames of a dirty region. AGAIN: more are left. */
static inline WARN_UNUSED uint64_t mr_scrub(uint64_t mr)
{
    return call5(CALL_MR_SCRUB, mr, 0, 0, 0, 0).status;
}
/* `after`: enum after. A guest that is quiet afterwards still ends by an access to a port in [port,
 * port + ports) or to port `too`. Of the installed system docs/abi.md 4a says what they are. */
static inline WARN_UNUSED uint64_t disengage(uint64_t pd, uint64_t after, uint64_t port,
                                             uint64_t ports, uint64_t too)
{
    return call5(CALL_DISENGAGE, pd, after | port << 16 | ports << 32 | too << 48, 0, 0, 0).status;
}

/* `mr`: all of the IOMMU's registers and nothing else, mapped nowhere; `buses`: PCI buses behind
 * it, from 0 on. */
static inline WARN_UNUSED struct result iommu_start(uint64_t sys, uint64_t mr, enum iommu_kind kind,
                                                    uint64_t buses)
{
    return call5(CALL_IOMMU_START, sys | mr << 16, kind, buses, 0, 0);
}
/* The oldest fault of the unit: requester ID << 48 | (address >> 12) << 8 | reason. BAD_ARG: there
 * is none. */
static inline WARN_UNUSED struct result iommu_fault(uint64_t sys, uint64_t unit)
{
    return call5(CALL_IOMMU_FAULT, sys, unit, 0, 0, 0);
}
static inline WARN_UNUSED uint64_t dv_create(uint64_t dst, uint64_t pd, uint64_t sys, uint64_t rid,
                                             uint64_t unit)
{
    return call5(CALL_DV_CREATE, dst | pd << 16 | sys << 32, rid | unit << 16, 0, 0, 0).status;
}
/* Interrupt `index` (0..DV_IRQS - 1) of the function goes to `vector` (32..255) of the core of
 * `vcpu`; `vcpu` 0: nowhere. The value: what the message must carry. */
static inline WARN_UNUSED struct result dv_irq(uint64_t dv, uint64_t vcpu, uint64_t index,
                                               uint64_t vector)
{
    return call5(CALL_DV_IRQ, dv | vcpu << 16, index | vector << 16, 0, 0, 0);
}

/* The core with that local APIC ID begins to start; it is online later (core_stat.online). */
static inline WARN_UNUSED uint64_t core_start(uint64_t sys, uint64_t apic_id)
{
    return call5(CALL_CORE_START, sys, apic_id, 0, 0, 0).status;
}

/* The time-stamp counter, ticks. */
static inline uint64_t tsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

#endif
