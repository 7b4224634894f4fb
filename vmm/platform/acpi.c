/*
 * ACPI tables of a hardware-reduced platform (ACPI 6.1: 5.2.5 RSDP, 5.2.8 XSDT,
 * 5.2.9 FADT, 5.2.12 MADT), in guest RAM from ACPI_RSDP on. Numbers in the
 * code are the fields' offsets.
 */
#include <vmm/vcpu/vcpu.h>
#include <lib/string.h>

enum {
    XSDT = ACPI_RSDP + 0x40,
    FADT = ACPI_RSDP + 0x100,
    TPM2 = ACPI_RSDP + 0x3c0, /* dsdt.asl looks here */
    SSDT = ACPI_RSDP + 0x400,
    DSDT = ACPI_RSDP + 0xc00,
    MADT = ACPI_RSDP + 0x2000, /* of a size that goes by the vCPUs */
};

#define FADT_SIZE 276u
#define FADT_FLAGS                                                                                 \
    0x00100431u            /* WBINVD, no power or sleep button, reset register, hardware-reduced */
#define FADT_BOOT    0x24u /* no VGA, no CMOS clock; no legacy devices, no 8042 */
#define MADT_ENTRY   44u
#define MADT_X2APIC  9u
#define X2APIC_SIZE  16u
#define RESET_VECTOR 0xffff0u
#define TPM2_SIZE    52u

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
    uint8_t *t = begin(XSDT, "XSDT", config()->tpm ? 36 + 32 : 36 + 24, 1);
    put64(t + 36, FADT);
    put64(t + 44, MADT);
    put64(t + 52, SSDT);
    if (config()->tpm)
        put64(t + 60, TPM2);
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

/* TCG ACPI 8. The device of the DSDT is there when this table is. */
static void build_tpm2(void)
{
    uint8_t *t = begin(TPM2, "TPM2", TPM2_SIZE, 4);
    put64(t + 40, config()->tpm == TPM_CRB ? TPM_CONTROL : 0);
    put32(t + 48, config()->tpm);
    end(t);
}

static void build_dsdt(void)
{
    uint32_t size;
    memcpy(&size, acpi_dsdt + 4, sizeof(size));
    memcpy(at(DSDT), acpi_dsdt, size);
}

/* ---- the PCI root's resources: only places where a BAR works, for systems that assign anew ----
 */

/* A range that devices below decode (ACPI 6.4.3.5.1): fixed at both ends, read and written, not
 * cached. It is not said to be prefetchable: that is right for BARs of both kinds, and a BAR that
 * is not would have no place in one that is. */
static uint8_t *put_window(uint8_t *p, uint64_t base, uint64_t size)
{
    static const uint8_t head[] = {0x8a, 0x2b, 0, 0, 0x0c, 0x01};
    memcpy(p, head, sizeof(head));
    put64(p + 6, 0);
    put64(p + 14, base);
    put64(p + 22, base + size - 1);
    put64(p + 30, 0);
    put64(p + 38, size);
    return p + 46;
}

/* Windows of the VM's own devices: exactly where root has mapped their BARs. Behind the last below
   4 GiB is room for the BARs of virtual functions, which decode nothing. */
static uint8_t *put_own_windows(uint8_t *p)
{
    uint64_t end = GUEST_DEVICES;
    bool sriov = false;
    for (const struct vm_device *d = config()->device; d < config()->device + config()->devices;
         d++) {
        sriov |= d->sriov != 0;
        for (const struct vm_bar *b = d->bar; b < d->bar + 6; b++) {
            if (b->size == 0)
                continue;
            p = put_window(p, b->address, b->size);
            end = b->address < GUEST_HIGH ? b->address + b->size : end;
        }
    }
    end = (end + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    return sriov && end < GUEST_DEVICES_END ? put_window(p, end, GUEST_DEVICES_END - end) : p;
}

/* A resource template: bus 0, the configuration ports, ports and memory for BARs, the end
 * (ACPI 6.4). */
static uint8_t *put_resources(uint8_t *p)
{
    static const uint8_t fixed[] = {
        0x88, 0x0d, 0,    2,    0x0c, 0,    0, 0,
        0,    0,    0,    0,    0,    0,    1, 0, /* buses 0 to 0 */
        0x47, 0x01, 0xf8, 0x0c, 0xf8, 0x0c, 1, 8, /* ports CF8h to CFFh */
        0x88, 0x0d, 0,    1,    0x0c, 3,    0, 0,
        0,    0xc0, 0xff, 0xcf, 0,    0,    0, 0x10 /* ports C000h to CFFFh */
    };
    memcpy(p, fixed, sizeof(fixed));
    p += sizeof(fixed);
    p = has_virtual() ? put_window(p, GUEST_MSIX, VMM_MSIX_PAGES * PAGE_SIZE) : p;
    p = put_own_windows(p);
    p[0] = 0x79;
    p[1] = 0;
    return p + 2;
}

/* A length in two bytes that counts itself, too (ACPI 20.2.4). */
static void put_package(uint8_t *p, uint64_t size)
{
    p[0] = (uint8_t)(0x40 | (size & 15));
    p[1] = (uint8_t)(size >> 4);
}

/* Scope (\_SB.PCI0) { Name (_CRS, Buffer () { the template }) } */
static void build_ssdt(void)
{
    static const char scope[] = "\x10**\\._SB_PCI0\x08_CRS\x11**\x0b**";
    enum { SCOPE = 36, BUFFER = SCOPE + 18, TEMPLATE = SCOPE + sizeof(scope) - 1 };
    uint8_t *t = begin(SSDT, "SSDT", DSDT - SSDT, 2), *stop = put_resources(t + TEMPLATE);
    memcpy(t + SCOPE, scope, sizeof(scope) - 1);
    put_package(t + SCOPE + 1, (uint64_t)(stop - t - SCOPE - 1));
    put_package(t + BUFFER + 1, (uint64_t)(stop - t - BUFFER - 1));
    put16(t + TEMPLATE - 2, (uint16_t)(stop - t - TEMPLATE));
    put32(t + 4, (uint32_t)(stop - t));
    end(t);
}

/* Reset code at FFFF0h, where Linux jumps to reboot a hardware-reduced PC without EFI: it writes
 * the reset register. */
static void build_reset(void)
{
    /* mov dx, PORT_RESET; mov al, RESET_NOW; out dx, al; hlt; jmp to it */
    static const uint8_t code[] = {
        0xba, PORT_RESET & 0xff, PORT_RESET >> 8, 0xb0, RESET_NOW, 0xee, 0xf4, 0xeb, 0xfd};
    memcpy(at(RESET_VECTOR), code, sizeof(code));
}

void acpi_build(void)
{
    build_rsdp();
    build_xsdt();
    build_fadt();
    build_madt();
    if (config()->tpm)
        build_tpm2();
    build_dsdt();
    build_ssdt();
    build_reset();
}
