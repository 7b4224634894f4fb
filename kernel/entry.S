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

#define EC_RAX 16
#define EC_RCX 24
#define EC_RDX 32
#define EC_RBX 40
#define EC_RSI 48
#define EC_RDI 56
#define EC_RBP 64
#define EC_R8  72
#define EC_R9  80
#define EC_R10 88
#define EC_R11 96
#define EC_R12 104
#define EC_R13 112
#define EC_R14 120
#define EC_R15 128
#define EC_RIP 136
#define EC_RFLAGS 144
#define EC_RSP 152
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

/* All general registers but rax, and rdi where it is saved, of the EC in \ec or rbx. */
    .macro save_all ec
    mov %rbx, EC_RBX(\ec)
    mov %rcx, EC_RCX(\ec)
    mov %rdx, EC_RDX(\ec)
    mov %rsi, EC_RSI(\ec)
    mov %rbp, EC_RBP(\ec)
    mov %r8, EC_R8(\ec)
    mov %r9, EC_R9(\ec)
    mov %r10, EC_R10(\ec)
    mov %r11, EC_R11(\ec)
    mov %r12, EC_R12(\ec)
    mov %r13, EC_R13(\ec)
    mov %r14, EC_R14(\ec)
    mov %r15, EC_R15(\ec)
    .endm

    .macro load_all
    mov EC_RCX(%rbx), %rcx
    mov EC_RDX(%rbx), %rdx
    mov EC_RSI(%rbx), %rsi
    mov EC_RDI(%rbx), %rdi
    mov EC_RBP(%rbx), %rbp
    mov EC_R8(%rbx), %r8
    mov EC_R9(%rbx), %r9
    mov EC_R10(%rbx), %r10
    mov EC_R11(%rbx), %r11
    mov EC_R12(%rbx), %r12
    mov EC_R13(%rbx), %r13
    mov EC_R14(%rbx), %r14
    mov EC_R15(%rbx), %r15
    mov EC_RBX(%rbx), %rbx
    .endm

/*
 * SYSCALL (APM2 6.1.1): rax = call, rcx = user rip, r11 = user rflags; IF, DF,
 * TF, AC, NT are cleared by SFMASK. When the caller itself goes on at once, its
 * kept registers are still in place: C has preserved them.
 */
    .globl syscall_entry
syscall_entry:
    swapgs
    cmp $CALL_PT_REPLY, %rax
    je reply_entry
    mov %rsp, %gs:SCRATCH
    mov %gs:CURRENT, %rsp
    mov %rbx, EC_RBX(%rsp)
    mov %rbp, EC_RBP(%rsp)
    mov %r12, EC_R12(%rsp)
    mov %r13, EC_R13(%rsp)
    mov %r14, EC_R14(%rsp)
    mov %r15, EC_R15(%rsp)
    mov %rcx, EC_RIP(%rsp)
    mov %r11, EC_RFLAGS(%rsp)
    mov %gs:SCRATCH, %rcx
    mov %rcx, EC_RSP(%rsp)
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
    mov EC_RFLAGS(%rcx), %r11
    mov EC_RSP(%rcx), %rsp
    mov EC_RIP(%rcx), %rcx
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
    mov %rax, EC_RAX(%rcx)
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
    mov EC_RIP(%rbx), %rcx
    mov EC_RFLAGS(%rbx), %r11
    mov EC_RAX(%rbx), %rax
    mov EC_RDX(%rbx), %rdx
    mov EC_RSI(%rbx), %rsi
    mov EC_RDI(%rbx), %rdi
    mov EC_RBP(%rbx), %rbp
    mov EC_R12(%rbx), %r12
    mov EC_R13(%rbx), %r13
    mov EC_R14(%rbx), %r14
    mov EC_R15(%rbx), %r15
    mov EC_RSP(%rbx), %rsp
    mov EC_RBX(%rbx), %rbx
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
    pushq $USER_DATA
    pushq EC_RSP(%rbx)
    pushq EC_RFLAGS(%rbx)
    pushq $USER_CODE
    pushq EC_RIP(%rbx)
    mov EC_RAX(%rbx), %rax
    load_all
    swapgs
    iretq

/* VMRUN (APM2 15.5). GIF is off from CLGI, so that an NMI that comes after the look at the doorbell ends the
   guest's run (APM2 15.17), until after the host's own state is back; IF is on so that interrupts end the guest's run (APM2 15.21.1). The
   guest's FS..SYSENTER group travels by VMSAVE/VMLOAD, its rax by the VMCB. */
enter_guest:
    clgi
    cmpb $0, EC_HAZARD(%rbx)
    jne prepare_guest
    cmp %rbx, %gs:LOADED
    jne prepare_guest
    cmpb $0, %gs:DOORBELL
    jne not_yet
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
    mov %rax, EC_RDI(%rdi)
    save_all %rdi
    pop %rax
    vmload %rax
    cli
    stgi
    call vcpu_exit
    jmp resume

not_yet:
    stgi
    jmp resume

prepare_guest:
    stgi
    mov %rbx, %rdi
    call vcpu_prepare
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
    mov %rax, %gs:SCRATCH
    mov %gs:CURRENT, %rax
    mov %rdi, EC_RDI(%rax)
    save_all %rax
    mov %gs:SCRATCH, %rcx
    mov %rcx, EC_RAX(%rax)
    mov 16(%rsp), %rcx
    mov %rcx, EC_RIP(%rax)
    mov 32(%rsp), %rcx
    mov %rcx, EC_RFLAGS(%rax)
    mov 40(%rsp), %rcx
    mov %rcx, EC_RSP(%rax)
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
 * NMI, on a stack of its own with the core's address above the frame: the doorbell. In the kernel it is noted, and a
 * core that was about to wait does not. From user mode it becomes vector 2 on the kernel's stack, by an IRET: until
 * one is executed no other NMI comes (APM2 8.1.4). Stack: rip, cs, rflags, rsp, ss, core.
 */
    .globl nmi_entry
nmi_entry:
    testb $3, 8(%rsp)
    jnz nmi_from_user
    push %rax
    mov 48(%rsp), %rax
    movb $1, DOORBELL(%rax)
    mov 8(%rsp), %rax
    cmp $core_wait, %rax
    jb 1f
    cmp $core_wait_end, %rax
    jae 1f
    movq $core_wait_end, 8(%rsp)
1:  pop %rax
    iretq

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
    cmpb $0, %gs:DOORBELL
    jne core_wait_end
    test %dil, %dil
    jz 1f
    sti
1:  hlt
core_wait_end:
    cli
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
