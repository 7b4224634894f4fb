/* The DSDT of the flat PC: power-off by sleep type 5, one PCI root, one UART without an interrupt. */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "HAIRLN", "FLATPC", 1)
{
    Name (\_S5, Package () { 5, 0, 0, 0 })

    Device (\_SB.PCI0)
    {
        Name (_HID, EisaId ("PNP0A03"))
        Name (_BBN, 0)
        Name (_SEG, 0)
        Name (_CRS, ResourceTemplate ()
        {
            WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
            IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
            WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xC000, 0xCFFF, 0, 0x1000)
            DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                         0, 0xE0000000, 0xEFFFFFFF, 0, 0x10000000)
        })
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
