/*
 * The ways into the kernel and back: SYSCALL, interrupts and exceptions. The world
 * switch is the vendor's: svm_switch.S.
 *
 * Every entry saves the current EC's registers in the EC itself, takes this
 * core's one stack from its top, and calls C. C may make another EC current.
 * The way back (`resume`) starts from nothing but the current EC.
 * Interrupts are off in the kernel but for irq windows and the idle loop.
 */
/* Made from offsets.c: CORE_field, EC_field, EC_register, and constants by their name. */
#include <kernel/offsets.inc>
#include <kernel/entry.inc>

    .text
    .code64

/*
 * SYSCALL (APM2 6.1.1): rax = call, rcx = user rip, r11 = user rflags; IF, DF,
 * TF, AC, NT are cleared by SFMASK. If the caller itself goes on at once, rbx, rbp
 * and r12..r15 still hold its values: C preserves them.
 */
    .globl syscall_entry
syscall_entry:
    swapgs
    COME_IN
    cmp $CALL_PT_REPLY, %rax
    je reply_entry
    mov %rsp, %gs:CORE_scratch
    mov %gs:CORE_current, %rsp
    .irp r, rbx, rbp, r12, r13, r14, r15
    mov %\r, EC_\r(%rsp)
    .endr
    mov %rcx, EC_rip(%rsp)
    mov %r11, EC_rflags(%rsp)
    mov %gs:CORE_scratch, %rcx
    mov %rcx, EC_rsp(%rsp)
    movb $WAY_SYSRET, EC_way(%rsp)
    cmp $CALL_PD_CREATE, %rax
    jae graph_entry
    mov %rsp, %rcx
    mov %gs:CORE_stack_top, %rsp
    push %rcx
    mov %rax, %rdx
    call call_fast
    pop %rcx
    cmpw $0, %gs:CORE_attention
    jne keep_result
    cmp %rcx, %gs:CORE_current
    jne resume
    GO_OUT
    mov EC_rflags(%rcx), %r11
    mov EC_rsp(%rcx), %rsp
    mov EC_rip(%rcx), %rcx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    swapgs
    sysretq

/* Another EC may run first, so the status goes into the caller's saved rax. A caller that waits
   gets its status from whoever wakes it. */
keep_result:
    cmpb $STATE_READY, EC_state(%rcx)
    jne resume
    mov %rax, EC_rax(%rcx)
    jmp resume

/* Calls under the graph lock. call_graph() puts its results into the caller's saved registers. */
graph_entry:
    mov %gs:CORE_stack_top, %rsp
    mov %r10, %rcx
    mov %rax, %r9
    call call_graph

/* Go on with the current EC. The stack is empty. */
    .globl resume
resume:
    cmpw $0, %gs:CORE_attention /* `attention` and `doorbell`, two bytes, at once */
    jne attention
    mov %gs:CORE_current, %rbx
    cmpb $WAY_SYSRET, EC_way(%rbx)
    ja svm_enter
    jb rare_way
return_short:
    GO_OUT
    mov EC_rip(%rbx), %rcx
    mov EC_rflags(%rbx), %r11
    .irp r, rax, rdx, rsi, rdi, rbp, r12, r13, r14, r15, rsp, rbx
    mov EC_\r(%rbx), %\r
    .endr
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    swapgs
    sysretq

attention:
    call core_attention
    jmp resume

rare_way:
    cmpb $WAY_IRET, EC_way(%rbx)
    je return_full
    jmp vmx_enter

/* CALL_PT_REPLY. No register of the handler is saved: its next call begins at the portal's
   entry. */
reply_entry:
    mov %gs:CORE_stack_top, %rsp
    mov %rdi, %rsi
    mov %gs:CORE_current, %rdi
    call pt_reply
    jmp resume

return_full:
    GO_OUT
    pushq $SEL_USER_DATA
    pushq EC_rsp(%rbx)
    pushq EC_rflags(%rbx)
    pushq $SEL_USER_CODE
    pushq EC_rip(%rbx)
    mov EC_rax(%rbx), %rax
    load_all
    swapgs
    iretq

/* Interrupts and exceptions: one stub of TRAP_STUB bytes for each vector. It leaves the vector and
   the error code on the stack. */
    .globl trap_stubs
    .balign TRAP_STUB
trap_stubs:
    .set vector, 0
    .rept 256
    .balign TRAP_STUB
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

/* Stack: vector, error code, rip, cs, rflags, rsp, ss. */
trap_common:
    testb $3, 24(%rsp)
    jz trap_from_kernel
    swapgs
    COME_IN
    mov %rax, %gs:CORE_scratch
    mov %gs:CORE_current, %rax
    mov %rdi, EC_rdi(%rax)
    save_all %rax
    mov %gs:CORE_scratch, %rcx
    mov %rcx, EC_rax(%rax)
    mov 16(%rsp), %rcx
    mov %rcx, EC_rip(%rax)
    mov 32(%rsp), %rcx
    mov %rcx, EC_rflags(%rax)
    mov 40(%rsp), %rcx
    mov %rcx, EC_rsp(%rax)
    movb $WAY_IRET, EC_way(%rax)
    mov (%rsp), %rdi
    mov 8(%rsp), %rsi
    cld
    mov %gs:CORE_stack_top, %rsp
    call trap_user
    jmp resume

/* From kernel mode: an interrupt in cpu_irq_window() or cpu_idle; or an exception, which is a bug
   of the kernel, and of which trap_kernel() does not return. */
trap_from_kernel:
    .irp r, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    push %\r
    .endr
    mov 72(%rsp), %rdi
    mov 80(%rsp), %rsi
    mov 88(%rsp), %rdx
    cld
    call trap_kernel
    .irp r, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    pop %\r
    .endr
    add $16, %rsp
    iretq

/*
 * NMI, on a stack of its own. Before it was sent, the doorbell or a hazard of a vCPU was set.
 * In the kernel: return, since the ways out of the kernel check both. Lost wake-up: in cpu_idle
 * the NMI can come between that check and HLT, and the core would sleep; so rip goes to the end of
 * cpu_idle. (In resume it can come after the check, too: await() in core.c rings again.)
 * From user mode: continue as vector 2 on the kernel's stack. An IRET leads there, because no
 * further NMI comes before one is executed (APM2 8.1.4). Stack: rip, cs, rflags, rsp, ss.
 */
    .globl nmi_entry
nmi_entry:
    testb $3, 8(%rsp)
    jnz nmi_from_user
    cmpq $cpu_idle, (%rsp)
    jb 1f
    cmpq $cpu_idle_end, (%rsp)
    jae 1f
    movq $cpu_idle_end, (%rsp)
1:  cmpq $vmx_window, (%rsp)
    jb 2f
    cmpq $vmx_window_end, (%rsp)
    jae 2f
    movq $vmx_not_yet, (%rsp)
2:  iretq

nmi_from_user:
    swapgs
    mov %rax, %gs:CORE_scratch
    mov %rsp, %rax
    mov %gs:CORE_stack_top, %rsp
    .irp at, 32, 24, 16, 8, 0
    pushq \at(%rax)
    .endr
    pushq $0
    pushq $2
    mov %rsp, %rax
    pushq $SEL_KERNEL_DATA
    push %rax
    pushfq
    pushq $SEL_KERNEL_CODE
    pushq $trap_common
    mov %gs:CORE_scratch, %rax
    swapgs
    iretq

/* #SX, on the stack of what is fatal: an INIT, which is over then (virt_since_power_on). Stack: error
   code, rip, cs, rflags, rsp, ss. An interrupt of this vector that a dead guest left has no error
   code: there the kernel's rip is, which is negative. */
    .globl init_entry
init_entry:
    cmpq $0, (%rsp)
    jl drain_entry
    add $8, %rsp
    iretq

/* Gate of drain_idt (core.c, reclaim): end an interrupt that a dead guest left pending. */
    .globl drain_entry
drain_entry:
    push %rax
    push %rcx
    push %rdx
    mov $0x80b, %ecx /* EOI (APM2 16.11.1) */
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rdx
    pop %rcx
    pop %rax
    iretq

/* Idle until an interrupt or NMI. rdi: let interrupts in. nmi_entry looks for rip between the two
   labels. */
    .globl cpu_idle
cpu_idle:
    GO_OUT
    cmpb $0, %gs:CORE_doorbell
    jne cpu_idle_end
    test %dil, %dil
    jz 1f
    sti
1:  hlt
cpu_idle_end:
    cli
    COME_IN
    ret

/* From the boot stub, on the boot core: rdi = struct boot_info. The stub's stack goes with
   its page tables. */
    .globl kernel_main
kernel_main:
    mov core_starting(%rip), %rsp
    call init_kernel

/* The boot stub's trampoline brings an AP here: 64-bit mode, boot page tables, no stack. It takes
   the one that is there for it. There is none if it was given up meanwhile (core_start). */
    .globl core_entry_ap
core_entry_ap:
    xor %esp, %esp
    xchg %rsp, core_starting(%rip)
    test %rsp, %rsp
    jz given_up
    call core_main_ap
given_up:
    hlt
    jmp given_up

/* Leave the boot stack for good: rdi = this core. */
    .globl core_first_resume
core_first_resume:
    mov %gs:CORE_stack_top, %rsp
    jmp resume

    .section .note.GNU-stack,"",@progbits
