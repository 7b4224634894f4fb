/* Functions that set RFLAGS.TF and go on; the handler of #DB clears it at their last end. See platform.h. */
#define EFER    0xc0000080
#define BASE    0x1b        /* the APIC's, an MSR */
#define MASK    0xa1        /* of an interrupt controller that nobody uses */
#define CLASS   4           /* of the vector that waits */

.macro steps name
    .text
    .globl steps_\name, ends_\name
steps_\name:
    pushq %rbx
    pushfq
    orl $0x100, (%rsp)
    popfq
    .section .rodata
    .balign 8
ends_\name:
    .text
.endm

.macro step text:vararg
    \text
1:  .pushsection .rodata
    .quad 1b
    .popsection
.endm

.macro done
    step nop
    popq %rbx
    ret
    .section .rodata
    .quad 0
    .text
.endm

steps processor
    step nop
    step xorl %eax, %eax
    step cpuid
    step nop
    step cpuid
    step cpuid
    step movl $0x7fffffff, %eax
    step vmmcall
    step movl $EFER, %ecx
    step rdmsr
    done

steps ports
    step movl $BASE, %ecx
    step rdmsr
    step wrmsr
    step movb $0xff, %al
    step outb %al, $MASK
    step nop
    step outb %al, $MASK
    step outb %al, $MASK
    step inb $MASK, %al
    step movl $MASK, %edx
    step inb %dx, %al
    step .byte 0x66, 0xe5, MASK         /* INW */
    step .byte 0x48, 0xe5, MASK         /* INL, with a prefix that means nothing */
    done

steps halt
    step nop
    step hlt
    step nop
    done

steps priority
    step movl $CLASS + 1, %eax
    step movq %rax, %cr8
    step movq %cr8, %rcx
    step xorl %eax, %eax
    step movq %rax, %cr8
    step nop
    done

    .section .note.GNU-stack, "", @progbits
