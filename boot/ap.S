/*
 * Where every other core wakes up in real mode (APM2 15.27.8, 14.1): copied to a page
 * below 640 KiB (boot/memory.c), at cs:0. Leads to core_entry_ap in 64-bit mode, on boot_pml4, with no stack.
 */
#include <kernel/offsets.inc> /* KERNEL_BASE: kernel/offsets.c */

#define CODE32 0x08
#define BOOT_GDT_LIMIT 23

    .section .boot32, "awx"
    .code16
    .globl ap_start, ap_end, config_kernel_base
    .set config_kernel_base, KERNEL_BASE
    .set ap_start, first + KERNEL_BASE
    .set ap_end, last + KERNEL_BASE
first:
    cli
    lgdtl %cs:gdtr - first
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $CODE32, $ap_protected
gdtr:
    .word BOOT_GDT_LIMIT
    .long boot_gdt
last:

    .section .note.GNU-stack, "", @progbits
