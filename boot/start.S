/*
 * The way in for multiboot 1 and 2 loaders, and from 32-bit protected mode to
 * 64-bit mode for every core (APM2 14.6).
 *
 * start:        eax = loader's magic, ebx = physical address of its information
 * ap_protected: from ap.S, no registers
 *
 * The data segment registers keep what they had: 64-bit mode does not use it, and the
 * kernel loads its own.
 */
#define MULTIBOOT1 0x1badb002
#define MULTIBOOT1_FLAGS 3 /* page-aligned modules; memory map */
#define MULTIBOOT2 0xe85250d6
#define MULTIBOOT2_SIZE 56

#define CODE32 0x08
#define CODE64 0x10

#define CR0_VALUE 0x80010033 /* PG WP NE ET MP PE */
#define CR4_VALUE 0x20       /* PAE */
#define EFER 0xc0000080
#define EFER_VALUE 0x901 /* NXE LME SCE */
#define TABLE 3          /* present, writable */
#define LARGE_PAGE 0x83  /* present, writable, 2 MiB */

    .section .boot32, "awx"
    .code32
    .balign 8
    .long MULTIBOOT1, MULTIBOOT1_FLAGS, 0x100000000 - MULTIBOOT1 - MULTIBOOT1_FLAGS
    .balign 8
    .long MULTIBOOT2, 0, MULTIBOOT2_SIZE, 0x100000000 - MULTIBOOT2 - MULTIBOOT2_SIZE
    .word 6, 0 /* page-aligned modules */
    .long 8
    .word 5, 1 /* a screen, if there is one (3.1.10), of any size, with 32 bits a pixel */
    .long 20, 0, 0, 32, 0
    .word 0, 0 /* end of tags */
    .long 8

    .globl start
start:
    cli
    cld
    mov %eax, %edi
    mov %ebx, %ebp
    lgdt boot_gdtr
    mov $0x80000000, %eax
    cpuid
    mov $no_long_mode, %esi
    cmp $0x80000001, %eax
    jb refuse
    mov $0x80000001, %eax
    cpuid
    bt $29, %edx
    jnc refuse
    mov $no_nx, %esi
    bt $20, %edx
    jnc refuse

/* edi = magic, 0 on all cores but the first; ebp = information */
enter_long_mode:
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $CR4_VALUE, %eax
    mov %eax, %cr4
    mov $EFER, %ecx
    mov $EFER_VALUE, %eax
    xor %edx, %edx
    wrmsr
    mov $CR0_VALUE, %eax
    mov %eax, %cr0
    ljmp $CODE64, $long_mode

    .globl ap_protected
ap_protected:
    xor %edi, %edi
    jmp enter_long_mode

/* esi = sentence: polled to COM1, then stop. */
refuse:
    mov $0x3fd, %edx
    in %dx, %al
    test $0x20, %al
    jz refuse
    lodsb
    test %al, %al
    jz stop
    mov $0x3f8, %edx
    out %al, %dx
    jmp refuse
stop:
    cli
    hlt
    jmp stop

/* The link addresses of all C code are within reach of a direct branch: KERNEL_BASE is 2 GiB
   below 0. */
    .code64

long_mode:
    test %edi, %edi
    jz core_entry_ap
    mov $boot_stack_top, %rsp
    mov %ebp, %esi
    call boot_main

no_long_mode: .asciz "hairline: this processor has no long mode; use another machine\r\n"
no_nx: .ascii "hairline: this processor has no no-execute pages (NX); "
    .asciz "enable them in the firmware or use another machine\r\n"

    .balign 8
    .globl boot_gdt
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff
boot_gdtr:
    .word . - boot_gdt - 1
    .long boot_gdt

/* The first 4 GiB one to one, and its first GiB at KERNEL_BASE. All cores start on these tables. */
    .section .boot32.tables, "aw"
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt + TABLE
    .fill 510, 8, 0
    .quad boot_pdpt + TABLE
boot_pdpt:
    .quad boot_pd + TABLE, boot_pd + 0x1000 + TABLE
    .quad boot_pd + 0x2000 + TABLE, boot_pd + 0x3000 + TABLE
    .fill 506, 8, 0
    .quad boot_pd + TABLE, 0
boot_pd:
    .set megabytes, 0
    .rept 2048
    .quad (megabytes << 20) + LARGE_PAGE
    .set megabytes, megabytes + 2
    .endr

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .skip 16384
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
