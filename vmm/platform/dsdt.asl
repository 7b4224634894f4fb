/* The DSDT of the flat PC: power-off by sleep type 5, one PCI root (its resources are in an SSDT of the VM's own), one
   UART without an interrupt, and the machine's TPM where the VM has it. */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "HAIRLN", "FLATPC", 1)
{
    Name (\_S5, Package () { 5, 0, 0, 0 })

    Device (\_SB.PCI0)
    {
        Name (_HID, EisaId ("PNP0A03"))
        Name (_BBN, 0)
        Name (_SEG, 0)
    }

    Device (\_SB.COM1)
    {
        Name (_HID, EisaId ("PNP0501"))
        Name (_CRS, ResourceTemplate ()
        {
            IO (Decode16, 0x03F8, 0x03F8, 1, 8)
        })
    }

    Device (\_SB.TPM)
    {
        Name (_HID, "MSFT0101")
        Name (_CRS, ResourceTemplate ()
        {
            Memory32Fixed (ReadWrite, 0xFED40000, 0x1000)
        })
        OperationRegion (TABL, SystemMemory, 0x000E03C0, 4) // where acpi.c has table TPM2, or zeros
        Field (TABL, DWordAcc, NoLock, Preserve) { SIGN, 32 }
        Method (_STA)
        {
            If (SIGN == 0x324D5054)
            {
                Return (0x0F)
            }
            Return (0)
        }
    }
}
