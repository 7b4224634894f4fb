/*
 * uefi_slide(rdi = struct boot_cpu): this processor leaves its state there, and itself to Hairline.
 * Later the guest goes on behind `back`, which therefore lies in the firmware's copy of the image:
 * the other copy is out of its reach.
 */
#define STATE_RIP 128 /* in struct boot_cpu: host.c */
#define STATE_RSP 152
#define FXSAVE 512

    .text
    .globl uefi_slide
    .hidden uefi_slide
uefi_slide:
    pushfq
    cli
    .irp r, rbx, rbp, r12, r13, r14, r15
    push %\r
    .endr
    mov %rsp, %rbp
    sub $FXSAVE, %rsp
    and $-16, %rsp
    fxsave64 (%rsp)
    push %rbp
    mov %rsp, STATE_RSP(%rdi)
    lea back(%rip), %rax
    mov %rax, STATE_RIP(%rdi)
    sub $8, %rsp
    call host_leave
    add $8, %rsp
back:
    pop %rbp
    fxrstor64 (%rsp)
    mov %rbp, %rsp
    .irp r, r15, r14, r13, r12, rbp, rbx
    pop %\r
    .endr
    popfq
    ret

    .section .note.GNU-stack, "", @progbits
