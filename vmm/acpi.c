/*
 * ACPI tables of a hardware-reduced platform (ACPI 6.1: 5.2.5 RSDP, 5.2.8 XSDT,
 * 5.2.9 FADT, 5.2.12 MADT), in guest RAM from ACPI_RSDP on. Numbers in the
 * code are the fields' offsets.
 */
#include <vmm/vcpu.h>
#include <lib/string.h>

enum { XSDT = ACPI_RSDP + 0x40, FADT = ACPI_RSDP + 0x100, MADT = ACPI_RSDP + 0x300, DSDT = ACPI_RSDP + 0x800 };

#define FADT_SIZE    276u
#define FADT_FLAGS   0x00100431u /* WBINVD, no power or sleep button, reset register, hardware-reduced */
#define FADT_BOOT    0x24u       /* no VGA, no CMOS clock; no legacy devices, no 8042 */
#define MADT_ENTRY   44u
#define MADT_X2APIC  9u
#define X2APIC_SIZE  16u
#define RESET_VECTOR 0xffff0u

extern const uint8_t acpi_dsdt[];

static uint8_t *at(uint32_t gpa) { return (uint8_t *)VMM_RAM + gpa; }
static void put16(uint8_t *p, uint16_t value) { memcpy(p, &value, sizeof(value)); }
static void put32(uint8_t *p, uint32_t value) { memcpy(p, &value, sizeof(value)); }
static void put64(uint8_t *p, uint64_t value) { memcpy(p, &value, sizeof(value)); }

static void seal(uint8_t *table, uint32_t size, uint32_t checksum_at)
{
    uint8_t sum = 0;
    table[checksum_at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + table[i]);
    table[checksum_at] = (uint8_t)-sum;
}

/* The common header (ACPI 5.2.6). */
static uint8_t *begin(uint32_t gpa, const char *signature, uint32_t size, uint8_t revision)
{
    uint8_t *t = at(gpa);
    memset(t, 0, size);
    memcpy(t, signature, 4);
    put32(t + 4, size);
    t[8] = revision;
    memcpy(t + 10, "HAIRLNFLATPC  ", 14);
    put32(t + 24, 1);
    memcpy(t + 28, "HAIR", 4);
    put32(t + 32, 1);
    return t;
}

static void end(uint8_t *table)
{
    uint32_t size;
    memcpy(&size, table + 4, sizeof(size));
    seal(table, size, 9);
}

static void build_rsdp(void)
{
    uint8_t *t = at(ACPI_RSDP);
    memset(t, 0, 36);
    memcpy(t, "RSD PTR ", 8);
    memcpy(t + 9, "HAIRLN", 6);
    t[15] = 2;
    put32(t + 20, 36);
    put64(t + 24, XSDT);
    seal(t, 20, 8);
    seal(t, 36, 32);
}

static void build_xsdt(void)
{
    uint8_t *t = begin(XSDT, "XSDT", 36 + 16, 1);
    put64(t + 36, FADT);
    put64(t + 44, MADT);
    end(t);
}

/* A generic address: one byte-wide port (ACPI 5.2.3.2). */
static void put_port(uint8_t *p, uint64_t port)
{
    p[0] = 1;
    p[1] = 8;
    p[3] = 1;
    put64(p + 4, port);
}

static void build_fadt(void)
{
    uint8_t *t = begin(FADT, "FACP", FADT_SIZE, 6);
    put32(t + 40, DSDT);
    put16(t + 109, FADT_BOOT);
    put32(t + 112, FADT_FLAGS);
    put_port(t + 116, PORT_RESET);
    t[128] = RESET_NOW;
    t[131] = 1; /* minor revision */
    put64(t + 140, DSDT);
    put_port(t + 244, PORT_SLEEP);
    put_port(t + 256, PORT_STATUS);
    end(t);
}

static void build_madt(void)
{
    uint32_t count = config()->plan.vcpus;
    uint8_t *t = begin(MADT, "APIC", MADT_ENTRY + X2APIC_SIZE * count, 5), *entry = t + MADT_ENTRY;
    put32(t + 36, APIC_BASE & 0xfffff000);
    for (uint32_t i = 0; i < count; i++, entry += X2APIC_SIZE) {
        entry[0] = MADT_X2APIC;
        entry[1] = X2APIC_SIZE;
        put32(entry + 4, apic_id(i));
        put32(entry + 8, 1); /* enabled */
        put32(entry + 12, i);
    }
    end(t);
}

static void build_dsdt(void)
{
    uint32_t size;
    memcpy(&size, acpi_dsdt + 4, sizeof(size));
    memcpy(at(DSDT), acpi_dsdt, size);
}

/* Where Linux jumps to reboot a reduced-hardware PC without EFI: do what the reset register asks. */
static void build_reset(void)
{
    /* mov dx, PORT_RESET; mov al, RESET_NOW; out dx, al; hlt; jmp to it */
    static const uint8_t code[] = {0xba, PORT_RESET & 0xff, PORT_RESET >> 8, 0xb0, RESET_NOW, 0xee, 0xf4, 0xeb, 0xfd};
    memcpy(at(RESET_VECTOR), code, sizeof(code));
}

void acpi_build(void)
{
    build_rsdp();
    build_xsdt();
    build_fadt();
    build_madt();
    build_dsdt();
    build_reset();
}
