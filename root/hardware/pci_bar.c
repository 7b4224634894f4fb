#include <root/hardware/pci.h>
#include <root/memory.h>

enum ari { ARI_FORWARDING = 1 << 5, SIZE_ARI = 8 };

#define ROOM    (16u << 20)   /* bytes */
#define CHIPSET 0xfec00000ull /* from here to 4 GiB a PC has registers that no BAR tells of */

/* ---- BARs (7.5.1.2.1) ------------------------------------------------------------------ */
/* BARs at `offset`. Their sizes are found by writing ones, so decoding is off meanwhile. */
void pci_measure_bars(const struct pci_function *f, uint32_t offset, struct pci_bar bar[PCI_BARS])
{
    for (uint32_t i = 0, step; i < PCI_BARS; i += step) {
        uint32_t at = offset + 4 * i, low = pci_read32(f, at), high = 0, high_mask = ~0u;
        bool wide = (low & (BAR_IO | BAR_64)) == BAR_64 && i + 1 < PCI_BARS;
        pci_write32(f, at, ~0u);
        uint32_t mask = pci_read32(f, at);
        pci_write32(f, at, low);
        if (wide) {
            high = pci_read32(f, at + 4);
            pci_write32(f, at + 4, ~0u);
            high_mask = pci_read32(f, at + 4);
            pci_write32(f, at + 4, high);
        }
        step = wide ? 2 : 1;
        if (!(mask & BAR_IO) && (mask & ~15u || (wide && high_mask)))
            bar[i] = (struct pci_bar){(uint64_t)high << 32 | (low & ~15u),
                                      ~((uint64_t)high_mask << 32 | (mask & ~15u)) + 1,
                                      low & (wide ? 15u : 15u - BAR_64)};
    }
}

void pci_write_bars(const struct pci_function *f, uint32_t offset,
                    const struct pci_bar bar[PCI_BARS])
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        if (bar[i].size == 0)
            continue;
        pci_write32(f, offset + 4 * i, (uint32_t)bar[i].address);
        if (bar[i].flags & BAR_64)
            pci_write32(f, offset + 4 * i + 4, (uint32_t)(bar[i].address >> 32));
    }
}

/* ---- sizes that can be chosen ------------------------------------------------------------ */
enum { FIRST_SIZE = 8, SIZE_STEP = 8 };

static void read_sizes(const struct pci_function *f, uint32_t id, struct pci_sizes *sizes)
{
    sizes->at = f->pf ? 0 : pci_find_extended(f, id, FIRST_SIZE + 4);
    sizes->count = sizes->at ? pci_read32(f, sizes->at + FIRST_SIZE) >> 5 & 7 : 0;
    if (sizes->count > PCI_BARS || sizes->at + SIZE_STEP * sizes->count + 4 > PAGE_SIZE)
        sizes->count = 0;
    for (uint32_t i = 0; i < sizes->count; i++)
        sizes->control[i] = pci_read32(f, sizes->at + FIRST_SIZE + SIZE_STEP * i);
}

static void write_sizes(const struct pci_function *f, const struct pci_sizes *sizes)
{
    for (uint32_t i = 0; i < sizes->count; i++)
        pci_write32(f, sizes->at + FIRST_SIZE + SIZE_STEP * i, sizes->control[i]);
}

void pci_read_sizes(struct pci_function *f)
{
    read_sizes(f, EXT_RESIZABLE, &f->sizes);
    read_sizes(f, EXT_VF_RESIZABLE, &f->vf_sizes);
}

void pci_write_sizes(const struct pci_function *f)
{
    write_sizes(f, &f->sizes);
    write_sizes(f, &f->vf_sizes);
}

/* Where a BAR of another function than `f` begins that overlaps [address, address + size); ~0: none
 * does. */
static uint64_t meeting(const struct pci_function *f, uint64_t address, uint64_t size)
{
    for (const struct pci_function *other = pci_function(0); other < pci_function(pci_count());
         other++)
        for (uint32_t i = 0; i < PCI_BARS && other != f; i++) {
            if (pci_bar_meets(&other->bar[i], 1, address, size))
                return other->bar[i].address;
            if (pci_bar_meets(&other->vf_bar[i], other->vfs, address, size))
                return other->vf_bar[i].address;
        }
    return ~0ull;
}

static bool inside(const struct pci_bar *window, uint64_t address, uint64_t size)
{
    return address >= window->address && size <= window->size &&
           address - window->address <= window->size - size;
}

bool pci_owns(const struct pci_function *f, uint64_t address, uint64_t size)
{
    const struct pci_function *bridge = f->parent;
    bool forwarded = !bridge || inside(&bridge->window[0], address, size) ||
                     inside(&bridge->window[1], address, size);
    return forwarded && meeting(f->pf ? f->pf : f, address, size) == ~0ull;
}

/* ---- virtual functions (9.3.3) ----------------------------------------------------------- */
static uint64_t any_bar(uint64_t address, uint64_t size) { return meeting(0, address, size); }

/* The highest free place in `window` for `size` bytes, aligned to `align`; 0: none. */
static uint64_t pci_bar_place(const struct pci_bar *window, uint64_t size, uint64_t align)
{
    return memory_run(window->address, window->address + window->size, size, align, any_bar);
}

/* Room for BARs on bus 0, where no bridge's window says what is forwarded: ROOM bytes below the
 * lowest that firmware placed, and not in configuration space. On another root bus: none, since
 * what is forwarded there only AML says. */
static struct pci_bar room_on_root(uint32_t bus)
{
    const struct pci_bar ecam = {pci_ecam(0), 256u << 20, 0};
    uint64_t lowest = CHIPSET;
    if (bus)
        return (struct pci_bar){0, 0, 0};
    for (const struct pci_function *f = pci_function(0); f < pci_function(pci_count()); f++)
        for (uint32_t i = 0; i < PCI_BARS && !f->parent; i++) {
            const struct pci_bar *bar = f->header == 0 ? &f->bar[i] : &f->window[i & 1];
            lowest = bar->size && bar->address && bar->address < lowest ? bar->address : lowest;
        }
    lowest = pci_bar_meets(&ecam, 1, lowest - ROOM, ROOM) ? ecam.address : lowest;
    return (struct pci_bar){lowest - ROOM, ROOM, 0};
}

/* Does nothing decode [address, address + size)? Then the first word of each page reads as zeros or
 * ones. A table that says so firmware has in AML only; no table names registers there, on which a
 * read could have an effect. */
static bool is_empty(uint64_t address, uint64_t size)
{
    const volatile uint32_t *word =
        memory_is_device(address, size) ? memory_open(address, size, MR_READ) : 0;
    for (uint64_t at = 0; word && at < size; at += PAGE_SIZE)
        if (word[at / sizeof(*word)] + 1 > 1)
            return false;
    return word;
}

/* Place the BARs inside the windows of the bridge above. One that is not prefetchable goes only
 * into the window that is not, where no read is merged or repeated. */
static bool place_vf_bars(struct pci_function *f)
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &f->vf_bar[i];
        if (bar->size == 0)
            continue;
        struct pci_bar window =
            f->parent ? f->parent->window[0] : room_on_root((uint32_t)f->rid >> 8);
        bar->address = pci_bar_place(&window, bar->size * f->vfs, bar->size);
        if (bar->address && !f->parent && !is_empty(bar->address, bar->size * f->vfs))
            return false;
        if (!bar->address && f->parent && bar->flags & BAR_PREFETCH && bar->flags & BAR_64)
            bar->address = pci_bar_place(&f->parent->window[1], bar->size * f->vfs, bar->size);
        if (!bar->address)
            return false;
    }
    return true;
}

/* With alternative routing IDs, a bus behind a port has 256 functions of one device (6.13). */
static uint32_t route_by_function(const struct pci_function *f)
{
    const struct pci_function *port = f->parent;
    if (!port || !pci_has_control2(port) ||
        !(pci_read32(port, port->pcie + PCIE_CAPABLE2) & ARI_FORWARDING) ||
        !pci_find_extended(f, EXT_ARI, SIZE_ARI))
        return 0;
    pci_write16(port, port->pcie + PCIE_CONTROL2,
                pci_read16(port, port->pcie + PCIE_CONTROL2) | ARI_FORWARDING);
    return SRIOV_ARI;
}

/* The places of its virtual functions, which its owner enables later. Only such as are all on the
 * function's own bus: for others a bridge's bus numbers would have to change. */
void pci_prepare_vfs(struct pci_function *f)
{
    if (!f->sriov)
        return;
    pci_write16(f, f->sriov + SRIOV_CONTROL, 0);
    pci_write16(f, f->sriov + SRIOV_CONTROL, route_by_function(f));
    f->vfs = pci_read16(f, f->sriov + SRIOV_TOTAL_VFS);
    pci_write16(f, f->sriov + SRIOV_NUM_VFS, f->vfs);
    f->vf_offset = pci_read16(f, f->sriov + SRIOV_OFFSET);
    f->vf_stride = pci_read16(f, f->sriov + SRIOV_STRIDE);
    pci_write16(f, f->sriov + SRIOV_NUM_VFS, 0);
    pci_measure_bars(f, f->sriov + SRIOV_BAR0, f->vf_bar);
    for (uint32_t i = 0; i < PCI_BARS; i++)
        f->vf_bar[i].address = 0;
    bool here = f->vfs && f->vf_offset && f->vf_stride &&
                (f->rid & 0xff) + f->vf_offset + f->vf_stride * (f->vfs - 1) <= 0xff;
    for (uint32_t n = 0; here && n < f->vfs; n++)
        here = !pci_find((uint16_t)(f->rid + f->vf_offset + n * f->vf_stride));
    if (!here || !place_vf_bars(f))
        f->vfs = 0;
    else
        pci_write_bars(f, f->sriov + SRIOV_BAR0, f->vf_bar);
}

void pci_restore_vfs(const struct pci_function *f)
{
    pci_write16(f, f->sriov + SRIOV_CONTROL, route_by_function(f));
    pci_write_bars(f, f->sriov + SRIOV_BAR0, f->vf_bar);
}

void pci_make_vf(struct pci_function *pf, uint32_t n, struct pci_function *vf)
{
    *vf = (struct pci_function){.rid = (uint16_t)(pf->rid + pf->vf_offset + n * pf->vf_stride),
                                .pf = pf,
                                .parent = pf->parent};
    vf->id = (pf->id & 0xffff) | pci_read16(pf, pf->sriov + SRIOV_DEVICE) << 16;
    vf->class = pf->class;
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        vf->bar[i] = pf->vf_bar[i];
        vf->bar[i].address += n * pf->vf_bar[i].size;
    }
}
