/*
 * The PE header of the stub (PE/COFF; UEFI 2.10, 2.1.1), as data: `objcopy -O binary` of what pe.ld
 * links is an EFI application. No time stamp. No relocations: all code is position independent, and
 * the flag that says they are stripped stays clear, or shim refuses the file. The packer
 * (cli/image/efi.c) adds sections behind the two here, up to the header's page.
 */
#define AMD64 0x8664
#define EXECUTABLE 0x222 /* and for large addresses, without debug data */
#define PE32PLUS 0x20b
#define APPLICATION 10
#define NX_COMPATIBLE 0x100
#define CODE 0x60000020 /* code, readable, executable */
#define DATA 0xc0000040 /* data, readable, writable */

    .section .pe, "a"
    .globl pe_start
pe_start:
    .ascii "MZ"
    .skip 58
    .long coff - pe_start
coff:
    .ascii "PE\0\0"
    .short AMD64, 2 /* sections */
    .long 0, 0, 0 /* time; symbols */
    .short sections - optional, EXECUTABLE
optional:
    .short PE32PLUS, 0
    .long text_size, data_size, 0
    .long entry_rva, text_rva
    .quad 0 /* preferred address: none */
    .long 4096, 512 /* alignment in memory, in the file */
    .short 0, 0, 0, 0, 0, 0 /* versions */
    .long 0, image_size, header_size, 0 /* the last: checksum */
    .short APPLICATION, NX_COMPATIBLE
    .quad 0, 0, 0, 0 /* stacks and heaps */
    .long 0, 6 /* data directories */
    .quad 0, 0, 0, 0, 0, 0 /* the fifth is for the signatures */
sections:
    .ascii ".text\0\0\0"
    .long text_size, text_rva, text_size, text_rva, 0, 0, 0, CODE
    .ascii ".data\0\0\0"
    .long data_size, data_rva, data_size, data_rva, 0, 0, 0, DATA

    .section .note.GNU-stack, "", @progbits
