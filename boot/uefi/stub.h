/* What the files of the UEFI stub share. */
#ifndef BOOT_UEFI_STUB_H
#define BOOT_UEFI_STUB_H

#pragma GCC visibility push(hidden) /* or the compiler would find data by a table of addresses */
#include "efi.h"
#include "handover.h"

#define FOUR_GIB              (1ull << 32)
#define REFUSE(wrong, advice) stub_refuse("hairline: " wrong "; " advice "\r\n")

extern const struct efi_system *stub_system;
extern struct uefi_handover handover;

/* Show the sentence on the firmware's console, and stop; in host mode the firmware goes on, and
   starts what it starts without Hairline. */
_Noreturn void stub_refuse(const char *sentence);

/* In host mode: refuse a machine that it does not run on. Nothing has been taken of the firmware's
   by then, which goes on. */
void host_check(const struct uefi_host *host);
/* Hairline's memory of the firmware's, which this fills in; the map that the kernel
   gets, of that alone; and each module moved there. `kernel`: [place, place + size). */
void host_take_memory(const struct uefi_host *host, uint64_t kernel, uint64_t size);
/* All processors leave their state, and Hairline starts on the first that it keeps, at `entry`.
   Returns in the guest that the firmware is from then on. */
void host_slide(const struct uefi_host *host, uint64_t entry);

/* slide.S: leave this processor's state in `cpu`, and go on in host_leave(); returns in the guest,
   or in the firmware if host_leave() does. */
void uefi_slide(struct boot_cpu *cpu);
/* enter.S: to 32-bit protected mode at `entry`, with eax = magic, ebx = handover. */
_Noreturn void uefi_enter(uint64_t entry, const struct uefi_handover *handover, uint32_t magic);
void host_leave(struct boot_cpu *cpu);

void stub_copy(uint64_t to, const void *from, uint64_t size);
void stub_clear(uint64_t to, uint64_t size);
/* One more, for the kernel; there may be too many. */
void stub_add_module(uint64_t base, uint64_t size, const char name[sizeof handover.module->name]);

#endif
