/*
 * Guests of sealed.c: flat 32-bit code without paging at 1000h. Each puts a
 * pattern into all its registers, does one thing that its VMM hears of, and
 * writes down what the registers are then.
 */
#define DONE   0
#define RESULT 12

    .section .rodata
    .code32

.macro act name, ecx, text
    .balign 16
    .globl guest_\name
guest_\name:
    mov $0x11110001, %eax
    mov $\ecx, %ecx
    mov $0x11110003, %edx
    mov $0x11110004, %ebx
    mov $0x11110005, %esp
    mov $0x11110006, %ebp
    mov $0x11110007, %esi
    mov $0x11110008, %edi
    \text
    mov %eax, RESULT
    mov %ecx, RESULT + 4
    mov %edx, RESULT + 8
    mov %ebx, RESULT + 12
    mov %esp, RESULT + 16
    mov %ebp, RESULT + 20
    mov %esi, RESULT + 24
    mov %edi, RESULT + 28
    movl $1, DONE
9:  pause
    jmp 9b
.endm

act in8, 0x11110002, "in $0x60, %al"
act out32, 0x11110002, "out %eax, $0x60"
act rdmsr, 0x1b, "rdmsr"
act wrmsr, 0x1b, "wrmsr"
act vmcall, 0x11110002, "vmmcall"
act hlt, 0x11110002, "hlt"
act recall, 0x11110002, "movl $2, 0; 1: cmpl $0, 4; je 1b"

/* At GADGETS of sealed memory: what a VMM would like to aim its guest at. */
    .balign 16
    .globl guest_gadgets, guest_gadgets_end
guest_gadgets:
    mov (%esi), %eax
    vmmcall
    .balign 16
    mov %eax, (%esi)
    vmmcall
guest_gadgets_end:

    .space 1024 /* so much is copied of each */
    .section .note.GNU-stack,"",@progbits
