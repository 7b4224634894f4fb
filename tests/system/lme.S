/*
 * EFER.LME in protected mode with CR4.PAE clear, which is legal (APM2 14.6.1), then an exit. QEMU 10.0 goes on with the
 * host, but without paging (its do_vmexit sets CR0 before CR4): the core is lost. A processor runs this to its end.
 */
    .section .text
    .code32
    .balign 4
    .long 0x1badb002, 0, -(0x1badb002) /* multiboot 1 */
    .globl _start
_start:
    mov $0x3f8, %dx
    mov $'A', %al
    out %al, %dx
    mov $'\n', %al
    out %al, %dx
    mov $0xc0000080, %ecx
    mov $0x100, %eax
    xor %edx, %edx
    wrmsr
    xor %eax, %eax
    cpuid
    mov $0xf4, %dx
    xor %eax, %eax
    out %al, %dx
1:  cli
    hlt
    jmp 1b
    .section .note.GNU-stack,"",@progbits
