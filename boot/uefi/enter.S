/*
 * uefi_enter(rdi = entry, rsi = handover, edx = magic): leave 64-bit mode and jump to the kernel's
 * entry for multiboot loaders: 32-bit protected mode, flat, no paging, eax = magic, ebx =
 * information. All of this lies below 4 GiB (main.c). The kernel sets up its own 64-bit mode,
 * whatever firmware's was (5-level paging, for example).
 */
#include <boot/uefi/long_mode.inc>

#define CODE32 0x08

    .text
    .globl uefi_enter
    .hidden uefi_enter
uefi_enter:
    cli
    cld
    lea gdt(%rip), %rax
    mov %rax, gdtr + 2(%rip)
    lgdt gdtr(%rip)
    mov %edi, %ebp
    mov %esi, %ebx
    mov %edx, %esi
    lea protected(%rip), %rax
    push $CODE32
    push %rax
    lretq

    .code32
protected:
    leave_long_mode
    mov %esi, %eax
    jmp *%ebp

    .data
    .balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word . - gdt - 1
    .quad 0

    .section .note.GNU-stack, "", @progbits
