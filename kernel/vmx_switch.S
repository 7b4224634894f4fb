/* Intel VMX: into a guest, and back at a VM exit. */
#include <kernel/offsets.inc>
#include <kernel/entry.inc>

    .text
    .code64

/*
 * World switch (SDM3 25, 26.3, 27.5). rbx: the vCPU. Interrupts are off.
 * Lost wake-up: there is no GIF. An NMI between the check of the doorbell and the entry would be
 * taken in the kernel and change nothing, and the guest would run on. So nmi_entry, finding rip
 * between the two labels of the window, has the kernel go on at vmx_not_yet. One that comes later
 * ends the guest's run at once.
 */
    .globl vmx_enter, vmx_window, vmx_window_end, vmx_not_yet
vmx_enter:
    cmp %rbx, %gs:CORE_loaded
    jne vmx_prepare
    cmp %rbx, %gs:CORE_abroad
    jne vmx_leave_home
    mov %gs:CORE_cr3, %rax
    cmp %rax, %gs:CORE_host_cr3
    je vmx_window
    mov %rax, %gs:CORE_host_cr3
    mov $VMCS_HOST_CR3, %ecx
    vmwrite %rax, %rcx
vmx_window:
    cmpb $0, %gs:CORE_doorbell
    jne vmx_not_yet
    cmpb $0, EC_hazard(%rbx)
    jne vmx_prepare
    GO_OUT
    cmpb $0, %gs:CORE_launched
    mov EC_rax(%rbx), %rax
    load_all
    jne 1f
    vmlaunch
    jmp vmx_window_end
1:  vmresume
vmx_window_end:
    movb $1, %gs:CORE_refused /* VMfail: the guest's registers are in place, as after an exit */

    .globl vmx_back
vmx_back:
    push %rdi
    mov %gs:CORE_current, %rdi
    mov %rax, EC_rax(%rdi)
    save_all %rdi
    pop %rax
    mov %rax, EC_rdi(%rdi)
    movb $1, %gs:CORE_launched
    COME_IN
    call vmx_exit
    cmpw $0, %gs:CORE_attention
    jne 1f
    mov %gs:CORE_current, %rbx
    cmp %rbx, %gs:CORE_abroad
    je vmx_enter
1:  call vmx_go_home
    jmp resume

vmx_leave_home:
    mov %rbx, %rdi
    call vmx_go_abroad
    jmp resume

vmx_prepare:
    call vmx_go_home
    mov %gs:CORE_current, %rdi
    call vcpu_prepare
    jmp resume

vmx_not_yet:
    mov %gs:CORE_stack_top, %rsp
    COME_IN
    call vmx_go_home
    jmp resume

/* An NMI that ended a guest's run leaves NMIs blocked until an IRET (SDM3 27.3). */
    .globl cpu_end_nmi
cpu_end_nmi:
    pop %rcx
    mov %rsp, %rax
    pushq $SEL_KERNEL_DATA
    push %rax
    pushfq
    pushq $SEL_KERNEL_CODE
    push %rcx
    iretq

    .section .note.GNU-stack,"",@progbits
