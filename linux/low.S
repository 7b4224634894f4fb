/*
 * What is copied to the page LOW of memory, below 1 MiB: where a processor that Linux gave up wakes in real mode (APM2
 * 15.27.8), and where the others leave 64-bit mode. Both ways lead to the kernel's entry for multiboot loaders:
 * 32-bit protected mode, flat, no paging, eax = magic, ebx = information; the magic is 0 on all but the first.
 */
#include <boot/uefi/long_mode.inc>

#define LOW 0x8000
#define AT(label) (LOW + (label - low_start))
#define CODE32 0x08
#define NO_CACHE 0x60000000 /* CR0: CD and NW, which INIT sets */
#define PAE 0x20
#define LEAVE 0x800
#define MAGIC 0x21494655 /* UEFI_MAGIC: boot/uefi/handover.h */

    .section .rodata
    .globl low_start, low_end, low_leave, low_values
    .balign 16
    .code16
low_start:
    cli
    cld
    lgdtl %cs:low_gdtr - low_start
    mov %cr0, %eax
    and $~NO_CACHE, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $AT(low_woken)

/* It waits to be called as the others do: image.c, image_leave(). */
    .code32
low_woken:
    mov $DATA32, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0xb, %eax /* edx: its x2APIC ID (APM3) */
    xor %ecx, %ecx
    cpuid
    mov %edx, %edi
    inc %edx
    mov AT(low_values) + 8, %esi
1:  pause
    cmp %edx, (%esi)
    jne 1b
    xor %eax, %eax
    cmp %edi, AT(low_values) + 12
    jne low_go
    mov $MAGIC, %eax
low_go:
    mov AT(low_values) + 4, %ebx
    mov AT(low_values), %ebp
    jmp *%ebp

/* On page tables that have this page one to one. */
    .code64
low_leave:
    lgdt AT(low_gdtr)
    ljmp *AT(low_far)
    .code32
low_left:
    leave_long_mode
    xor %eax, %eax
    jmp low_go

    .balign 8
low_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
low_gdtr:
    .word . - low_gdt - 1
    .long AT(low_gdt), 0
low_far:
    .long AT(low_left)
    .word CODE32
    .balign 8
low_values: /* enum low_value: linux/launch.h */
    .long 0, 0, 0, 0
low_tables:
    .quad 0
low_back:
    .quad 0

/* At BOOT_LEAVE_AT (abi/boot.h): back to Linux's half, late_back(). No NMI while there is neither's table of interrupts; and
   PGE off: what the processor knows of Hairline's addresses goes. */
    .skip LEAVE - (. - low_start)
    .code64
    clgi
    mov $PAE, %eax
    mov %rax, %cr4
    mov AT(low_tables), %rax
    mov %rax, %cr3
    mov AT(low_back), %rax
    jmp *%rax
low_end:

    .section .note.GNU-stack, "", @progbits
