#include <cli/here/here.h>
#include <cli/host.h>

#include <lib/hw/pci.h>
#include <root/hardware/pci.h>
#include <root/hardware/scope.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCI       "/sys/bus/pci/devices"
#define TABLE_MAX 65536u

/* ---- IOMMUs -------------------------------------------------------------------------- */

static const char *switch_on = "switch it on in the firmware (VT-d, AMD IOMMU), if it can be";

/* Is there configuration space of segment 0 from bus 0 on? PCI Firmware 3.3, 4.1.2. */
static bool mcfg_fits(const struct here *here)
{
    enum { FIRST = 44, SEGMENT = 8, START = 10, SIZE = 16 };
    uint8_t bytes[1024];
    struct acpi_table mcfg = {bytes, (uint32_t)here_table(here, "MCFG", bytes, sizeof(bytes))};
    for (uint32_t at = FIRST; at + SIZE <= mcfg.length; at += SIZE)
        if (!acpi_get(&mcfg, at + SEGMENT, 2) && !acpi_get(&mcfg, at + START, 1))
            return true;
    return false;
}

/* The tables of IOMMUs, read as root reads them. False: there is one that Linux does not show. */
static bool read_scopes(const struct here *here, struct scopes *scopes)
{
    static uint8_t bytes[TABLE_MAX];
    struct acpi_table table = {bytes, 0};
    table.length = (uint32_t)here_table(here, "DMAR", bytes, sizeof(bytes));
    if (table.length)
        scope_read_dmar(&table, scopes);
    else if (here_has_table(here, "DMAR"))
        return false;
    table.length = (uint32_t)here_table(here, "IVRS", bytes, sizeof(bytes));
    if (table.length)
        scope_read_ivrs(&table, scopes);
    return table.length || !here_has_table(here, "IVRS");
}

static void tell_iommus(struct here *here)
{
    static struct scopes scopes;
    bool seen = read_scopes(here, &scopes), devices = here_exists(here, PCI);
    if (!seen)
        here_say(here, UNKNOWN, "IOMMU", "its table cannot be read: Linux shows it to root only");
    else if (!scopes.units)
        here_say(here, WITHOUT, "IOMMU", "none, so no VM can have devices: %s", switch_on);
    else if (scopes.wrong)
        here_say(here, WITHOUT, "IOMMU", "no VM can have devices: %s", scopes.wrong);
    else if (devices && !mcfg_fits(here))
        here_say(here, WITHOUT, "IOMMU",
                 "no VM can have devices: there is no PCI configuration space from bus 0 of "
                 "segment 0 on");
    else {
        here->iommu = scopes.unit[0].kind;
        here_say(here, FITS, "IOMMU", "%u units of %s", scopes.units,
                 here->iommu == IOMMU_VTD ? "VT-d" : "AMD-Vi");
    }
}

/* ---- PCI functions ------------------------------------------------------------------- */

struct function {
    const char *address; /* DDDD:BB:DD.F */
    uint8_t config[4096];
    struct acpi_table all; /* config, as far as Linux shows it */
};

static const struct {
    uint32_t class; /* base class << 8 | subclass */
    const char *name;
} here_classes[] = {{0x0200, "network"}, {0x0108, "nvme"}, {0x0106, "sata"}, {0x0c03, "usb"}};

static bool read_function(const struct here *here, const char *address, struct function *f)
{
    f->address = address;
    f->all.at = f->config;
    f->all.length = (uint32_t)here_read(here, host_text(PCI "/%s/config", address), f->config,
                                        sizeof(f->config));
    return f->all.length >= 64;
}

/* Where capability `id` is; 0: there is none. */
static uint32_t capability(const struct function *f, uint32_t id)
{
    uint32_t at = (uint32_t)acpi_get(&f->all, PCI_CAPABILITIES, 1) & ~3u;
    for (uint32_t n = 0; at && n < 48; n++, at = (uint32_t)acpi_get(&f->all, at + 1, 1) & ~3u)
        if (acpi_get(&f->all, at, 1) == id)
            return at;
    return 0;
}

static uint32_t extended(const struct function *f, uint32_t id)
{
    uint32_t at = PCI_EXTENDED_SPACE;
    for (uint32_t n = 0; at >= PCI_EXTENDED_SPACE && n < 960; n++) {
        uint64_t head = acpi_get(&f->all, at, 4);
        if ((head & 0xffff) == id)
            return at;
        at = (uint32_t)(head >> 20) & ~3u;
    }
    return 0;
}

static const char *class_of_function(const struct function *f)
{
    uint64_t class = acpi_get(&f->all, PCI_CLASS + 2, 2);
    for (size_t i = 0; i < sizeof(here_classes) / sizeof(here_classes[0]); i++)
        if (here_classes[i].class == class)
            return here_classes[i].name;
    return NULL;
}

/* A reset that root knows: FLR, Advanced Features, or by power states that forget (PCIe 6.6.2). */
static bool can_be_reset(const struct function *f)
{
    uint32_t pcie = capability(f, CAP_PCIE), af = capability(f, CAP_AF), pm = capability(f, CAP_PM);
    bool flr = (pcie && acpi_get(&f->all, pcie + PCIE_CAPABLE, 4) >> 28 & 1) ||
               (af && acpi_get(&f->all, af + 3, 1) & 2);
    return (flr && !pci_flr_fails((uint32_t)acpi_get(&f->all, PCI_ID, 4))) ||
           (pm && !(acpi_get(&f->all, pm + 4, 2) & 8));
}

static const char *group_of(const struct here *here, const char *address)
{
    char target[256];
    ssize_t size = readlink(host_text("%s" PCI "/%s/iommu_group", here->root, address), target,
                            sizeof(target) - 1);
    target[size > 0 ? size : 0] = 0;
    const char *slash = strrchr(target, '/');
    return slash ? host_text("%s", slash + 1) : NULL;
}

/* What else is in the function's group, bridges apart; "": nothing. */
static const char *group_mates(const struct here *here, const struct function *f, const char *group)
{
    const char *mates = "";
    DIR *folder = opendir(host_text("%s/sys/kernel/iommu_groups/%s/devices", here->root, group));
    for (struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder)) {
        const char *class = here_line(here, host_text(PCI "/%s/class", entry->d_name));
        bool bridge = class && strncmp(class, "0x06", 4) == 0;
        if (entry->d_name[0] != '.' && !bridge && strcmp(entry->d_name, f->address) != 0)
            mates = host_text("%s %s", mates, entry->d_name);
    }
    if (folder)
        closedir(folder);
    return mates;
}

/* Why no VM can have it; NULL: nothing is known against it. */
static const char *function_wrong(const struct function *f)
{
    if (strncmp(f->address, "0000:", 5) != 0)
        return "it is not in PCI segment 0";
    if (f->all.length <= 64)
        return "Linux shows all of it to root only";
    if (!capability(f, CAP_PCIE))
        return "it is not a PCI Express endpoint";
    if (!capability(f, CAP_MSIX))
        return "it has no MSI-X";
    return can_be_reset(f) ? NULL : "it cannot be reset";
}

static void tell_function(struct here *here, const struct function *f, const char *class)
{
    const char *item = host_text("%s (%s)", f->address, class), *wrong = function_wrong(f),
               *group = group_of(here, f->address),
               *mates = group ? group_mates(here, f, group) : "";
    if (wrong)
        here_say(here, WITHOUT, item, "no VM can have it: %s", wrong);
    else if (!here->iommu || !here->dedicated)
        here_say(here, WITHOUT, item, "no VM can have it without %s",
                 here->iommu ? "x2APIC" : "an IOMMU");
    else if (*mates)
        here_say(here, WITHOUT, item, "goes to one VM together with its group:%s", mates);
    else {
        here_say(here, FITS, item, "a VM can have it%s",
                 group ? ""
                       : ", if nothing is in one group with it: Linux tells once it uses the "
                         "IOMMU (intel_iommu=on, amd_iommu=on)");
        if (group && here->devices < HERE_DEVICES) {
            here->device[here->devices] = f->address + strlen("0000:");
            here->device_name[here->devices++] = class;
        }
    }
}

/* Root ports (PCIe 7.5.3.2) without ACS (7.7.11) do not keep what is behind them apart. */
static void tell_acs(struct here *here, uint32_t ports, uint32_t without, bool shown)
{
    if (ports && !shown)
        here_say(here, WITHOUT, "ACS", "not looked at: Linux shows it to root only");
    else if (without)
        here_say(here, WITHOUT, "ACS",
                 "%u of %u root ports lack it: what is behind those of one slot is one group; "
                 "switch it on in the firmware, if it can be",
                 without, ports);
    else if (ports)
        here_say(here, FITS, "ACS", "all %u root ports have it", ports);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_address(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void tell_functions(struct here *here, struct dirent **entries, uint32_t count)
{
    static struct function f;
    uint32_t ports = 0, without = 0;
    bool shown = true;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_function(here, host_text("%s", entries[i]->d_name), &f))
            continue;
        const char *class = class_of_function(&f);
        uint32_t pcie = capability(&f, CAP_PCIE);
        bool port = pcie && (acpi_get(&f.all, pcie + PCIE_FLAGS, 2) >> 4 & 15) == PCIE_ROOT_PORT;
        if (class)
            tell_function(here, &f, class);
        ports += port;
        without += port && !extended(&f, EXT_ACS);
        shown &= !port || f.all.length > PCI_EXTENDED_SPACE;
    }
    tell_acs(here, ports, without, shown);
}

void here_devices(struct here *here)
{
    struct dirent **entries = NULL;
    tell_iommus(here);
    int count = scandir(host_text("%s" PCI, here->root), &entries, is_address, by_name);
    if (count > (int)PCI_FUNCTIONS)
        here_say(here, WITHOUT, "PCI functions",
                 "%d, which are more than Hairline can watch (%u): no VM can have devices", count,
                 PCI_FUNCTIONS);
    else if (count > 0)
        tell_functions(here, entries, (uint32_t)count);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
}
