/* See pci.h. Root's reads and writes are seen because its files are compiled with trace-loads and
 * trace-stores. */
#include "pci.h"
#include <stdlib.h>

enum {
    PAGE = 4096,
    SPACE = SPACE_BUSES << 20,
    ID_PM = 1,
    ID_PCIE = 0x10,
    ID_MSIX = 0x11,
    ID_AF = 0x13,
    EXT_ACS = 0x0d,
    EXT_SRIOV = 0x10,
    MOST_LOADS = 50000000 /* of one call, far more than any needs */
};

struct model {
    uint16_t rid;
    bool is_virtual, gone; /* a virtual function, and it is switched off */
    const struct model *pf;
    uint8_t writable[PAGE], reset[PAGE], may[WRITERS][PAGE];
    struct space_bar bar[6];
};

static struct model models[SPACE_FUNCTIONS];
static uint32_t count;
static uint8_t *space;
static enum writer writer;
static uint64_t loads;
static struct {
    uint8_t *at;
    uint32_t size, old;
} written; /* by root, and not settled yet */

static void put(uint8_t *page, uint32_t at, uint32_t value, uint32_t bytes)
{
    memcpy(page + at % PAGE, &value, bytes);
}
static uint8_t *page_of(const struct model *m) { return space + ((uint64_t)m->rid << 12); }
uint32_t space_count(void) { return count; }
uint16_t space_rid(uint32_t i) { return models[i].rid; }
void *space_memory(void) { return space; }

static struct model *find(uint32_t rid)
{
    for (struct model *m = models; m < models + count; m++)
        if (m->rid == rid)
            return m;
    return NULL;
}

const uint8_t *space_first(uint32_t rid)
{
    const struct model *m = find(rid);
    return m ? m->reset : NULL;
}

uint8_t *space_page(uint32_t rid)
{
    const struct model *m = find(rid);
    return m ? page_of(m) : NULL;
}

/* ---- the manual's view of it (PCIe 7.5.3, 7.6.3) ------------------------------------- */
uint32_t space_capability(const uint8_t *page, uint32_t id, uint32_t size)
{
    bool seen[256] = {false};
    uint32_t at = page[6] & 0x10 ? page[0x34] & 0xfcu : 0;
    for (; at >= 0x40 && !seen[at] && page[at] != id; at = page[at + 1] & 0xfcu)
        seen[at] = true;
    return at >= 0x40 && !seen[at] && at + size <= 256 ? at : 0;
}

uint32_t space_pcie(const uint8_t *page)
{
    uint32_t at = space_capability(page, ID_PCIE, 20);
    return at && (page[at + 2] & 15) > 1 && at + 60 > 256 ? 0 : at;
}

uint32_t space_extended(const uint8_t *page, uint32_t id, uint32_t size)
{
    bool seen[PAGE] = {false};
    uint32_t at = 0x100;
    for (; at >= 0x100 && !seen[at]; at = space_word(page, at, 4) >> 20 & 0xffc) {
        if (space_word(page, at, 2) == id && space_word(page, at, 4) != ~0u)
            return at + size <= PAGE ? at : 0;
        seen[at] = true;
    }
    return 0;
}

/* ---- which bits may be written --------------------------------------------------------- */
static void allow(struct model *m, enum writer who, uint32_t at, uint32_t bits, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        m->may[who][at + i] |= (uint8_t)(bits >> 8 * i);
}

static void allow_sriov(struct model *m, const uint8_t *page)
{
    uint32_t at = m->is_virtual ? 0 : space_extended(page, EXT_SRIOV, 64);
    if (!at)
        return;
    allow(m, BY_ROOT, at + 8, 0xffff, 2);
    allow(m, BY_ROOT, at + 16, 0xffff, 2);
    for (uint32_t i = 0; i < 6; i++)
        allow(m, BY_ROOT, at + 0x24 + 4 * i, ~0u, 4);
    allow(m, BY_GUEST, at + 8, 9, 2);
    allow(m, BY_GUEST, at + 16, 0xffff, 2);
}

/* As its registers are now, and as they were before: root may have read them then. */
static void learn(struct model *m)
{
    const uint8_t *page = page_of(m);
    uint32_t msix = space_capability(page, ID_MSIX, 12), pcie = space_pcie(page),
             pm = space_capability(page, ID_PM, 8);
    uint32_t af = space_capability(page, ID_AF, 6), acs = space_extended(page, EXT_ACS, 8);
    allow(m, BY_ROOT, 4, 0xffff, 2);
    allow(m, BY_GUEST, 4, 0x0406, 2);
    for (uint32_t i = 0; i < 6 && (page[14] & 0x7f) == 0 && page[11] != 6 && page[11] != 8; i++)
        allow(m, BY_ROOT, 0x10 + 4 * i, ~0u, 4);
    if (msix)
        allow(m, BY_ROOT, msix + 2, 0xffff, 2), allow(m, BY_GUEST, msix + 2, 0xc000, 2);
    if (pcie)
        allow(m, BY_ROOT, pcie + 8, 0xffff, 2), allow(m, BY_GUEST, pcie + 8, 0x7010, 2);
    if (pcie && (page[pcie + 2] & 15) > 1)
        allow(m, BY_ROOT, pcie + 40, 0xffff, 2);
    if (pm)
        allow(m, BY_ROOT, pm + 4, 0xffff, 2);
    if (af)
        allow(m, BY_ROOT, af + 4, 1, 1);
    if (acs)
        allow(m, BY_ROOT, acs + 6, 0xffff, 2);
    allow_sriov(m, page);
}

/* ---- functions --------------------------------------------------------------------------- */
static struct model *make(uint32_t rid, uint32_t kind)
{
    if (count == SPACE_FUNCTIONS || find(rid) || rid >= SPACE_BUSES << 8)
        return NULL;
    struct model *m = &models[count++];
    memset(m, 0, sizeof *m);
    m->rid = (uint16_t)rid;
    uint8_t *page = page_of(m);
    memset(page, 0, PAGE);
    for (const struct space_reg *r = space_kinds[kind].reg;
         r < space_kinds[kind].reg + space_kinds[kind].count; r++)
        put(page, r->at, r->value, 4), put(m->writable, r->at, r->writable, 4);
    return m;
}

/* As firmware does: a place for each BAR, in what the bridge forwards. */
static void place_bars(struct model *m)
{
    static uint32_t next[SPACE_BUSES];
    uint8_t *page = page_of(m);
    uint32_t bus = (uint32_t)m->rid >> 8, *at = &next[bus];
    if (count == 1)
        memset(next, 0, sizeof next);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t low = space_word(page, 0x10 + 4 * i, 4),
                 bits = space_word(m->writable, 0x10 + 4 * i, 4) & ~15u;
        if (!bits || low & 1)
            continue;
        if (i < 5 && (low & 4) && space_word(page, 0x14 + 4 * i, 4)) { /* already, far away */
            put(page, 0x14 + 4 * i, space_word(page, 0x14 + 4 * i, 4) + m->rid, 4);
            i++;
            continue;
        }
        *at = (*at + ~bits) & bits;
        put(page, 0x10 + 4 * i, low | (SPACE_WINDOWS + bus * SPACE_WINDOW + *at), 4);
        *at += ~bits + 1;
        i += (low & 5) == 4;
    }
}

static void place_bridge(struct model *m, uint8_t buses)
{
    uint8_t *page = page_of(m);
    uint32_t second = buses & 3, window = (SPACE_WINDOWS + second * SPACE_WINDOW) >> 16;
    put(page, 0x18, (uint32_t)m->rid >> 8 | second << 8 | (second + (buses >> 2 & 3)) << 16, 4);
    put(page, 0x20, window | (window + 0xf0) << 16, 4);
}

/* A step off the way of those that exist. */
static void mutate(struct model *m, struct feed *f)
{
    static const uint16_t ids[] = {1, 0x10, 0x11, 0x13, 0x0d, 0x0e, 5, 0xff};
    uint8_t *page = page_of(m), how = feed_8(f);
    uint32_t at = feed_16(f), size = feed_8(f);
    switch (how % 8) {
    case 0: put(page, at & 0xffc, (uint32_t)feed_value(f), 4); break;
    case 1: /* one more, before all others */
        put(page, at & 0xfc, (uint32_t)ids[size & 7] | (uint32_t)page[0x34] << 8, 2);
        page[0x34] = at & 0xfc;
        page[(at & 0xfc) + 2] = (uint8_t)(size >> 3);
        break;
    case 2: m->writable[at % PAGE] = (uint8_t)size; break;
    case 3: put(page, at & 0xfc, (uint32_t)ids[size & 7] | (feed_8(f) & 0xfcu) << 8, 2); break;
    case 4: /* the size of a BAR; later nobody looks for it again */
        put(m->writable, 0x10 + at % 6 * 4, ~0u << size % 32 & (how & 8 ? ~0u : ~15u), 4);
        break;
    case 5:
        put(page, 0x100 | (at & 0xffc), (uint32_t)ids[size & 7] | 0x10000 | feed_32(f) << 20, 4);
        break;
    case 6: { /* how many messages, and where their table is */
        uint32_t msix = space_capability(page, ID_MSIX, 12);
        if (msix)
            page[msix + 2] = (uint8_t)size, put(page, msix + 4, (at & 0x3ff8u) | (how >> 3 & 7), 4);
        break;
    }
    default: page[at % PAGE] ^= (uint8_t)(1 << size % 8);
    }
}

static void note_bars(struct model *m)
{
    const uint8_t *page = page_of(m);
    bool has = (page[14] & 0x7f) == 0 && page[11] != 6 && page[11] != 8;
    for (uint32_t i = 0, step; i < 6 && has; i += step) {
        uint32_t low = space_word(page, 0x10 + 4 * i, 4);
        bool wide = (low & 5) == 4 && i < 5;
        m->writable[0x10 + 4 * i] &= 0xf0; /* what kind it is does not change */
        uint64_t high = wide ? space_word(page, 0x14 + 4 * i, 4) : 0,
                 high_bits = wide ? space_word(m->writable, 0x14 + 4 * i, 4) : ~0u;
        uint64_t ones = (high | high_bits) << 32 |
                        ((low | space_word(m->writable, 0x10 + 4 * i, 4)) & ~15u),
                 size = ones & -ones;
        step = wide ? 2 : 1;
        if (!(low & 1) && size && ones == -size && (wide || (uint32_t)ones))
            m->bar[i] = (struct space_bar){high << 32 | (low & ~15u), size};
    }
}

void space_add(struct feed *f)
{
    uint32_t kind = feed_8(f), bus = feed_8(f), devfn = feed_8(f), changes = kind >> 4;
    bool far = bus & 0x40 && !(kind % KIND_VF);
    struct model *m = make((bus % SPACE_BUSES) << 8 | devfn, far ? KIND_FAR : kind % KIND_VF);
    if (!m)
        return;
    uint8_t *page = page_of(m);
    page[14] |= bus & 0x80; /* of several */
    place_bars(m);
    if (page[14] & 1)
        place_bridge(m, feed_8(f));
    for (; changes; changes--)
        mutate(m, f);
    if (page[0] == 0xff && page[1] == 0xff)
        page[0] = 0; /* it is there */
    memcpy(m->reset, page, PAGE);
    for (uint32_t i = 0; i < 24 && !(page[14] & 1); i++)
        m->reset[0x10 + i] &= (uint8_t)~m->writable[0x10 + i];
    note_bars(m);
    learn(m);
}

struct space_bar space_bar(uint32_t rid, uint32_t i)
{
    const struct model *m = find(rid);
    return m ? m->bar[i] : (struct space_bar){0, 0};
}

uint32_t space_writable(uint32_t rid, uint32_t at)
{
    return space_word(find(rid)->writable, at, 4);
}
bool space_holds(uint32_t rid, uint32_t at, uint32_t value)
{
    return !((space_word(space_page(rid), at, 4) ^ value) & space_writable(rid, at));
}

/* ---- what root does to them ------------------------------------------------------------------ */
static void reset(struct model *m)
{
    uint8_t *page = page_of(m);
    for (uint32_t i = 0; i < PAGE; i++)
        page[i] = (uint8_t)((page[i] & ~m->writable[i]) | (m->reset[i] & m->writable[i]));
}

static void happens(struct model *m, uint32_t at, uint32_t old, uint32_t now)
{
    const uint8_t *page = page_of(m);
    uint32_t pcie = space_pcie(page), pm = space_capability(page, ID_PM, 8),
             af = space_capability(page, ID_AF, 6);
    if ((pcie && at == pcie + 8 && now & 0x8000) || (af && at == af + 4 && now & 1) ||
        (pm && at == pm + 4 && (old & 3) == 3 && !(now & 3)))
        reset(m);
}

static void settle_write(void)
{
    uint64_t place = (uint64_t)(written.at - space);
    struct model *m = find((uint32_t)(place >> 12));
    uint32_t at = place % PAGE, now = 0, bits = 0, may = 0;
    fuzz_must(m, "root writes to functions that are there");
    memcpy(&now, written.at, written.size);
    memcpy(&bits, m->writable + at, written.size);
    memcpy(&may, m->may[writer] + at, written.size);
    fuzz_must(!((now ^ written.old) & ~may), writer == BY_ROOT
                                                 ? "root writes what is root's"
                                                 : "a guest's write changes what it may");
    uint32_t kept = (written.old & ~bits) | (now & bits);
    memcpy(written.at, &kept, written.size);
    written.at = NULL;
    happens(m, at, written.old, now);
    learn(m);
}

/* Those of `pf` come and go. */
static void settle_vf(const struct model *pf, uint32_t rid)
{
    struct model *vf = find(rid);
    if (!vf) {
        vf = make(rid, KIND_VF);
        if (!vf)
            return;
        vf->is_virtual = true;
        vf->pf = pf;
        learn(vf);
        memcpy(vf->reset, page_of(vf), PAGE);
    }
    if (vf->gone)
        vf->gone = false, memcpy(page_of(vf), vf->reset, PAGE);
}

static void settle_vfs(const struct model *pf)
{
    const uint8_t *page = page_of(pf);
    uint32_t at = pf->is_virtual ? 0 : space_extended(page, EXT_SRIOV, 64);
    bool on = at && (page[at + 8] & 9) == 9;
    for (uint32_t i = 0, n = at ? space_word(page, at + 16, 2) : 0; on && i < n && i < 4; i++)
        settle_vf(pf,
                  pf->rid + space_word(page, at + 0x14, 2) + i * space_word(page, at + 0x16, 2));
    for (struct model *vf = models; !on && vf < models + count; vf++)
        if (vf->pf == pf && !vf->gone)
            vf->gone = true, memset(page_of(vf), 0xff, PAGE);
}

void space_settle(void)
{
    if (written.at)
        settle_write();
    for (uint32_t i = 0, n = count; i < n; i++)
        settle_vfs(&models[i]);
    loads = 0;
}

void space_change(struct feed *f)
{
    if (!count)
        return;
    struct model *m = &models[feed_8(f) % count];
    mutate(m, f);
    learn(m);
    space_settle();
}

void space_for(enum writer who) { writer = who; }

static void see(const void *address, bool write, uint32_t size)
{
    uint8_t *at = (uint8_t *)(uintptr_t)address;
    if (written.at)
        settle_write();
    fuzz_must(++loads < MOST_LOADS, "root ends");
    if (!write || at < space || at >= space + SPACE)
        return;
    written.at = at;
    written.size = size;
    written.old = 0;
    memcpy(&written.old, at, size);
}

#define SEE(bytes)                                                                                 \
    void __sanitizer_cov_load##bytes(const void *at);                                              \
    void __sanitizer_cov_store##bytes(const void *at);                                             \
    void __sanitizer_cov_load##bytes(const void *at) { see(at, false, bytes); }                    \
    void __sanitizer_cov_store##bytes(const void *at) { see(at, true, bytes); }
SEE(1)
SEE(2)
SEE(4)
SEE(8)
SEE(16)

/* ---- from input to input ------------------------------------------------------------------------
 */
void space_begin(void)
{
    space = malloc(SPACE);
    memset(space, 0xff, SPACE);
}

void space_clear(void)
{
    for (uint32_t i = 0; i < count; i++)
        memset(page_of(&models[i]), 0xff, PAGE);
    count = 0;
    written.at = NULL;
    loads = 0;
    writer = BY_ROOT;
}
