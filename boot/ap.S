/*
 * Where every other core wakes up in real mode (APM2 15.27.8, 14.1): copied to AP_PAGE, so
 * cs = AP_PAGE / 16, ip = 0. Leads to core_entry_ap in 64-bit mode, on boot_pml4, with no stack.
 */
#define CODE32 0x08
#define BOOT_GDT_LIMIT 23

    .section .boot32, "awx"
    .code16
    .globl ap_start, ap_end
ap_start:
    cli
    lgdtl %cs:gdtr - ap_start
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $CODE32, $ap_protected
gdtr:
    .word BOOT_GDT_LIMIT
    .long boot_gdt
ap_end:

    .section .note.GNU-stack, "", @progbits
