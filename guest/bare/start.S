/*
 * Ways into a bare guest, and out of it into C.
 * PVH and multiboot 1 enter at `start`: 32-bit protected mode, flat segments,
 * paging off, eax = multiboot's magic or anything, ebx = start info.
 * Application processors enter at the copy of guest_ap_begin in real mode.
 */
#define CR0_ON      0x80010033 /* PG WP NE ET MP PE */
#define CR4_ON      0x220      /* PAE OSFXSR */
#define EFER        0xc0000080
#define EFER_LME_NXE_SCE 0x901
#define AP_BASE     0x8000

    .section .note.pvh, "a", @note
    .long 4, 8, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad start

    .text
    .code32
    .globl start
start:
    cli
    cld
    movl $stack_top, %esp
    movl %eax, %esi
    movl %ebx, %edi
    movl $page_dirs, %edx           /* four page directories: 4 GiB in 2 MiB pages */
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    orl $0x83, %eax
    movl %eax, (%edx, %ecx, 8)
    incl %ecx
    cmpl $2048, %ecx
    jb 1b
    movl $page_dirs + 3, %eax
    movl $page_pointers, %edx
1:  movl %eax, (%edx)
    addl $8, %edx
    addl $4096, %eax
    cmpl $page_pointers + 32, %edx
    jb 1b
    movl $page_pointers + 3, page_root
    lgdt gdt_pointer
    call long_mode
    ljmp $8, $start64

long_mode:                          /* clobbers eax ecx edx */
    movl $CR4_ON, %eax
    movl %eax, %cr4
    movl $page_root, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    movl $EFER_LME_NXE_SCE, %eax
    xorl %edx, %edx
    wrmsr
    movl $CR0_ON, %eax
    movl %eax, %cr0
    ret

    .code64
start64:
    movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl $stack_top, %esp
    movq $tss, %rax                 /* the TSS descriptor's base */
    movw %ax, gdt_tss + 2
    shrq $16, %rax
    movb %al, gdt_tss + 4
    movb %ah, gdt_tss + 7
    movl $24, %eax
    ltr %ax
    call guest_start                /* (edi: start info, esi: magic) */

    .weak guest_ap_main
guest_ap64:
    movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl $ap_stack_top, %esp
    lidt guest_idt
    call guest_ap_main              /* of the program, if it starts processors */

    .code32
guest_ap32:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $ap_stack_top, %esp
    call long_mode
    ljmp $8, $guest_ap64

    .code16
    .globl guest_ap_begin, guest_ap_end, guest_ap_base
    .set guest_ap_base, AP_BASE
guest_ap_begin:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AP_BASE + ap_gdt - guest_ap_begin
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $40, $guest_ap32
ap_gdt:
    .word gdt_end - gdt - 1
    .long gdt
guest_ap_end:

    .code64
    .balign 16
    .globl guest_traps
guest_traps:
    vector = 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
    .elseif (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp trap
    vector = vector + 1
    .endr

trap:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call guest_trap
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

    .data
    .balign 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00af9a000000ffff        /* 08: code, 64-bit */
    .quad 0x00cf92000000ffff        /* 10: data */
gdt_tss:
    .quad 0x0000890000000067, 0     /* 18: TSS */
    .quad 0x00cf9a000000ffff        /* 28: code, 32-bit */
    .quad 0x00cffa000000ffff        /* 30: code, 32-bit, ring 3 */
    .quad 0x00cff2000000ffff        /* 38: data, ring 3 */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
    .balign 8
tss:
    .long 0
    .quad trap_stack_top, 0, 0, 0   /* rsp0..rsp2, reserved */
    .quad trap_stack_top          /* ist1 */
    .fill 68, 1, 0
    .globl guest_recover
guest_recover:
    .quad 0

    .bss
    .balign 4096
page_root:
    .skip 4096
page_pointers:
    .skip 4096
page_dirs:
    .skip 4 * 4096
    .skip 16384
stack_top:
    .skip 8192
ap_stack_top:
    .skip 8192 - 8
    .globl guest_trap_slot          /* where a trap pushes SS */
guest_trap_slot:
    .skip 8
trap_stack_top:
    .section .note.GNU-stack, "", @progbits
