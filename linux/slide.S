/*
 * late_slide(rdi = struct boot_cpu): this processor leaves its state there, and itself to Hairline. It goes on behind
 * `back`: as a guest, or, if Hairline did not want it, as what it was.
 *
 * late_switch(rdi = CR3, rsi = address): leave Linux's page tables, and what CR4 has of it.
 */
#include <linux/linkage.h>

#define STATE_RIP 128 /* in struct boot_cpu: image.c */
#define STATE_RSP 152
#define PAE 0x20

SYM_FUNC_START(late_slide)
    pushfq
    .irp r, rbx, rbp, r12, r13, r14, r15
    push %\r
    .endr
    mov %rsp, STATE_RSP(%rdi)
    lea back(%rip), %rax
    mov %rax, STATE_RIP(%rdi)
    call image_leave
back:
    .irp r, r15, r14, r13, r12, rbp, rbx
    pop %\r
    .endr
    popfq
    RET
SYM_FUNC_END(late_slide)

/* PCIDE goes after CR3's low bits are 0, or the processor refuses to leave 64-bit mode (APM2 5.5.1). */
SYM_FUNC_START(late_switch)
    mov %rdi, %cr3
    mov $PAE, %eax
    mov %rax, %cr4
    jmp *%rsi
SYM_FUNC_END(late_switch)

    .section .note.GNU-stack, "", @progbits
