/*
 * late_slide(rdi = struct boot_cpu): this processor leaves its state there, and itself to Hairline. It goes on behind
 * `back`: as a guest, or, if Hairline did not want it, as what it was.
 *
 * late_switch(rdi = CR3, rsi = address): leave Linux's page tables, and what CR4 has of it.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

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
    ANNOTATE_RETPOLINE_SAFE
    jmp *%rsi
SYM_FUNC_END(late_switch)

/*
 * The way back (abi/boot.h, BOOT_LEAVE_AT). Its kernel lets this processor go with rdi = the stack as it is at VMMCALL, and
 * rsi = the VMCB, whose fields (APM2 appendix B) are the rest of its state; VMLOAD takes FS, GS, TR and LDTR, hidden parts and
 * all. If nobody lets it go, VMMCALL is an invalid opcode.
 */
#define ES 0x400
#define CS 0x410
#define SS 0x420
#define DS 0x430
#define GDTR 0x460
#define IDTR 0x480
#define LIMIT 4
#define BASE 8
#define EFER 0x4d0
#define CR4 0x548
#define CR3 0x550
#define CR0 0x558
#define DR7 0x560
#define DR6 0x568
#define GPAT 0x668
#define MSR_PAT 0x277
#define MSR_EFER 0xc0000080
#define MSR_HSAVE 0xc0010117
#define SVME 0x1000

SYM_FUNC_START(late_ask)
    pushfq
    .irp r, rbx, rbp, r12, r13, r14, r15
    push %\r
    .endr
    mov %rsp, %rdi
ask:
    vmmcall
refused:
    mov $1, %eax
asked:
    .irp r, r15, r14, r13, r12, rbp, rbx
    pop %\r
    .endr
    popfq
    RET
    _ASM_EXTABLE(ask, refused)
SYM_FUNC_END(late_ask)

SYM_FUNC_START(late_back)
    mov %rsi, %rax
    vmload %rax
    lea -16(%rdi), %rsp
    mov GDTR + LIMIT(%rsi), %eax
    mov %ax, 6(%rsp)
    mov GDTR + BASE(%rsi), %rax
    mov %rax, 8(%rsp)
    lgdt 6(%rsp)
    mov IDTR + LIMIT(%rsi), %eax
    mov %ax, 6(%rsp)
    mov IDTR + BASE(%rsi), %rax
    mov %rax, 8(%rsp)
    lidt 6(%rsp)
    mov ES(%rsi), %es
    mov DS(%rsi), %ds
    mov SS(%rsi), %ss
    movzwl CS(%rsi), %eax
    mov %rdi, %rsp
    push %rax
    lea 1f(%rip), %rax
    push %rax
    lretq
1:  mov $MSR_PAT, %ecx
    mov GPAT(%rsi), %eax
    mov GPAT + 4(%rsi), %edx
    wrmsr
    mov $MSR_HSAVE, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    mov DR6(%rsi), %rax
    mov %rax, %db6
    mov DR7(%rsi), %rax
    mov %rax, %db7
    mov EFER(%rsi), %ebx
    and $~SVME, %ebx
    mov CR3(%rsi), %rdi
    mov CR0(%rsi), %rax
    mov %rax, %cr0
    mov CR4(%rsi), %rax
    mov %rax, %cr4
    mov %rdi, %cr3
    stgi
    mov $MSR_EFER, %ecx
    mov %ebx, %eax
    xor %edx, %edx
    wrmsr
    xor %eax, %eax
    jmp asked
SYM_FUNC_END(late_back)
STACK_FRAME_NON_STANDARD late_back

    .section .note.GNU-stack, "", @progbits
