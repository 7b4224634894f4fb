/* dsdt.asl as compiled by iasl, with its length in its header (ACPI 5.2.6). */
    .section .rodata.dsdt, "a"
    .globl acpi_dsdt
    .balign 8
acpi_dsdt:
    .incbin "dsdt.aml"
    .section .note.GNU-stack, "", @progbits
