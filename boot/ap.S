/*
 * Where every other core wakes up in real mode (APM2 15.27.8, 14.1): copied to AP_PAGE, so
 * cs = AP_PAGE / 16, ip = 0. Leads to core_entry_ap in 64-bit mode, on boot_pml4, with no stack.
 */
#define CODE32 0x08
#define BOOT_GDT_LIMIT 23
#define KERNEL_BASE 0xffffffff80000000

    .section .boot32, "awx"
    .code16
    .globl ap_start, ap_end
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
