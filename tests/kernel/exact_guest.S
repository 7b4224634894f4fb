/*
 * Guests of exact.c: 64-bit code, copied to guest-physical 1000h. Each waits for ARG, runs through
 * its instructions, with RFLAGS.TF if ARG is 2, and ends by END_PORT. Its #DB handler notes of each
 * trap where it came and DR6.
 */
#define DONE     0
#define ARG      4
#define TRAPS    8 /* so many */
#define RESULT   12
#define GATE     0x3010
#define TRAP     0x5000 /* of each: RIP, DR6, 32 bits each */
#define STACK    0x9000
#define END_PORT 0x61
#define HOLE     0x100000 /* no memory there */

    .section .rodata
    .code64

/* ends_NAME: where each instruction that may be stepped ends, from the guest's first byte. */
.macro guest name
    .balign 16
    .set first, .
    .globl guest_\name, ends_\name
guest_\name:
    lea 8f(%rip), %rax
    mov %ax, GATE
    movw $8, GATE + 2
    movw $0x8e00, GATE + 4
    shr $16, %eax
    mov %ax, GATE + 6
    movl $2, DONE
1:  cmpl $0, ARG
    je 1b
    xor %esi, %esi
    cmpl $2, ARG
    jne 2f
    pushfq
    orl $0x100, (%rsp)
    popfq
2:  .subsection 1
ends_\name:
    .long 2b - guest_\name
    .subsection 0
    .set base, guest_\name
.endm

.macro step text:vararg
    \text
3:  .subsection 1
    .long 3b - base
    .subsection 0
.endm

/* An exit. If it ends elsewhere, there is no INC. */
.macro exits text:vararg
    step \text
    step inc %esi
.endm

.macro finish
    step nop
7:  mov %esi, RESULT
    movl $1, DONE
    out %al, $END_PORT
8:  push %rax
    push %rcx
    mov TRAPS, %ecx
    mov 16(%rsp), %rax
    mov %eax, TRAP(, %rcx, 8)
    mov %dr6, %rax
    mov %eax, TRAP + 4(, %rcx, 8)
    incl TRAPS
    mov $0xffff0ff0, %eax
    mov %rax, %dr6
    lea 7b(%rip), %rax
    cmp %rax, 16(%rsp)
    jne 9f
    andl $~0x100, 32(%rsp)
9:  pop %rcx
    pop %rax
    iretq
    .subsection 1
    .long 0
    .subsection 0
.endm

guest plain
    step nop
    exits cpuid
    step nop
    step nop
    step mov $0x1b, %ecx
    exits rdmsr
    exits wrmsr
    exits in $0x60, %al
    exits in $0x60, %ax
    exits in $0x60, %eax
    exits out %al, $0x60
    exits out %eax, $0x60
    step mov $0x60, %edx
    exits out %al, %dx
    exits in %dx, %al
    exits vmmcall
    finish

guest ports
    exits .byte 0x48, 0xe5, 0x60        /* REX.W IN */
    exits .byte 0x67, 0xe4, 0x60
    exits .byte 0x66, 0x66, 0xe5, 0x60
    exits .byte 0x2e, 0xe6, 0x60
    exits .byte 0xf2, 0x66, 0x40, 0xe7, 0x60
    finish

guest prefixed
    exits .byte 0x66, 0x0f, 0xa2        /* CPUID */
    exits .byte 0xf3, 0x48, 0x0f, 0xa2
    step mov $0x1b, %ecx
    exits .byte 0x48, 0x0f, 0x32        /* RDMSR */
    exits .byte 0x66, 0x2e, 0x0f, 0x32
    exits .byte 0x48, 0x0f, 0x30        /* WRMSR */
    exits .byte 0x67, 0x67, 0x0f, 0x30
    exits .byte 0x2e, 0x0f, 0x01, 0xd9  /* VMMCALL */
    exits .byte 0x67, 0x48, 0x0f, 0x01, 0xd9
    finish

/* With a core of its own these do not exit. */
guest sleeping
    exits hlt
    step xor %ecx, %ecx
    step xor %edx, %edx
    step mov $1, %eax
    exits xsetbv
    finish

guest sleeping_prefixed
    exits .byte 0xf3, 0xf4              /* HLT */
    exits .byte 0x66, 0x48, 0xf4
    step xor %ecx, %ecx
    step xor %edx, %edx
    step mov $1, %eax
    exits .byte 0x48, 0x0f, 0x01, 0xd1  /* XSETBV */
    exits .byte 0x2e, 0x0f, 0x01, 0xd1
    finish

/* No exits but those of the traps. */
guest ordinary
    step nop
    step inc %esi
    step mov %esi, %eax
    step push %rax
    step pop %rcx
    step nop
    finish

/* Exits that are no instruction's. */
guest nowhere
    step mov HOLE, %eax
    lidt TRAP
    step ud2
    finish

    .space 1024 /* so much is copied of each */
    .section .note.GNU-stack,"",@progbits
