/*
 * The image header (abi/image.h) and the first instructions of a program. A
 * thread that was given a stack keeps it; with rsp = 0 (root's first thread)
 * the program has one of its own: `root_stack` (start.h).
 */
#include <lib/offsets.inc>

    .section .header, "a"
    .quad IMAGE_MAGIC
    .quad _start
    .long image_text, image_rodata, image_data, 0

    .section .text.start, "ax"
    .globl _start
    .weak root_stack
_start:
    test %rsp, %rsp
    jnz 1f
    mov own_stack, %rsp
1:  xor %ebp, %ebp
    call main
    ud2                         /* main never returns */

    .section .data.start, "aw"   /* never empty: .data with its bss stays in the file */
own_stack:
    .quad root_stack + ROOT_STACK_SIZE

    .section .note.GNU-stack, "", @progbits
