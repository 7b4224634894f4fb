/* Root's own capability slots and addresses (after those of enum root_slot). */
#ifndef ROOT_SLOTS_H
#define ROOT_SLOTS_H

#include <abi/boot.h>
#include <abi/call.h>
#include <abi/vm.h>
#include <lib/call.h>

enum slot {
    SLOT_BELL = 40, /* rung by every VMM and by root's fault handlers        */
    SLOT_SLEEP,     /* never rung: root sleeps on it                         */
    SLOT_SCRATCH,   /* empty between two steps                               */
    SLOT_SCRATCH_TIME,
    SLOT_LAN = 44,     /* + 2 * LAN: its PD, its bell                           */
    SLOT_HANDLER = 52, /* fault handlers, up to SLOT_REGION                  */
    SLOT_REGION = 132, /* pieces of RAM, up to SLOT_VM                       */
    SLOT_VM = 256,     /* + VM_SLOTS * VM + enum vm_slot                     */
};

#define VM_SLOTS 16u
enum vm_slot { VM_VMM, VM_GUEST, VM_BELL, VM_VCPU = 8 /* + vCPU */ };

_Static_assert(SLOT_ROOT_MR + BOOT_RANGES <= SLOT_BELL &&
                   SLOT_LAN + 2 * PLAN_LANS <= SLOT_HANDLER && SLOT_HANDLER < SLOT_REGION &&
                   SLOT_REGION < SLOT_VM && SLOT_VM + VM_SLOTS * PLAN_VMS <= CAP_SLOTS &&
                   VM_BELL < VM_VCPU && VM_VCPU + PLAN_VCPUS <= VM_SLOTS,
               "each slot is one thing's");

#define ROOT_STAT     0x10010000ull /* struct kernel_stat, read-only           */
#define ROOT_HUTCB(i) (0x10100000ull + 0x1000ull * (i)) /* fault handler's UTCB */
#define ROOT_PHYS     0x100000000000ull /* + physical address: what root maps of RAM */

/* Empty one of the SLOT_SCRATCH slots. It fails only where the slot is empty, and then the call
 * that was to fill it has failed before, and its status is known. */
static inline void slot_empty(uint64_t slot) { ignore(revoke(SLOT_ROOT_PD, slot)); }

#define MEBI2 0x200000ull
#define GIBI  0x40000000ull

static inline uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) & ~(to - 1);
}
static inline uint64_t pages(uint64_t bytes) { return round_up(bytes, PAGE_SIZE) >> PAGE_SHIFT; }

#endif
