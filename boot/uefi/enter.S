/*
 * uefi_enter(rdi = entry, rsi = handover, edx = magic): leave 64-bit mode (APM2 14.7) and jump to the kernel's
 * entry for multiboot loaders: 32-bit protected mode, flat, no paging, eax = magic, ebx =
 * information. All of this lies below 4 GiB (main.c). The kernel sets up its own 64-bit mode,
 * whatever firmware's was (5-level paging, for example).
 */
#define CODE32 0x08
#define DATA32 0x10
#define PG 0x80000000
#define EFER 0xc0000080
#define LME 0x100

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
    mov $DATA32, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %cr0, %eax
    and $~PG, %eax
    mov %eax, %cr0
    mov $EFER, %ecx
    rdmsr
    and $~LME, %eax
    wrmsr
    xor %eax, %eax
    mov %eax, %cr4
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
