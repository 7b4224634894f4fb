/* AMD SVM: into a guest, and back at #VMEXIT. */
#include <kernel/offsets.inc>
#include <kernel/entry.inc>

    .text
    .code64

/*
 * World switch: VMRUN (APM2 15.5).
 * Lost wake-up: an NMI between the check of the doorbell and VMRUN would be taken in the kernel and
 * change nothing, and the guest would run on. So GIF is off from before the check (CLGI): the NMI
 * stays pending and ends the guest's run at once (APM2 15.17). GIF is on again (STGI) after the
 * host's FS..SYSENTER state is back.
 * IF is on at VMRUN, so that an interrupt of the host ends the guest's run (APM2 15.21.1).
 * VMLOAD and VMSAVE switch the guest's FS..SYSENTER state; VMRUN takes its rax from the VMCB.
 */
    .globl svm_enter
svm_enter:
    clgi
    cmpb $0, %gs:CORE_doorbell
    jne not_yet
    cmpb $0, EC_hazard(%rbx)
    jne prepare_guest
    cmp %rbx, %gs:CORE_loaded
    jne prepare_guest
    GO_OUT
    pushq %gs:CORE_host_vmcb_pa
    push %rbx
    mov EC_vmcb_pa(%rbx), %rax
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
    call svm_exit
    jmp resume

prepare_guest:
    stgi
    mov %rbx, %rdi
    call vcpu_prepare
not_yet:
    stgi
    jmp resume

    .section .note.GNU-stack,"",@progbits
