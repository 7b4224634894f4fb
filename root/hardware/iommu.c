#include <root/console/uart.h>
#include <root/hardware/iommu.h>
#include <root/memory.h>
#include <root/vm/device.h>
#include <root/vm/vm.h>
#include <lib/call.h>
#include <lib/format.h>

#define POLL_MS   1000u
#define LINES_MAX 8u /* faults told of each unit in one look */

static const struct scopes *scopes;
static const char *problem;
static char text[96];
static struct region registers[MAX_IOMMUS];
static uint32_t started; /* the kernel counts as root does */
static uint64_t due;

const char *iommu_problem(void) { return problem; }
enum iommu_kind iommu_kind(void) { return started ? scopes->unit[0].kind : IOMMU_NONE; }

static uint64_t take_registers(void)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < scopes->units && status == OK; i++) {
        uint64_t frames = scopes->unit[i].kind == IOMMU_AMDVI ? 4 : 1;
        status = memory_take_device(scopes->unit[i].base, frames * PAGE_SIZE, &registers[i]);
    }
    return status;
}

static uint64_t call_unit(uint32_t unit, uint32_t buses)
{
    struct result r =
        iommu_start(SLOT_ROOT_SYS, registers[unit].slot, scopes->unit[unit].kind, buses);
    started += r.status == OK;
    return r.status;
}

/* Of each unit the first buses, up to the last with a function that may be assigned: each takes a
   frame of the kernel's pool (kernel/vtd.c), what has none is blocked as well. Of another segment
   no function is seen. */
static void count_buses(uint32_t buses[MAX_IOMMUS])
{
    for (uint32_t i = 0; i < scopes->units; i++) {
        const struct scope_unit *u = &scopes->unit[i];
        bool all = u->segment == 0 && (u->rest || u->kind == IOMMU_AMDVI);
        buses[i] = all ? pci_buses() : 1;
    }
    for (const struct pci_function *f = pci_function(0); f < pci_function(pci_count()); f++) {
        uint32_t unit, last = pci_last_bus(f->header || !f->parent ? f : f->parent); /* VFs, too */
        if (!iommu_of(f, &unit) && buses[unit] <= last)
            buses[unit] = last + 1;
    }
}

/* AMD-Vi's units have one table of functions by requester ID (kernel/amdvi.c), which another
   segment's would share. */
static const char *iommu_start_unit(uint32_t unit, uint32_t buses)
{
    if (scopes->unit[unit].kind == IOMMU_AMDVI && scopes->unit[unit].segment)
        return "an AMD-Vi unit is of a PCI segment other than 0";
    uint64_t status = call_unit(unit, buses);
    if (status == OK)
        return 0;
    format(text, sizeof(text), "the IOMMU at 0x%lx cannot be used: status %u",
           scopes->unit[unit].base, STATUS_CODE(status));
    return text;
}

/* Why devices of some segment would be behind no unit; NULL: all are. */
static const char *open_segment(const struct acpi *acpi)
{
    for (uint32_t i = 0; i < acpi->segments; i++) {
        bool blocked = false;
        for (const struct scope_unit *u = scopes->unit; u < scopes->unit + scopes->units; u++)
            blocked |= u->segment == acpi->segment[i] && (u->rest || u->kind == IOMMU_AMDVI);
        if (!blocked)
            return "a PCI segment of the machine has no IOMMU";
    }
    return 0;
}

void iommu_start_all(const struct acpi *acpi)
{
    scopes = &acpi->scopes;
    /* Before pci_scan(), which maps what is beside them. */
    uint64_t taken = scopes->wrong ? (uint64_t)BAD_ARG : take_registers();
    const char *wrong = pci_scan(acpi->ecam, acpi->buses);
    problem = scopes->wrong ? scopes->wrong : wrong;
    if (!problem && scopes->units == 0)
        problem = "the machine has no IOMMU";
    if (!problem)
        problem = open_segment(acpi);
    if (!problem && taken != OK)
        problem = "an IOMMU's registers are not in device memory";
    uint32_t buses[MAX_IOMMUS];
    count_buses(buses);
    for (uint32_t i = 0; !problem && i < scopes->units; i++)
        problem = iommu_start_unit(i, buses[i]);
}

uint32_t iommu_units(void) { return started; }

/* Where a part of the machine would be left out none is started: then the level is L0. */
uint64_t iommu_take_for_host(const struct acpi *acpi)
{
    scopes = &acpi->scopes;
    problem = scopes->wrong ? scopes->wrong : open_segment(acpi);
    uint64_t status = problem ? (uint64_t)OK : take_registers();
    for (uint32_t i = 0; i < scopes->units && status == OK && !problem; i++)
        status = call_unit(i, 0);
    if (problem)
        console_say("level L0: %s", problem);
    return status;
}

/* ---- who is behind which ------------------------------------------------------------- */
/* The function at the end of the scope's path of bridges; NULL: there is none. */
static const struct pci_function *end_of_path(const struct scope *s)
{
    uint32_t bus = s->bus;
    for (uint32_t i = 0;; i++) {
        const struct pci_function *f = pci_find((uint16_t)(bus << 8 | s->path[i]));
        if (!f || i + 1 == s->depth)
            return f;
        bus = f->secondary;
    }
}

static bool covers(const struct scope *s, const struct pci_function *f)
{
    if (s->what == SCOPE_RANGE)
        return f->rid >= s->first && f->rid <= s->last;
    for (const struct pci_function *end = end_of_path(s); f; f = f->parent)
        if (f == end || s->what == SCOPE_FUNCTION)
            return f == end;
    return false;
}

/* Precedence (VT-d 8.3): a scope that names the function, or a bridge above it, before the unit
 * that serves the rest. A virtual function is where its physical one is. */
const char *iommu_of(const struct pci_function *f, uint32_t *unit)
{
    const char *wrong = "it is behind no IOMMU", *forbidden = 0;
    f = f->pf ? f->pf : f;
    for (uint32_t i = 0; i < scopes->units; i++)
        if (scopes->unit[i].rest && scopes->unit[i].segment == 0) {
            *unit = i;
            wrong = 0;
        }
    for (uint32_t i = 0; i < scopes->scopes; i++) {
        const struct scope *s = &scopes->scope[i];
        if (!covers(s, f))
            continue;
        if (s->unit == SCOPE_RESERVED) {
            forbidden = "firmware uses memory with it (RMRR, IVMD)";
        } else if (s->unit == SCOPE_ALIAS) {
            forbidden = "its requests carry another function's requester ID (IVRS alias)";
        } else {
            *unit = s->unit;
            wrong = 0;
        }
    }
    return forbidden ? forbidden : wrong;
}

/* ---- what they blocked ------------------------------------------------------------------ */
static void tell(uint64_t fault)
{
    uint16_t rid = (uint16_t)(fault >> 48);
    console_say("iommu blocked rid=%02x:%02x.%x address=0x%lx reason=%u vm=%s", (uint32_t)rid >> 8,
                (uint32_t)rid >> 3 & 31, (uint32_t)rid & 7, (fault >> 8 & 0xffffffffff) << 12,
                (uint32_t)fault & 0xff, device_owner(rid));
}

uint64_t iommu_turn(uint64_t now)
{
    if (!started || now < due)
        return due;
    for (uint32_t i = 0; i < started; i++) {
        for (uint32_t lines = 0; lines < LINES_MAX && uart_space() >= UART_SAY; lines++) {
            struct result r = iommu_fault(SLOT_ROOT_SYS, i);
            if (r.status != OK)
                break;
            tell(r.value);
        }
    }
    due = now + clock_ticks(POLL_MS);
    return due;
}
