/*
 * Guests of alone.c: flat 32-bit code without paging, copied to guest-physical
 * CODE; the interrupt stubs to 4000h. What they share with the test is in
 * struct shared at 0; interrupts are counted by vector at 10000h.
 */
#define DONE   0
#define ARG    4
#define ROUNDS 8
#define RESULT 12
#define CODE   0x1000
#define TABLE  0x2000
#define IDT    0x3000
#define COUNT  0x10000

    .section .rodata
    .code32

.macro guest name
    .balign 16
    .globl guest_\name
guest_\name:
.endm

.macro finish
    movl $1, DONE
9:  hlt
    jmp 9b
.endm

.macro msr number, low
    mov $\number, %ecx
    mov $\low, %eax
    xor %edx, %edx
    wrmsr
.endm

/* ROUNDS times: the timer's interrupt, then one from itself. */
guest timer
    msr 0x80f, 0x1ff
    msr 0x832, 0x40
    sti
1:  mov COUNT + 4 * 0x40, %ebx
    msr 0x838, 500
2:  cmp %ebx, COUNT + 4 * 0x40
    je 2b
    mov COUNT + 4 * 0x41, %ebx
    msr 0x83f, 0x41
3:  cmp %ebx, COUNT + 4 * 0x41
    je 3b
    decl ROUNDS
    jnz 1b
    finish

/* Take what comes. */
guest listen
    msr 0x80f, 0x1ff
    sti
    finish

/* Write ARG values (low, high) to the ICR. */
guest icr
    msr 0x80f, 0x1ff
    sti
    xor %esi, %esi
1:  mov TABLE(, %esi, 8), %eax
    mov TABLE + 4(, %esi, 8), %edx
    mov $0x830, %ecx
    wrmsr
    inc %esi
    cmp ARG, %esi
    jb 1b
    finish

/* Vector 32 to all others, for ever. */
guest flood
    msr 0x80f, 0x1ff
    movl $1, DONE
    mov $0x830, %ecx
    mov $0xc4020, %eax
    xor %edx, %edx
1:  wrmsr
    pause
    jmp 1b

/* ROUNDS NMIs to itself (APIC ID ARG). */
guest nmi
    mov ROUNDS, %esi
1:  mov $0x830, %ecx
    mov $0x400, %eax
    mov ARG, %edx
    wrmsr
    dec %esi
    jnz 1b
    finish

/* In the handler of an NMI from itself (APIC ID ARG) for good, while another one waits. */
guest stuck
    movw $CODE + 2f - guest_stuck, IDT + 8 * 2
    mov $0x830, %ecx
    mov $0x400, %eax
    mov ARG, %edx
    wrmsr
1:  jmp 1b
2:  wrmsr
    incl COUNT + 4 * 2
3:  jmp 3b

/* Never lets anything in. */
guest spin
    cli
    movl $1, DONE
1:  jmp 1b

/* Vector 31 in service, 16..30 and 128 waiting, the timer at work. */
guest waiting
    msr 0x80f, 0x1ff
    msr 0x832, 0x20040
    sti
    msr 0x83f, 0x1f
1:  cmpl $0, COUNT + 4 * 0x1f
    je 1b
    cli
    msr 0x838, 100
    mov $0x83f, %ecx
    xor %edx, %edx
    mov $0x10, %eax
2:  wrmsr
    inc %eax
    cmp $0x1f, %eax
    jb 2b
    msr 0x83f, 0x80
    movl $1, DONE
3:  jmp 3b

/* What a guest without a VMM may not do, once ARG is set. */
.macro forbidden name, text
    guest \name
    movl $2, DONE
1:  cmpl $0, ARG
    je 1b
    \text
    finish
.endm

forbidden in, "in $0x60, %al"
forbidden out, "out %eax, $0x60"
forbidden end_port, "out %al, $0x60; out %al, $0x61"
forbidden outs, "rep outsb"
forbidden rdmsr, "mov $0x1b, %ecx; rdmsr"
forbidden wrmsr, "mov $0x1b, %ecx; wrmsr"
forbidden read, "mov 0x8000000, %eax"
forbidden write, "mov %eax, 0xfee00300"
forbidden vmrun, "vmrun"
forbidden vmload, "vmload"
forbidden vmsave, "vmsave"
forbidden stgi, "stgi"
forbidden clgi, "clgi"
forbidden skinit, "skinit"
forbidden invlpga, "invlpga"
forbidden rsm, "rsm"
forbidden vmxon, "vmxon 0x2000"
forbidden vmclear, "vmclear 0x2000"
forbidden vmptrld, "vmptrld 0x2000"
forbidden vmptrst, "vmptrst 0x2000"
forbidden vmread, "vmread %eax, %ebx"
forbidden vmwrite, "vmwrite %eax, %ebx"
forbidden vmlaunch, "vmlaunch"
forbidden vmresume, "vmresume"
forbidden vmxoff, "vmxoff"
forbidden invept, "invept 0x2000, %eax"
forbidden invvpid, "invvpid 0x2000, %eax"
forbidden invd, "invd"
forbidden rdpmc, "rdpmc"
forbidden triple, "lidt 0x2000; ud2"

/* In quiet mode: nothing is there. */
guest quiet
    movl $2, DONE
1:  cmpl $0, ARG
    je 1b
    xor %eax, %eax
    in $0x60, %al
    mov %eax, RESULT
    xor %eax, %eax
    in $0x60, %ax
    mov %eax, RESULT + 4
    in $0x60, %eax
    mov %eax, RESULT + 8
    out %al, $0x60
    mov $0x1b, %ecx
    rdmsr
    mov %eax, RESULT + 12
    mov %edx, RESULT + 16
    wrmsr
    mov 0x8000000, %eax
    mov %eax, RESULT + 20
    mov %ebx, 0xfee00300
    finish

/* What it may: a hypercall fails, CPUID (AMD) and HLT do not exit, #DB comes back, INIT and SIPI go
   nowhere. */
guest allowed
    movl $2, DONE
1:  cmpl $0, ARG
    je 1b
    mov $1, %eax
    vmmcall
    mov %eax, RESULT
    pushf
    orl $0x100, (%esp)
    popf
    nop
    pushf
    andl $~0x100, (%esp)
    popf
    mov $0x830, %ecx
    mov $0xc4500, %eax
    xor %edx, %edx
    wrmsr
    mov $0xc4608, %eax
    wrmsr
    movl $3, DONE
2:  mov $1, %eax
    cpuid
    decl ROUNDS
    jnz 2b
    finish

/* An interrupt to itself by the ICR each time ARG changes. */
guest obey
    msr 0x80f, 0x1ff
    sti
    movl $1, DONE
    xor %ebx, %ebx
1:  cmp %ebx, ARG
    je 1b
    mov ARG, %ebx
    msr 0x830, 0x44050
    mov %ebx, RESULT
    jmp 1b

    .globl guest_end
guest_end:

    .balign 16
    .globl guest_stubs, guest_stubs_end
guest_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
    add $4, %esp
    .endif
    push %eax
    mov $vector, %eax
    jmp count
    .set vector, vector + 1
    .endr
count:
    incl COUNT(, %eax, 4)
    cmp $32, %eax
    jb 1f
    push %ecx
    push %edx
    mov $0x80b, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %edx
    pop %ecx
1:  pop %eax
    iret
guest_stubs_end:

    .section .note.GNU-stack,"",@progbits
