/* Root's own capability slots and addresses (after those of enum root_slot). */
#ifndef ROOT_SLOTS_H
#define ROOT_SLOTS_H

#include <abi/boot.h>
#include <abi/call.h>
#include <abi/vm.h>
#include <lib/call.h>

#define VM_SLOTS 3u
enum vm_slot { VM_VMM, VM_GUEST, VM_BELL };
/* A fault handler for root itself, and for each core that a VM's vCPUs or its worker, or a switch,
   is on. */
#define MAX_HANDLERS (1 + MAX_VCPUS + PLAN_VMS + PLAN_LANS)
/* Each piece of memory that is taken splits another in two, or three: a VM's RAM and its store, a
   switch's own, registers of devices. */
#define MAX_REGIONS (4 * PLAN_VMS + 2 * PLAN_LANS + 512)

enum slot {
    SLOT_BELL = SLOT_ROOT_MR + BOOT_RANGES, /* rung by every VMM and by root's fault handlers */
    SLOT_SLEEP,   /* never rung: root sleeps on it                         */
    SLOT_SCRATCH, /* empty between two steps                               */
    SLOT_SCRATCH_TIME,
    SLOT_LAN,                                  /* + 2 * LAN: its PD, its bell        */
    SLOT_HANDLER = SLOT_LAN + 2 * PLAN_LANS,   /* fault handlers, up to SLOT_REGION  */
    SLOT_REGION = SLOT_HANDLER + MAX_HANDLERS, /* pieces of RAM, up to SLOT_VM     */
    SLOT_VM = SLOT_REGION + MAX_REGIONS,       /* + VM_SLOTS * VM + enum vm_slot     */
    SLOT_VCPU = SLOT_VM + VM_SLOTS * PLAN_VMS, /* + vCPU of the machine            */
};
_Static_assert(SLOT_VCPU + MAX_VCPUS <= ROOT_SLOTS, "the table holds them");

#define ROOT_STAT     0x10010000ull /* struct kernel_stat, read-only           */
#define ROOT_HUTCB(i) (0x10100000ull + 0x1000ull * (i)) /* fault handler's UTCB */
#define ROOT_HOST     0x10800000ull                     /* struct boot_host */
/* Firmware's tables that are changed */
#define ROOT_TABLE_AT(which) (0x10a00000ull + 0x400000ull * (which))
#define ROOT_PHYS            0x100000000000ull /* + physical address: what root maps of RAM */

/* Empty one of the SLOT_SCRATCH slots. It fails only where the slot is empty, and then the call
 * that was to fill it has failed before, and its status is known. */
static inline void slot_empty(uint64_t slot) { ignore(revoke(SLOT_ROOT_PD, slot)); }
/* What was just made in SLOT_SCRATCH, with that status, becomes capability `to` of the PD in slot
 * `pd`, with `rights` and no others, and root drops its own. */
static inline WARN_UNUSED uint64_t slot_hand_over(uint64_t status, uint64_t pd, uint64_t to,
                                                  uint64_t rights)
{
    if (status == OK)
        status = delegate(SLOT_ROOT_PD, SLOT_SCRATCH, pd, to, rights);
    slot_empty(SLOT_SCRATCH);
    return status;
}

#define MEBI2 0x200000ull
#define GIBI  0x40000000ull

static inline uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) & ~(to - 1);
}
static inline uint64_t pages(uint64_t bytes) { return round_up(bytes, PAGE_SIZE) >> PAGE_SHIFT; }

#endif
