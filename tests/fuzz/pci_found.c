/* What root found on the machine, against the registers as they are. */
#include "pci.h"

#include "pci_root.h"
#include <root/hardware/assign.h>

/* ---- what was found -------------------------------------------------------------------- */
static bool in_window(const struct pci_function *f, struct range r)
{
    if (!f->parent)
        return true;
    const uint8_t *page = space_first(f->parent->rid);
    uint64_t low = (space_word(page, 0x20, 2) & 0xfff0u) << 16,
             low_to = ((space_word(page, 0x22, 2) & 0xfff0ull) << 16) + 0x100000;
    uint64_t wide = page[0x24] & 1, high = wide ? space_word(page, 0x28, 4) : 0,
             high_to = wide ? space_word(page, 0x2c, 4) : 0;
    uint64_t from = high << 32 | (space_word(page, 0x24, 2) & 0xfff0u) << 16;
    uint64_t to = (high_to << 32 | (space_word(page, 0x26, 2) & 0xfff0ull) << 16) + 0x100000;
    return (r.from >= low && r.to <= low_to) || (r.from >= from && r.to <= to);
}

static void check_alone(const struct pci_function *f, struct range r, const char *sentence)
{
    fuzz_must(r.from && r.from < r.to && in_window(f, r),
              "registers are where the bridge above forwards to");
    for (uint32_t i = 0; i < space_count(); i++)
        for (uint32_t b = 0; b < 6; b++) {
            struct space_bar bar = space_bar(space_rid(i), b);
            if (bar.size && space_rid(i) != f->rid && pci_find(space_rid(i)))
                fuzz_must(!meet(r, (struct range){bar.address, bar.address + bar.size}), sentence);
        }
}

static void check_capabilities(const struct pci_function *f)
{
    const uint8_t *page = space_first(f->rid);
    fuzz_must(f->pcie == space_pcie(page) && f->msix == space_capability(page, 0x11, 12),
              "capabilities are where they are, and whole");
    fuzz_must(f->pm == space_capability(page, 1, 8) && f->af == space_capability(page, 0x13, 6),
              "old capabilities, too");
    fuzz_must(f->sriov == (f->pcie ? space_extended(page, EXT_SRIOV, 64) : 0), "and SR-IOV");
    if (f->msix)
        fuzz_must(f->msix_count == (space_word(page, f->msix + 2u, 2) & 0x7ff) + 1,
                  "so many messages");
}

/* Two bridges lead to its bus. */
static bool is_twice(const struct pci_function *f)
{
    uint32_t times = 0;
    for (uint32_t i = 0; i < pci_count(); i++)
        times += pci_function(i)->rid == f->rid;
    return times > 1;
}

static void check_usable(const struct pci_function *f)
{
    fuzz_must(!is_twice(f), "what is there twice is nobody's");
    for (uint32_t b = 0; b < 6; b++) {
        struct space_bar bar = space_bar(f->rid, b);
        fuzz_must(f->bar[b].size == bar.size && (!bar.size || f->bar[b].address == bar.address),
                  "a BAR is as long as it is");
        if (bar.size)
            check_alone(f, (struct range){bar.address, bar.address + bar.size},
                        "no other function is where an assigned one is");
    }
    const uint8_t *page = space_first(f->rid);
    uint32_t table = space_word(page, f->msix + 4u, 4);
    fuzz_must((table & 7) < 6 &&
                  (table & ~7u) + 16ull * f->msix_count <= space_bar(f->rid, table & 7).size,
              "the MSI-X table is in a BAR");
    fuzz_must(page[14] == 0 || page[14] == 0x80, "no bridge is given away");
}

static void check_vfs(const struct pci_function *f)
{
    for (uint32_t n = 0; n < f->vfs; n++) {
        uint32_t rid = f->rid + f->vf_offset + n * f->vf_stride;
        fuzz_must(rid >> 8 == (uint32_t)f->rid >> 8 && rid != f->rid && !pci_find((uint16_t)rid),
                  "virtual functions have places of their own");
    }
    for (uint32_t b = 0; b < 6 && f->vfs; b++) {
        const struct pci_bar *bar = &f->vf_bar[b];
        if (!bar->size)
            continue;
        fuzz_must(bar->size <= ~0ull / f->vfs && bar->address <= ~0ull - bar->size * f->vfs,
                  "what virtual functions have is within all addresses");
        check_alone(f, (struct range){bar->address, bar->address + bar->size * f->vfs},
                    "no other function is where virtual ones will be");
    }
}

/* ---- groups, in another way: all that could reach each other is tied together -----------------
 */
static uint32_t tied[PCI_FUNCTIONS];

static uint32_t top(uint32_t i)
{
    while (tied[i] != i)
        i = tied[i];
    return i;
}
static void tie(uint32_t a, uint32_t b)
{
    if (!is_twice(pci_function(a)) && !is_twice(pci_function(b)))
        tied[top(a)] = top(b);
}

static bool redirects(const struct pci_function *f, uint32_t bits)
{
    const uint8_t *page = space_page(f->rid);
    uint32_t acs = f->pcie ? space_extended(page, EXT_ACS, 8) : 0;
    return acs && (space_word(page, acs + 6, 2) & bits) == bits;
}

static bool keeps_apart(const struct pci_function *f)
{
    return redirects(f, f->header == 1 ? 0x1d : 0x0c);
}

static void tie_device(uint32_t i)
{
    const struct pci_function *f = pci_function(i);
    bool several = pci_find(f->rid & 0xfff8) && space_page(f->rid & 0xfff8)[14] & 0x80,
         apart = true;
    for (uint32_t k = 0; k < pci_count(); k++)
        if (pci_function(k)->rid >> 3 == f->rid >> 3)
            apart = apart && (pci_function(k)->class == 0x0600 || keeps_apart(pci_function(k)));
    for (uint32_t k = 0; k < pci_count() && several && !apart; k++)
        if (pci_function(k)->rid >> 3 == f->rid >> 3)
            tie(i, k);
}

static void tie_below(uint32_t i)
{
    const struct pci_function *f = pci_function(i);
    bool port = f->type == PCIE_UPSTREAM_PORT ||
                ((f->type == PCIE_ROOT_PORT || f->type == PCIE_DOWNSTREAM_PORT) && keeps_apart(f));
    bool shares = false;
    for (uint32_t k = 0; k < pci_count(); k++)
        shares |= k != i && top(k) == top(i) && pci_function(k)->rid >> 3 == f->rid >> 3;
    for (uint32_t k = 0; k < pci_count() && (!port || shares); k++)
        for (const struct pci_function *up = pci_function(k)->parent; up; up = up->parent)
            if (up == f)
                tie(i, k);
}

static void check_groups(void)
{
    uint16_t group[PCI_FUNCTIONS];
    for (uint32_t i = 0; i < pci_count(); i++)
        tied[i] = i;
    for (uint32_t i = 0; i < pci_count(); i++)
        tie_device(i);
    for (uint32_t i = 0; i < pci_count(); i++)
        tie_below(i);
    for (uint32_t i = 0; i < pci_count(); i++) {
        group[i] = pci_group(pci_function(i));
        space_settle();
        for (uint32_t k = 0; k < i; k++)
            fuzz_must(top(i) != top(k) || group[i] == group[k],
                      "functions that reach each other are one group");
    }
}

void found_check(void)
{
    for (uint32_t i = 0; i < pci_count(); i++) {
        const struct pci_function *f = pci_function(i);
        fuzz_must(space_page(f->rid), "what was found is there");
        check_capabilities(f);
        bool usable = !assign_wrong(f);
        space_settle();
        if (usable)
            check_usable(f);
        check_vfs(f);
    }
    check_groups();
}
