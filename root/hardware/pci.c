#include <root/hardware/pci.h>
#include <root/memory.h>
#include <lib/call.h>

enum pcie_bit { CAPABLE_FLR = 1 << 28, CONTROL_FLR = 1 << 15, CONTROL_NO_SNOOP = 1 << 11 };
enum pcie_status { STATUS_PENDING = 1 << 5 };
enum pm_af { PM_CONTROL = 4, PM_D3 = 3, PM_KEEPS = 8, AF_CAPABLE = 3, AF_CONTROL = 4, AF_FLR = 2 };
/* ACS_ISOLATION: source validation, request and completion redirect, upstream forwarding */
enum acs { ACS_CAPABLE = 4, ACS_CONTROL = 6, ACS_REDIRECT = 0x0c, ACS_ISOLATION = 0x1d };
enum size { SIZE_PM = 8, SIZE_PCIE = 20, SIZE_PCIE_2 = 60, SIZE_MSIX = 12, SIZE_AF = 6 };
enum extended_size { SIZE_ACS = 8, SIZE_SRIOV = 64 };

#define MULTI_FUNCTION 0x80u
#define HOST_BRIDGE    0x0600u

static struct pci_function function[PCI_FUNCTIONS];
static uint32_t functions, bus_limit;
static uint64_t ecam_base;
static uint8_t *ecam;

uint32_t pci_count(void) { return functions; }
struct pci_function *pci_function(uint32_t i) { return &function[i]; }
uint64_t pci_ecam(uint16_t rid) { return ecam_base + ((uint64_t)rid << PAGE_SHIFT); }

uint32_t pci_read(uint16_t rid, uint32_t offset, uint32_t size)
{
    volatile uint8_t *at = ecam + ((uint64_t)rid << PAGE_SHIFT) + offset;
    if ((uint32_t)rid >> 8 >= bus_limit)
        return ~0u;
    if (size == 1)
        return *at;
    if (size == 2)
        return *(volatile uint16_t *)(volatile void *)at;
    return *(volatile uint32_t *)(volatile void *)at;
}

void pci_write(uint16_t rid, uint32_t offset, uint32_t size, uint32_t value)
{
    volatile uint8_t *at = ecam + ((uint64_t)rid << PAGE_SHIFT) + offset;
    if ((uint32_t)rid >> 8 >= bus_limit)
        return;
    if (size == 1)
        *at = (uint8_t)value;
    else if (size == 2)
        *(volatile uint16_t *)(volatile void *)at = (uint16_t)value;
    else
        *(volatile uint32_t *)(volatile void *)at = value;
}

struct pci_function *pci_find(uint16_t rid)
{
    for (uint32_t i = 0; i < functions; i++)
        if (function[i].rid == rid)
            return &function[i];
    return 0;
}

/* ---- capabilities (PCIe 7.5.3, 7.6.3) ------------------------------------------------ */
/* The walk ends after as many entries as fit the space, because a faulty list may be a circle. A
   capability that does not lie in the space as a whole does not count: behind the last register is
   the next function's first. */
static uint16_t find_capability(const struct pci_function *f, uint32_t id, uint32_t size)
{
    uint32_t at =
        pci_read16(f, PCI_STATUS) & 0x10 ? pci_read(f->rid, PCI_CAPABILITIES, 1) & 0xfc : 0;
    for (uint32_t left = 48; left && at >= 0x40; left--, at = pci_read(f->rid, at + 1, 1) & 0xfc)
        if (pci_read(f->rid, at, 1) == id)
            return at + size <= PCI_EXTENDED_SPACE ? (uint16_t)at : 0;
    return 0;
}

uint16_t pci_find_extended(const struct pci_function *f, uint32_t id, uint32_t size)
{
    uint32_t at = f->pcie ? PCI_EXTENDED_SPACE : 0;
    for (uint32_t left = 960, head; left && at >= PCI_EXTENDED_SPACE;
         left--, at = head >> 20 & 0xffc) {
        head = pci_read32(f, at);
        if ((head & 0xffff) == id && head != ~0u)
            return at + size <= PAGE_SIZE ? (uint16_t)at : 0;
    }
    return 0;
}

static bool is_version_2(const struct pci_function *f, uint32_t pcie)
{
    return (pci_read16(f, pcie + PCIE_FLAGS) & 15) > 1;
}
bool pci_has_control2(const struct pci_function *f) { return f->pcie && is_version_2(f, f->pcie); }

static uint16_t find_pcie(const struct pci_function *f)
{
    uint16_t at = find_capability(f, CAP_PCIE, SIZE_PCIE);
    return at && is_version_2(f, at) && at + SIZE_PCIE_2 > PCI_EXTENDED_SPACE ? 0 : at;
}

static enum pci_reset find_reset(const struct pci_function *f)
{
    bool flr = !pci_flr_fails(f->id);
    if (flr && f->pcie && pci_read32(f, f->pcie + PCIE_CAPABLE) & CAPABLE_FLR)
        return RESET_FLR;
    if (flr && f->af && pci_read(f->rid, f->af + AF_CAPABLE, 1) & AF_FLR)
        return RESET_AF;
    return f->pm && !(pci_read16(f, f->pm + PM_CONTROL) & PM_KEEPS) ? RESET_PM : RESET_NONE;
}

void pci_read_capabilities(struct pci_function *f)
{
    f->class = pci_read32(f, PCI_CLASS) >> 16;
    f->msix = find_capability(f, CAP_MSIX, SIZE_MSIX);
    f->pcie = find_pcie(f);
    f->pm = find_capability(f, CAP_PM, SIZE_PM);
    f->af = find_capability(f, CAP_AF, SIZE_AF);
    f->sriov = f->pf ? 0 : pci_find_extended(f, EXT_SRIOV, SIZE_SRIOV);
    f->type = f->pcie ? pci_read16(f, f->pcie + PCIE_FLAGS) >> 4 & 15 : 0;
    f->reset = find_reset(f);
    pci_read_sizes(f);
    /* Device control as firmware set it up, to be restored after a reset clears it: above all the
       payload size, on which both ends of a link must agree. */
    f->control = f->pcie ? pci_read16(f, f->pcie + PCIE_CONTROL) &
                               ~(uint32_t)(CONTROL_FLR | CONTROL_NO_SNOOP)
                         : 0;
    f->control2 = pci_has_control2(f) ? pci_read16(f, f->pcie + PCIE_CONTROL2) : 0;
    if (f->msix) {
        uint32_t table = pci_read32(f, f->msix + 4u);
        f->msix_count = (pci_read16(f, f->msix + MSIX_CONTROL) & MSIX_LAST) + 1;
        f->msix_bar = table & 7;
        f->msix_offset = table & ~7u;
    }
}

bool pci_is_there(const struct pci_function *f)
{
    const struct pci_function *pf = f->pf;
    if (pf && (~pci_read16(pf, pf->sriov + SRIOV_CONTROL) & (SRIOV_VFE | SRIOV_MSE)))
        return false;
    return pci_read32(f, PCI_CLASS) != ~0u;
}

/* ---- all of them ---------------------------------------------------------------------------- */
static void read_bridge(struct pci_function *f)
{
    uint64_t memory = pci_read32(f, PCI_MEMORY_WINDOW),
             prefetch = pci_read32(f, PCI_PREFETCH_WINDOW), upper = prefetch & 1;
    uint64_t base =
        (prefetch & 0xfff0) << 16 | (upper ? (uint64_t)pci_read32(f, PCI_PREFETCH_UPPER) << 32 : 0);
    uint64_t last = (prefetch & 0xfff00000) | 0xfffff |
                    (upper ? (uint64_t)pci_read32(f, PCI_PREFETCH_UPPER + 4) << 32 : 0);
    uint64_t low = (memory & 0xfff0) << 16, low_last = (memory & 0xfff00000) | 0xfffff;
    f->secondary = pci_read(f->rid, PCI_SECONDARY_BUS, 1);
    f->subordinate = pci_read(f->rid, PCI_SUBORDINATE_BUS, 1);
    f->window[0] = (struct pci_bar){low, low && low_last > low ? low_last - low + 1 : 0, 0};
    f->window[1] = (struct pci_bar){base, base && last > base ? last - base + 1 : 0, 0};
}

/* A bridge with plausible bus numbers: in order, and above its own bus, so that the scan of what is
 * behind it ends. */
static bool is_bridge(const struct pci_function *f)
{
    return f->header == 1 && f->secondary > (uint32_t)f->rid >> 8 && f->subordinate >= f->secondary;
}

/* Access control services on (6.12). A request cannot carry a requester ID of a bus that is not
 * behind the port, nor reach a neighbour without passing the IOMMU. */
static void isolate(const struct pci_function *f)
{
    uint32_t acs = pci_find_extended(f, EXT_ACS, SIZE_ACS);
    if (acs)
        pci_write16(f, acs + ACS_CONTROL, pci_read16(f, acs + ACS_CAPABLE) & ACS_ISOLATION);
}

/* Read its BARs, if it may ever be assigned. Measuring stops decoding for a moment, so bridges and
 * the chipset's own devices are left alone. */
static void pci_measure(struct pci_function *f)
{
    uint32_t command = pci_read16(f, PCI_COMMAND);
    if (f->class >> 8 == 6 || f->class >> 8 == 8)
        return;
    pci_write16(f, PCI_COMMAND,
                command & ~(uint32_t)(COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER));
    pci_measure_bars(f, PCI_BAR0, f->bar);
    pci_write16(f, PCI_COMMAND, command & ~(uint32_t)COMMAND_MASTER);
}

/* Note the function `rid`, which is behind the bridge `parent`. False: there is none, or no room
 * for it (`*full`). */
static bool scan_function(uint16_t rid, struct pci_function *parent, bool *full)
{
    uint32_t id = pci_read(rid, PCI_ID, 4);
    if ((id & 0xffff) == 0xffff)
        return false;
    if (functions == PCI_FUNCTIONS) {
        *full = true;
        return false;
    }
    struct pci_function *f = &function[functions++];
    *f = (struct pci_function){.rid = rid, .id = id, .parent = parent};
    f->header = pci_read(rid, PCI_HEADER_TYPE, 1) & 0x7f;
    pci_read_capabilities(f);
    if (f->header == 1)
        read_bridge(f);
    else if (f->header == 0)
        pci_measure(f);
    if (is_bridge(f)) /* bus mastering on, else a bridge forwards no request upwards */
        pci_write16(f, PCI_COMMAND, pci_read16(f, PCI_COMMAND) | COMMAND_MEMORY | COMMAND_MASTER);
    isolate(f);
    return true;
}

static void scan_bus(uint32_t bus, struct pci_function *parent, bool *full)
{
    for (uint32_t i = 0; i < 256; i += 8) {
        uint16_t rid = (uint16_t)(bus << 8 | i);
        if (!scan_function(rid, parent, full) ||
            !(pci_read(rid, PCI_HEADER_TYPE, 1) & MULTI_FUNCTION))
            continue;
        for (uint16_t number = 1; number < 8; number++)
            scan_function(rid + number, parent, full);
    }
}

/* Does a bridge forward to this bus? Else it is a root bus, if there is anything on it: which root
 * buses there are firmware tells in AML only. */
static bool is_below_a_bridge(uint32_t bus)
{
    for (const struct pci_function *f = function; f < function + functions; f++)
        if (is_bridge(f) && bus >= f->secondary && bus <= f->subordinate)
            return true;
    return false;
}

/* A bus, and all behind its bridges. */
static void scan_tree(uint32_t bus, bool *full)
{
    uint32_t i = functions;
    for (scan_bus(bus, 0, full); i < functions; i++)
        if (is_bridge(&function[i]) && function[i].secondary < bus_limit)
            scan_bus(function[i].secondary, &function[i], full);
}

const char *pci_scan(uint64_t base, uint32_t buses)
{
    bool full = false;
    ecam_base = base;
    bus_limit = buses;
    functions = 0;
    ecam = base ? memory_open(base, (uint64_t)buses << 20, MR_READ | MR_WRITE) : 0;
    if (!ecam)
        return "the machine has no memory-mapped PCI configuration space";
    for (uint32_t bus = 0; bus < buses; bus++)
        if (!is_below_a_bridge(bus))
            scan_tree(bus, &full);
    for (uint32_t i = 0; i < functions; i++)
        pci_prepare_vfs(&function[i]);
    return full ? "the machine has more PCI functions than Hairline can watch" : 0;
}

uint32_t pci_last_bus(const struct pci_function *f)
{
    return is_bridge(f) ? f->subordinate : (uint32_t)f->rid >> 8;
}

uint32_t pci_buses(void)
{
    uint32_t last = 0;
    for (const struct pci_function *f = function; f < function + functions; f++) {
        uint32_t bus = pci_last_bus(f);
        last = bus > last ? bus : last;
    }
    return last + 1;
}

/* ---- isolation --------------------------------------------------------------------------------
 */
/* Does `f` keep requests from its neighbours? A port must have all of ACS_ISOLATION on, an endpoint
   the redirects. The control register's answer counts, not the capability register: ports of some
   Intel chipsets have their control register elsewhere, and ignore what isolate() wrote. */
static bool keeps_apart(const struct pci_function *f)
{
    uint32_t acs = pci_find_extended(f, EXT_ACS, SIZE_ACS),
             wanted = f->header == 1 ? ACS_ISOLATION : ACS_REDIRECT;
    return acs && (pci_read16(f, acs + ACS_CONTROL) & wanted) == wanted;
}

/* Could peer-to-peer requests pass between functions of its device, inside that (6.12)? Host
 * bridges do not count: they send none. */
static bool has_neighbours(const struct pci_function *f)
{
    if (!(pci_read(f->rid & 0xfff8, PCI_HEADER_TYPE, 1) & MULTI_FUNCTION))
        return false;
    for (const struct pci_function *other = function; other < function + functions; other++)
        if (!((other->rid ^ f->rid) & 0xfff8) && other->class != HOST_BRIDGE && !keeps_apart(other))
            return true;
    return false;
}

/* Does every request from below `port` go up towards the IOMMU, with its sender's requester ID? The
   upstream port of a switch needs no ACS: there is no port beside it. */
static bool sends_up(const struct pci_function *port)
{
    bool lower = port->type == PCIE_ROOT_PORT || port->type == PCIE_DOWNSTREAM_PORT;
    return (lower ? keeps_apart(port) : port->type == PCIE_UPSTREAM_PORT) && !has_neighbours(port);
}

/* The highest bridge on the way to the root that does not send all up decides: all functions below
 * it, and beside it, are one group. */
uint16_t pci_group(const struct pci_function *f)
{
    const struct pci_function *top = f;
    for (const struct pci_function *port = f->parent; port; port = port->parent)
        top = sends_up(port) ? top : port;
    return top->pf || !has_neighbours(top) ? top->rid : top->rid & 0xfff8;
}

/* ---- reset (6.6.2) ------------------------------------------------------------------------------
 */
void pci_quiet(const struct pci_function *f)
{
    pci_write16(f, PCI_COMMAND, COMMAND_NO_INTX | COMMAND_MEMORY);
    if (f->msix)
        pci_write16(f, f->msix + MSIX_CONTROL, 0);
}

bool pci_pending(const struct pci_function *f)
{
    return f->pcie && pci_read16(f, f->pcie + PCIE_STATUS) & STATUS_PENDING;
}

void pci_reset(const struct pci_function *f)
{
    if (f->reset == RESET_FLR)
        pci_write16(f, f->pcie + PCIE_CONTROL, f->control | CONTROL_FLR);
    if (f->reset == RESET_AF)
        pci_write(f->rid, f->af + AF_CONTROL, 1, 1);
    if (f->reset == RESET_PM)
        pci_write16(f, f->pm + PM_CONTROL, PM_D3);
}

void pci_wake(const struct pci_function *f)
{
    if (f->pm)
        pci_write16(f, f->pm + PM_CONTROL, 0);
}

void pci_restore(const struct pci_function *f)
{
    pci_write16(f, PCI_COMMAND, COMMAND_NO_INTX);
    isolate(f);
    if (f->pcie)
        pci_write16(f, f->pcie + PCIE_CONTROL, f->control);
    if (pci_has_control2(f))
        pci_write16(f, f->pcie + PCIE_CONTROL2, f->control2);
    pci_write_sizes(f);
    if (!f->pf)
        pci_write_bars(f, PCI_BAR0, f->bar);
    if (f->vfs)
        pci_restore_vfs(f);
    pci_write16(f, PCI_COMMAND, COMMAND_NO_INTX | COMMAND_MEMORY);
}
