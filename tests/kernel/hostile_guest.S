/* Guests of hostile.c and sealed.c: flat 32-bit code without paging at 1000h. Their first page is
   struct shared. */
    .section .rodata
    .code32

.macro guest name
    .balign 16
    .globl guest_\name
guest_\name:
.endm

/* Counts its rounds, two instructions each. */
guest count
    movl $1, 0
1:  incl 12
    jmp 1b

/* Sleeps whenever it may. */
guest sleep
    movl $1, 0
1:  hlt
    jmp 1b

    .space 1024 /* so much is copied of each */
    .section .note.GNU-stack,"",@progbits
