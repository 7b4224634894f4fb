/* The DSDT of the flat PC: power-off by sleep type 5, one PCI root (its resources are in an SSDT of the VM's own), one
   UART without an interrupt. */
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
}
