/*
 * The boot stub: what its files share. It runs once, on the first core, with
 * interrupts off, on page tables that map the first 4 GiB one to one and the
 * first GiB again at KERNEL_BASE. It fills in boot_info and is gone.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include <abi/boot.h>
#include <abi/call.h>

#define KERNEL_BASE 0xffffffff80000000ull /* as in kernel/link.ld */
#define AP_PAGE     0x8000ull             /* physical; where the other cores start: SIPI vector 8 */

#define MULTIBOOT1_MAGIC 0x2badb002u
#define MULTIBOOT2_MAGIC 0x36d76289u

extern struct boot_info boot_info;
extern const char image_start[], kernel_end[]; /* kernel/link.ld */
extern const char ap_start[], ap_end[];        /* boot/ap.S, physical addresses */

/* A physical address below 4 GiB, as a pointer. */
static inline const void *boot_at(uint64_t physical) { return (const void *)(uintptr_t)physical; }

/* COM1, 115200 baud, 8n1, polled. */
void boot_serial_init(void);
void boot_print(const char *string);
/* Print "hairline: ", then what is wrong, then what could help; stop this core for good. */
_Noreturn void boot_refuse(const char *wrong, const char *advice);

/* Switch bus mastering off in every PCI function; other command bits stay (PCI 3.0 6.2.2). */
void boot_pci_silence(void);

/* Refuse a processor that lacks what the kernel needs. */
void boot_processor_check(void);
/* The x2APIC ID of this core (APM3 CPUID Fn0000_000B). */
uint32_t boot_processor_id(void);

/* Read the loader's information at this physical address; calls the two functions below. */
void boot_multiboot1(uint32_t info);
void boot_multiboot2(uint32_t info);

/* One line of the firmware's memory map: bytes, as found; type 1 is RAM (ACPI 15). */
void boot_memory_add(uint64_t base, uint64_t size, uint32_t type);
/* Make boot_info.range of all lines: sorted, disjoint, page aligned. */
void boot_memory_finish(void);

/* One module: physical bytes [start, end); its name is the last word of `string`,
   which ends at a zero or after `limit` bytes. */
void boot_module_add(uint32_t start, uint32_t end, const char *string, uint32_t limit);
/* Check all modules against boot_info.range and find root's image among them. */
void boot_module_finish(void);

/* kernel/: takes over, with this stack and these page tables, and never returns. */
_Noreturn void kernel_main(struct boot_info *info);
_Noreturn void boot_main(uint32_t magic, uint32_t info);

#endif
