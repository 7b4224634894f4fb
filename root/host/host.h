/*
 * The installed system (mode: host), which goes on as a guest on all processors but those that
 * Hairline keeps. It has no VMM, and no life as other VMs: it begins once, and its end is the
 * machine's.
 */
#ifndef ROOT_HOST_H
#define ROOT_HOST_H

#include <root/vm/vm.h>

/* What of a processor's state the installed system goes on with, and a stand-in for one begins. */
#define HOST_STATE                                                                                 \
    (MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_SYSCALL | MTD_EFER)

/* Are we beneath one? */
static inline bool host_is_there(void) { return machine.info->flags & BOOT_HOST; }

/* Did it run before Hairline did? It has read the firmware's tables then, has the IOMMUs, and gave
   up its other processors. */
static inline bool host_is_late(void) { return machine.info->flags & BOOT_LATE; }

/* It has the place of a VM behind the plan's, with a name, a control line (line.c) and a guest's
   domain, and is no VM else. */
static inline struct vm *host_vm(void) { return &machine.vm[machine.vms]; }

/* RAM of ours that it has: a page, hide.c; then its line, HOST_LINE bytes. With the VMs' memory it
   is taken. */
extern struct region host_pages;
uint64_t host_take(void) WARN_UNUSED;
/* The cores that Hairline keeps beside the first come; machine.cores counts them. */
uint64_t host_start_kept(void) WARN_UNUSED;
/* It goes on, as a guest: after all VMs have their memory, and before any runs. */
uint64_t host_start(void) WARN_UNUSED;
/* Nothing was started: a system that runs already goes on without us. */
void host_refuse(void);
/* Its end is the machine's. With `tell`, what it did until now is told now and then. The TSC at
   which to look again. */
uint64_t host_turn(uint64_t now, bool tell);
/* Its counters: a line on the console. */
void host_report(void);

/* line.c: the pages by which it commands VMs, behind physical `page`: those of host_pages, or of a
   system that runs already its own, and then `page` has its wish to leave. After its domain was
   made. No memory_read() after it: that would unmap all of their region. */
#define HOST_LINE (VM_CONTROL_PAGES * (uint64_t)PAGE_SIZE)
uint64_t line_open(uint64_t page) WARN_UNUSED;
/* Does a system that ran before us want its machine back? Then all VMs end, and what they had in
   memory; and when they have, it is let go. */
void line_turn(void);

/* ghost.c: a stand-in on core 0 for processor `i` of the installed system, which Hairline keeps: a
   vCPU of the guest in slot `pd`. */
uint64_t ghost_start(uint32_t i, const struct boot_cpu *cpu, uint64_t pd) WARN_UNUSED;

/* hide.c: the firmware's tables no longer name the processor with that APIC ID, but in its place
   page number `line` (0: it has no line); or such a table is none that a system would know.
   BAD_ARG: it is not there, or cannot be written. */
uint64_t hide_processor(uint32_t apic_id, uint32_t line) WARN_UNUSED;
uint64_t hide_table(enum acpi_known which) WARN_UNUSED;
/* An honest system is not offered suspend to RAM. What PM1 control is given to power the machine
   off: SLP_TYP and SLP_EN. BAD_ARG: the tables do not say that, or there is more than one register
   that the machine sleeps by. */
uint64_t hide_suspend(uint16_t *power_off) WARN_UNUSED;
/* The first of host_pages is in the place of AMD's registers that lead to PM1 control, too, for the
   guest in slot `pd`. Before other device memory is mapped. */
uint64_t hide_chipset(uint64_t pd) WARN_UNUSED;

#endif
