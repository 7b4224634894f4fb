/*
 * The boot stub: what its files share. It runs once, on the first core, with
 * interrupts off, on page tables that map the first 4 GiB one to one and the
 * first GiB again at KERNEL_BASE. It fills in boot_info and is gone.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include <abi/boot.h>
#include <config.h>
#include <stdbool.h>

extern struct boot_info boot_info;
extern uint8_t core_ap_page; /* number of the trampoline's physical page: 1..159 */
extern const char image_start[], kernel_end[]; /* kernel/link.ld */
extern const char ap_start[], ap_end[];        /* boot/ap.S */

/* One line of the firmware's memory map, as both loaders give it: bytes; type 1 is RAM (ACPI 15).
 */
enum { TYPE_RAM = 1, TYPE_OTHER = 2 };
struct memory_line {
    uint64_t base, size;
    uint32_t type;
} __attribute__((packed));

/* A physical address below 4 GiB, as a pointer. */
static inline const void *boot_at(uint64_t physical) { return (const void *)physical; }

/* What is wrong and what could help, for boot_refuse. */
#define SENTENCE(wrong, advice) "hairline: " wrong "; " advice "\r\n"

/* Show a sentence (boot/words.c), and stop this core for good; under BOOT_BATCH reset the machine.
 */
_Noreturn void boot_refuse(const char *sentence);

/* The screen is there: `bits` of a pixel, the other sizes as in struct boot_screen. One that cannot
 * be used is left out. */
void boot_set_screen(uint64_t base, uint32_t bits, uint32_t width, uint32_t height, uint32_t pitch);

/* Switch bus mastering off in every PCI function but the chipset's own; other command bits stay
   (PCI 3.0 6.2.2). */
void boot_pci_silence(void);

/* Refuse a processor that lacks what the kernel needs. */
void boot_processor_check(void);

/* Read the loader's information at this physical address; they call boot_memory_add and
 * boot_module_add. */
void boot_multiboot1(uint32_t info);
void boot_multiboot2(uint32_t info);
void boot_uefi(uint32_t info);

/* Collect the memory map, in any order; then, with all modules known, choose core_ap_page and
   make boot_info.range of the map: sorted, disjoint, page aligned. Refuses a map in which the
   kernel's own place is not RAM. */
void boot_memory_add(const struct memory_line *line);
void boot_memory_finish(void);

/* Collect the modules, physical bytes [start, end); the name is the last word of `string`, which
   ends at a zero or after `limit` bytes. Then check them against boot_info.range and find root's
   image. */
void boot_module_add(uint32_t start, uint32_t end, const char *string, uint32_t limit);
void boot_module_finish(void);

_Noreturn void boot_main(uint32_t magic, uint32_t info);
/* kernel/: takes over, with this stack and these page tables, and never returns. */
_Noreturn void kernel_main(struct boot_info *info);

#endif
