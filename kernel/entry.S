/*
 * The ways into the kernel and back: SYSCALL, interrupts and exceptions, #VMEXIT.
 *
 * Every entry saves the current EC's registers in the EC itself, takes this
 * core's one stack from its top, and calls C. C may make another EC current.
 * The way back (`resume`) starts from nothing but the current EC.
 * Interrupts are off in the kernel but for irq windows and the idle loop.
 */
#define SELF      0
#define CURRENT   8
#define STACK     16
#define SCRATCH   24
#define LOADED    32
#define HOST_VMCB 40
#define ATTENTION 48 /* and DOORBELL: one word */
#define DOORBELL  49
#define OUTSIDE   50

#define EC_VMCB 160
#define EC_HAZARD 168
#define EC_WAY 171
#define EC_STATE 172

#define WAY_SYSRET 0
#define WAY_IRET   1 /* above it: a vCPU */
#define CALL_PT_REPLY 2
#define CALL_PD_CREATE 6
#define STATE_READY 2
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_DATA 0x1b
#define USER_CODE 0x23

    .text
    .code64

/* Where struct ec has them: EC_rax and so on. */
    .set at, 16
    .irp r, rax, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags, rsp
    .set EC_\r, at
    .set at, at + 8
    .endr

/* All general registers but rax, and rdi where it is saved, of the EC in \ec or rbx. */
    .macro save_all ec
    .irp r, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    mov %\r, EC_\r(\ec)
    .endr
    .endm

    .macro load_all
    .irp r, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rbx
    mov EC_\r(%rbx), %\r
    .endr
    .endm

/*
 * In and out of the kernel, for who waits until this core holds no pointer (core_sync). Locked: what this core reads
 * from now on is read after others can see that it is inside; else it could find an object that was marked dead
 * before they looked. The way out needs no more than the order that stores have anyway.
 */
#define COME_IN lock andb $0, %gs:OUTSIDE
#define GO_OUT  movb $1, %gs:OUTSIDE

/*
 * SYSCALL (APM2 6.1.1): rax = call, rcx = user rip, r11 = user rflags; IF, DF,
 * TF, AC, NT are cleared by SFMASK. When the caller itself goes on at once, its
 * kept registers are still in place: C has preserved them.
 */
    .globl syscall_entry
syscall_entry:
    swapgs
    COME_IN
    cmp $CALL_PT_REPLY, %rax
    je reply_entry
    mov %rsp, %gs:SCRATCH
    mov %gs:CURRENT, %rsp
    .irp r, rbx, rbp, r12, r13, r14, r15
    mov %\r, EC_\r(%rsp)
    .endr
    mov %rcx, EC_rip(%rsp)
    mov %r11, EC_rflags(%rsp)
    mov %gs:SCRATCH, %rcx
    mov %rcx, EC_rsp(%rsp)
    movb $WAY_SYSRET, EC_WAY(%rsp)
    cmp $CALL_PD_CREATE, %rax
    jae graph_entry
    mov %rsp, %rcx
    mov %gs:STACK, %rsp
    push %rcx
    mov %rax, %rdx
    call call_fast
    pop %rcx
    cmpw $0, %gs:ATTENTION
    jne keep_result
    cmp %rcx, %gs:CURRENT
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

/* Somebody else may run first. A caller that waits gets its status when it is woken. */
keep_result:
    cmpb $STATE_READY, EC_STATE(%rcx)
    jne resume
    mov %rax, EC_rax(%rcx)
    jmp resume

/* The object calls take all arguments and store their result themselves. */
graph_entry:
    mov %gs:STACK, %rsp
    mov %r10, %rcx
    mov %rax, %r9
    call call_graph

/* Go on with the current EC. The stack is empty. */
    .globl resume
resume:
    cmpw $0, %gs:ATTENTION
    jne attention
    mov %gs:CURRENT, %rbx
    cmpb $WAY_IRET, EC_WAY(%rbx)
    je return_full
    ja enter_guest
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

/* CALL_PT_REPLY: the handler starts anew at its next call, so nothing of it is kept. */
reply_entry:
    mov %gs:STACK, %rsp
    mov %rdi, %rsi
    mov %gs:CURRENT, %rdi
    call ipc_reply
    jmp resume

return_full:
    GO_OUT
    pushq $USER_DATA
    pushq EC_rsp(%rbx)
    pushq EC_rflags(%rbx)
    pushq $USER_CODE
    pushq EC_rip(%rbx)
    mov EC_rax(%rbx), %rax
    load_all
    swapgs
    iretq

/* VMRUN (APM2 15.5). GIF is off from CLGI, so that an NMI that comes after the look at the doorbell ends the
   guest's run (APM2 15.17), until after the host's own state is back; IF is on so that interrupts end the guest's run (APM2 15.21.1). The
   guest's FS..SYSENTER group travels by VMSAVE/VMLOAD, its rax by the VMCB. */
enter_guest:
    clgi
    cmpb $0, %gs:DOORBELL
    jne not_yet
    cmpb $0, EC_HAZARD(%rbx)
    jne prepare_guest
    cmp %rbx, %gs:LOADED
    jne prepare_guest
    GO_OUT
    pushq %gs:HOST_VMCB
    push %rbx
    mov EC_VMCB(%rbx), %rax
    sti
    vmload %rax
    load_all
    vmrun %rax
    vmsave %rax
    mov %rdi, %rax
    pop %rdi
    mov %rax, EC_rdi(%rdi)
    save_all %rdi
    pop %rax
    vmload %rax
    COME_IN
    cli
    stgi
    call vcpu_exit
    jmp resume

prepare_guest:
    stgi
    mov %rbx, %rdi
    call vcpu_prepare
not_yet:
    stgi
    jmp resume

/* Interrupts and exceptions: one 16-byte stub a vector leaves (vector, error code) on the stack. */
    .globl trap_stubs
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
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
    mov %rax, %gs:SCRATCH
    mov %gs:CURRENT, %rax
    mov %rdi, EC_rdi(%rax)
    save_all %rax
    mov %gs:SCRATCH, %rcx
    mov %rcx, EC_rax(%rax)
    mov 16(%rsp), %rcx
    mov %rcx, EC_rip(%rax)
    mov 32(%rsp), %rcx
    mov %rcx, EC_rflags(%rax)
    mov 40(%rsp), %rcx
    mov %rcx, EC_rsp(%rax)
    movb $WAY_IRET, EC_WAY(%rax)
    mov (%rsp), %rdi
    mov 8(%rsp), %rsi
    cld
    mov %gs:STACK, %rsp
    call trap_user
    jmp resume

/* An irq window, the idle loop, or a fault of the kernel itself (which does not come back). */
trap_from_kernel:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    mov 72(%rsp), %rdi
    mov 80(%rsp), %rsi
    mov 88(%rsp), %rdx
    cld
    call trap_kernel
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

/*
 * NMI, on a stack of its own: whoever sent it has said why, at the doorbell or in a vCPU's hazards. In the kernel there
 * is no more to it, but that a core that was about to wait does not. From user mode it becomes vector 2 on the kernel's
 * stack, by an IRET: until one is executed no other NMI comes (APM2 8.1.4). Stack: rip, cs, rflags, rsp, ss.
 */
    .globl nmi_entry
nmi_entry:
    testb $3, 8(%rsp)
    jnz nmi_from_user
    cmpq $core_wait, (%rsp)
    jb 1f
    cmpq $core_wait_end, (%rsp)
    jae 1f
    movq $core_wait_end, (%rsp)
1:  iretq

nmi_from_user:
    swapgs
    mov %rax, %gs:SCRATCH
    mov %rsp, %rax
    mov %gs:STACK, %rsp
    pushq 32(%rax)
    pushq 24(%rax)
    pushq 16(%rax)
    pushq 8(%rax)
    pushq (%rax)
    pushq $0
    pushq $2
    mov %rsp, %rax
    pushq $KERNEL_DATA
    push %rax
    pushfq
    pushq $KERNEL_CODE
    pushq $trap_common
    mov %gs:SCRATCH, %rax
    swapgs
    iretq

/* What a guest left waiting at a core that is taken back: it is ended. */
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

/* Idle: rdi = let interrupts in. */
    .globl core_wait
core_wait:
    GO_OUT
    cmpb $0, %gs:DOORBELL
    jne core_wait_end
    test %dil, %dil
    jz 1f
    sti
1:  hlt
core_wait_end:
    cli
    COME_IN
    ret

/* From the boot stub, on the boot core: rdi = struct boot_info. The stub's stack goes with its page tables. */
    .globl kernel_main
kernel_main:
    mov core_starting(%rip), %rsp
    call kernel_start

/* The boot stub's trampoline brings an AP here: 64-bit mode, boot page tables, no stack. */
    .globl core_entry_ap
core_entry_ap:
    mov core_starting(%rip), %rsp
    call core_main_ap

/* Leave the boot stack for good: rdi = this core. */
    .globl core_first_resume
core_first_resume:
    mov %gs:STACK, %rsp
    jmp resume

    .section .note.GNU-stack,"",@progbits
