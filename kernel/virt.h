/*
 * What a vendor's virtualization provides, and all that the rest of the kernel knows of it: AMD's
 * in svm*.[chS] and vmcb.h, Intel's in vmx*.[chS] and vmcs.h. Of a vCPU, each function is called on
 * its own core, and with no lock, where nothing else is said.
 *
 * vcpu_exit.h and vcpu_state.h are compiled once for each vendor, with the accessors below, and
 * that vendor's world switch calls its own. So an exit that the kernel answers does not ask whose
 * processor this is. One that goes to a VMM asks twice: virt_store on the way there, virt_load on
 * the way back (pt.c).
 */
#ifndef KERNEL_VIRT_H
#define KERNEL_VIRT_H

#include <vcpu.h>

/* A vCPU's control block, of which nobody else knows what it is. */
struct control;

#define VENDOR(v)                                                                                  \
    void v##_init(void);                                                                           \
    void v##_core_init(struct core *c);                                                            \
    void v##_new(struct ec *ec);                                                                   \
    void v##_take_core(struct ec *ec);                                                             \
    void v##_disengage(struct ec *ec);                                                             \
    void v##_no_instruction(struct ec *ec);                                                        \
    void v##_current(struct ec *ec, bool is);                                                      \
    void v##_exit(struct ec *ec); /* from its world switch */                                      \
    bool v##_give_nmi(struct ec *ec);                                                              \
    void v##_start_at(struct ec *ec, uint8_t page);                                                \
    void v##_show(struct ec *ec, struct exit_state *x, uint64_t mtd);                              \
    uint64_t v##_take(struct ec *ec, const struct exit_state *x, uint64_t mtd);
VENDOR(svm)
VENDOR(vmx)
#undef VENDOR

/* Is it Intel's? Set once, by virt_init. Assembly does not read it: a vCPU's `way` names its world
   switch (enum way). */
extern bool virt_vmx;
/* Beneath the installed system since power-on, and not under one that ran already: an INIT that
   reaches a core becomes #SX, and is over; CPUID exits, for the system has yet to take an APIC mode
   (installed_row). */
extern bool virt_since_power_on;

/* ---- Once, and once for each core ---- */
void virt_init(void); /* what all guests share; boot core */
static inline void virt_core_init(struct core *c)
{
    virt_vmx ? vmx_core_init(c) : svm_core_init(c);
}

/* ---- A vCPU's life ---- */
/* Its control block, a frame of zeros: everything exits that a guest shares with others. Graph
   lock. */
static inline void virt_new(struct ec *ec) { virt_vmx ? vmx_new(ec) : svm_new(ec); }
/* Its core is its own: interrupts, HLT, XSETBV and the local APIC are the guest's, but for what
   the vendor's table keeps. Before it first runs. Graph lock. */
static inline void virt_take_core(struct ec *ec)
{
    virt_vmx ? vmx_take_core(ec) : svm_take_core(ec);
}
/* Its VMM leaves: what the processor can answer exits no more. */
static inline void virt_disengage(struct ec *ec)
{
    virt_vmx ? vmx_disengage(ec) : svm_disengage(ec);
}
/* It is to be the one that this core enters next, and no translation of another guest's is left; or
   it is not that any more. */
static inline void virt_current(struct ec *ec, bool is)
{
    virt_vmx ? vmx_current(ec, is) : svm_current(ec, is);
}
/* What exited has nothing to do with the event that comes now. */
static inline void virt_no_instruction(struct ec *ec)
{
    virt_vmx ? vmx_no_instruction(ec) : svm_no_instruction(ec);
}
/* An NMI at the next entry. False: NMIs are blocked; with ec->nmi_kept set HAZARD_NMI comes when
   they are no more. */
static inline bool virt_give_nmi(struct ec *ec)
{
    return virt_vmx ? vmx_give_nmi(ec) : svm_give_nmi(ec);
}

/* CS:IP is page << 8 : 0, as a start-up IPI has it; nothing waits to be delivered. */
static inline void virt_start_at(struct ec *ec, uint8_t page)
{
    virt_vmx ? vmx_start_at(ec, page) : svm_start_at(ec, page);
}

/* Copy the groups of `mtd` out of and into the vCPU. The latter says what of `mtd` is still to be
 * done. */
static inline void virt_store(struct ec *ec, struct exit_state *to, uint64_t mtd)
{
    virt_vmx ? vmx_show(ec, to, mtd) : svm_show(ec, to, mtd);
}
static inline uint64_t virt_load(struct ec *ec, const struct exit_state *from, uint64_t mtd)
{
    return virt_vmx ? vmx_take(ec, from, mtd) : svm_take(ec, from, mtd);
}

/*
 * ---- Accessors: svm.h or vmx.h has each of them ----
 *
 *   guest_control      its control block, which most of the others take
 *
 * An exit, in the order of use:
 *   guest_left         first: the last entry's orders are done; what the exit kept from being
 *                      delivered is delivered again
 *   guest_wrote_msr    is it a WRMSR, of whatever MSR?
 *   guest_event        what it means: enum event, or a cause that the kernel sees to
 *   guest_info         what it says, of an event
 *   guest_skip         the instruction is done: the guest goes on behind it. If it steps, the trap
 *                      comes
 *   guest_record       who and where, for the record: all end_ fields but end_event and end_info
 *
 * State:
 *   guest_rax
 *   guest_cr4          CR4
 *   guest_efer         as the guest has it
 *   guest_write_efer   keeps LMA, which is the processor's
 *   guest_start_at     CS:IP is page << 8 : 0, as a start-up IPI has it
 *   guest_is_kernel    the installed system's privilege level is 0
 *   guest_inject       at the next entry, `event` as exit_state.inject
 *   guest_store        the groups of `mtd`, to its VMM
 *   guest_load         and from it; returns mtd
 */

#endif
