/* The multiboot 1 header; with it, objcopy's ELF32 of a bare guest is a multiboot kernel. */
    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 2, -(0x1badb002 + 2) /* magic, flags: memory information, checksum */
    .section .note.GNU-stack, "", @progbits
