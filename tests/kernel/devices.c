/*
 * A device function in a guest: what it reaches and what it does not. The
 * device is QEMU's edu; the guests are a few bytes of real mode that count
 * their interrupts, each on a core of its own.
 */
#include "pci.h"

#include <lib/string.h>

enum slot {
    D_UNIT = KIT_FREE,
    D_REST,
    D_RAM,
    D_TAIL,
    D_WEAK,
    D_PORTAL,
    D_DV,
    D_OTHER_DV,
    D_NEW,
    D_GUEST,
    D_VCPU = D_GUEST + 4,
    D_SC = D_VCPU + 4
};

#define RAM_FRAMES 2048u
#define RAM        0x50000000ull /* where the test sees them */
#define EDU        0x60000000ull
#define BACKUP     3u /* pages: of the kernel's memory, as it was */
#define EVENTS     16u

/* Frames of the test's region: a guest's own page (code), then shared out. */
enum frame { F_GUEST, F_SMALL = 4, F_READONLY, F_SECRET, F_BACKUP, F_CHECK, F_LARGE = 512, F_TAIL = RAM_FRAMES };
/* Where guest 1 has them. */
#define AT_SMALL    0x200000ull
#define AT_READONLY 0x201000ull
#define AT_CHECK    0x202000ull
#define AT_TAIL     0x203000ull
#define AT_LARGE    0x400000ull
#define KERNEL_AT   0x100000ull

/* In a guest's page: counters of vectors. */
enum { CODE = 0x400, COUNT_A = 0x600, COUNT_B = 0x602, COUNT_OTHER = 0x604, VECTOR_A = 0x50, VECTOR_B = 0x51 };

static uint64_t ram_base;
static uint32_t rid;
static enum iommu_kind kind;

static uint8_t *at(uint32_t frame) { return (uint8_t *)(RAM + frame * (uint64_t)PAGE_SIZE); }
static uint64_t physical(uint32_t frame) { return ram_base + frame * (uint64_t)PAGE_SIZE; }

/* ---- the machine's memory --------------------------------------------------- */
static const struct boot_range *range_of(uint64_t address, uint64_t *slot)
{
    const struct boot_info *boot = (const struct boot_info *)ROOT_INFO;
    for (uint32_t i = 0; i < boot->ranges; i++)
        if (address - boot->range[i].base < boot->range[i].size) {
            *slot = SLOT_ROOT_MR + i;
            return &boot->range[i];
        }
    return 0;
}

/* `frames` from `address` on become the region in slot `to`; what is behind them the one in `rest`. */
static bool cut(uint64_t address, uint64_t frames, uint64_t to, uint64_t rest)
{
    uint64_t slot = 0;
    const struct boot_range *r = range_of(address, &slot);
    return r && mr_split(to, SLOT_ROOT_PD, slot, (address - r->base) >> PAGE_SHIFT) == OK && mr_split(rest, SLOT_ROOT_PD, to, frames) == OK;
}

static uint64_t biggest_ram(void)
{
    const struct boot_info *boot = (const struct boot_info *)ROOT_INFO;
    uint32_t best = 0;
    for (uint32_t i = 1; i < boot->ranges; i++)
        if (boot->range[i].kind == RANGE_RAM && boot->range[i].size > boot->range[best].size)
            best = i;
    return (boot->range[best].base + boot->range[best].size / 2) & ~0x1fffffull;
}

/* VT-d's registers are at one place, AMD-Vi's at another, and where nothing is reads give all ones or none. */
static enum iommu_kind find_kind(void)
{
    uint64_t slot = 0;
    const struct boot_range *r = range_of(0xfed90000, &slot);
    mr_map(slot, SLOT_ROOT_PD, MR_READ, EDU, (0xfed90000 - r->base) >> PAGE_SHIFT, 1);
    uint32_t version = *(volatile uint32_t *)EDU;
    mr_unmap(slot, SLOT_ROOT_PD);
    return version && version + 1 ? IOMMU_VTD : IOMMU_AMDVI;
}

static void setup(void)
{
    uint64_t slot = 0;
    kind = find_kind();
    ram_base = biggest_ram();
    bool ok = sm_create(KIT_SCRATCH, SLOT_ROOT_PD, 0) == OK && (rid = edu_find()) != PCI_NONE;
    ok = ok && cut(ram_base, RAM_FRAMES, D_RAM, D_TAIL) && mr_map(D_RAM, SLOT_ROOT_PD, MR_READ | MR_WRITE, RAM, 0, RAM_FRAMES) == OK;
    ok = ok && mr_map(D_TAIL, SLOT_ROOT_PD, MR_READ | MR_WRITE, RAM + (uint64_t)RAM_FRAMES * PAGE_SIZE, 0, 1) == OK;
    ok = ok && cut(kind == IOMMU_VTD ? 0xfed90000 : 0xfed80000, kind == IOMMU_VTD ? 1 : 4, D_UNIT, D_REST);
    const struct boot_range *r = range_of(edu_registers(), &slot);
    ok = ok && mr_map(slot, SLOT_ROOT_PD, MR_READ | MR_WRITE, EDU, (edu_registers() - r->base) >> PAGE_SHIFT, 1) == OK;
    edu_open(EDU);
    kit_print("machine: %s, edu at %x\n", kind == IOMMU_VTD ? "VT-d" : "AMD-Vi", rid);
    kit_check("a device and an IOMMU", ok);
}

/* ---- what the device can do ------------------------------------------------- */
static void fill(uint32_t frame, uint8_t value) { memset(at(frame), value, PAGE_SIZE); }
static bool holds(uint32_t frame, uint8_t value)
{
    for (uint32_t i = 0; i < PAGE_SIZE; i++)
        if (at(frame)[i] != value)
            return false;
    return true;
}

/* The device, told to overwrite `frame` by writing to `address`, has done so. */
static bool overwrites(uint64_t address, uint32_t frame)
{
    static uint8_t value = 0x10;
    uint8_t before = value++, after = value++;
    fill(frame, before);
    fill(F_SMALL, after);
    edu_read(AT_SMALL);
    edu_write(address);
    return holds(frame, after) || !holds(frame, before);
}

/* QEMU 10.0's AMD-Vi never writes its event log: nothing to see there. */
static bool has_fault(uint64_t address)
{
    if (kind == IOMMU_AMDVI)
        return true;
    struct result r = iommu_fault(SLOT_ROOT_SYS, 0);
    bool found = false;
    for (; r.status == OK; r = iommu_fault(SLOT_ROOT_SYS, 0))
        found |= r.value >> 48 == rid && (r.value >> 8 & 0xffffffffff) == address >> PAGE_SHIFT && (r.value & 0xff);
    return found;
}

static void check_blocked(const char *name, uint64_t address, uint32_t frame)
{
    has_fault(0);
    bool changed = overwrites(address, frame), recorded = has_fault(address);
    if (changed || !recorded)
        kit_print("     %s: changed %u, recorded %u\n", name, changed, recorded);
    kit_check(name, !changed && recorded);
}

static bool reads_kernel(void)
{
    memcpy(at(F_CHECK), at(F_BACKUP), PAGE_SIZE);
    at(F_CHECK)[0]++;
    fill(F_SMALL, 0x77);
    edu_read(AT_SMALL);
    edu_read(KERNEL_AT);
    edu_write(AT_CHECK);
    return !memcmp(at(F_CHECK), at(F_BACKUP), PAGE_SIZE);
}

/* ---- before there is an IOMMU ----------------------------------------------- */
static void unprotected(void)
{
    fill(F_SMALL, 1);
    fill(F_SECRET, 2);
    edu_read(physical(F_SMALL));
    edu_write(physical(F_SECRET));
    kit_check("without an IOMMU the device overwrites what it likes", holds(F_SECRET, 1));
    edu_read(KERNEL_AT);
    edu_write(physical(F_BACKUP));
    kit_check("and reads the kernel", !holds(F_BACKUP, 0) && !holds(F_BACKUP, 1));
}

static bool wrong(const char *what, uint64_t got, enum status status, unsigned arg)
{
    if (STATUS_CODE(got) == status && STATUS_ARG(got) == arg)
        return false;
    kit_print("     %s: status %lx\n", what, got);
    return true;
}

static uint64_t start(uint64_t sys, uint64_t mr, uint64_t which, uint64_t buses)
{
    return iommu_start(sys, mr, (enum iommu_kind)which, buses).status;
}

static void start_arguments(void)
{
    bool bad = delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, SLOT_ROOT_PD, D_WEAK, SYS_TIME | SYS_GUEST) != OK;
    bad |= wrong("right", start(D_WEAK, D_UNIT, kind, 1), BAD_RIGHT, 1);
    revoke(SLOT_ROOT_PD, D_WEAK);
    bad |= delegate(SLOT_ROOT_PD, D_UNIT, SLOT_ROOT_PD, D_WEAK, MR_READ) != OK;
    bad |= wrong("read only", start(SLOT_ROOT_SYS, D_WEAK, kind, 1), BAD_RIGHT, 1);
    revoke(SLOT_ROOT_PD, D_WEAK);
    bad |= wrong("no region", start(SLOT_ROOT_SYS, D_WEAK, kind, 1), BAD_CAP, 1);
    bad |= wrong("kind", start(SLOT_ROOT_SYS, D_UNIT, IOMMU_NONE, 1), BAD_ARG, 2);
    bad |= wrong("size", start(SLOT_ROOT_SYS, D_UNIT, IOMMU_VTD + IOMMU_AMDVI - kind, 1), BAD_ARG, 1);
    bad |= wrong("no device", start(SLOT_ROOT_SYS, D_RAM, kind, 1), BAD_ARG, 1);
    bad |= wrong("no bus", start(SLOT_ROOT_SYS, D_UNIT, kind, 0), BAD_ARG, 3);
    bad |= wrong("buses", start(SLOT_ROOT_SYS, D_UNIT, kind, 257), BAD_ARG, 3);
    bad |= mr_map(D_UNIT, SLOT_ROOT_PD, MR_READ, EDU + 0x1000000, 0, 1) != OK;
    bad |= wrong("mapped", start(SLOT_ROOT_SYS, D_UNIT, kind, 1), BUSY, 1);
    bad |= mr_unmap(D_UNIT, 0) != OK || pd_create(D_GUEST, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 8, 8) != OK;
    bad |= wrong("guest", start(SLOT_ROOT_SYS, D_UNIT, kind, 1), BUSY, 0);
    bad |= destroy(D_GUEST) != OK || wrong("fault", iommu_fault(SLOT_ROOT_SYS, 0).status, BAD_ARG, 2);
    kit_check("arguments of CALL_IOMMU_START", !bad);
}

static void start_unit(void)
{
    struct result r = iommu_start(SLOT_ROOT_SYS, D_UNIT, kind, 1);
    kit_check("the IOMMU starts", r.status == OK && r.value == 0);
    kit_check("its registers are nobody's", STATUS_CODE(mr_map(D_UNIT, SLOT_ROOT_PD, MR_READ, EDU + 0x1000000, 0, 1)) == BAD_CAP);
    fill(F_SECRET, 2);
    edu_write(physical(F_SECRET));
    kit_check("an unassigned device is blocked", holds(F_SECRET, 2));
    kit_check("and named", has_fault(physical(F_SECRET)));
}

/* ---- guests ----------------------------------------------------------------- */
static volatile uint64_t unexpected[4];
static uint64_t vcpu_index[4];

/* Handler of guest `n`: real mode at CODE with an empty stack. */
static void on_start(uint64_t n)
{
    struct utcb *u = kit_utcb((uint32_t)n);
    struct exit_state *x = &u->exit;
    memset(x, 0, sizeof(*x));
    for (uint32_t i = SEG_ES; i <= SEG_TR; i++)
        x->seg[i] = (struct segment){.attrib = i == SEG_CS ? 0x9b : i == SEG_LDTR ? 0x82 : i == SEG_TR ? 0x8b : 0x93, .limit = 0xffff};
    x->cr0 = 0x10;
    x->xcr0 = 1;
    x->dr6 = 0xffff0ff0;
    x->dr7 = 0x400;
    x->rip = CODE;
    x->rflags = 2;
    x->rsp = 0x1000;
    u->mtd = MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER;
    pt_reply(0);
}

static void on_exit(uint64_t n)
{
    unexpected[n] = kit_utcb((uint32_t)n)->exit.code + 1;
    kit_utcb((uint32_t)n)->mtd = MTD_KILL;
    pt_reply(0);
}

/* incw COUNTER; write 0 to x2APIC register 80Bh (EOI); iret. 32 bytes each. */
static void put_handler(uint8_t *code, uint16_t counter)
{
    static const uint8_t text[] = {0xff, 0x06, 0,    0,    0x66, 0x50, 0x66, 0x51, 0x66, 0x52, 0x66, 0xb9, 0x0b, 0x08, 0,   0,
                                   0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, 0x30, 0x66, 0x5a, 0x66, 0x59, 0x66, 0x58, 0xcf};
    memcpy(code, text, sizeof(text));
    code[2] = (uint8_t)counter;
    code[3] = (uint8_t)(counter >> 8);
}

/* Turn the local APIC on (80Fh), then sleep with interrupts on. */
static void put_guest(uint8_t *page)
{
    static const uint8_t text[] = {0x66, 0xb9, 0x0f, 0x08, 0,    0,    0x66, 0xb8, 0xff, 0x01, 0,
                                   0,    0x66, 0x31, 0xd2, 0x0f, 0x30, 0xfb, 0xf4, 0xeb, 0xfd};
    memset(page, 0, PAGE_SIZE);
    memcpy(page + CODE, text, sizeof(text));
    for (uint16_t i = 0; i < 3; i++)
        put_handler(page + CODE + 0x40 + i * 0x20, (uint16_t)(COUNT_A + 2 * i));
    for (uint32_t v = 0; v < 255; v++)
        page[4 * v] = v == VECTOR_A ? 0x40 : v == VECTOR_B ? 0x60 : 0x80, page[4 * v + 1] = CODE >> 8;
}

static uint16_t count(uint32_t n, uint32_t counter) { return *(volatile uint16_t *)(at(F_GUEST + n) + counter); }

/* Guest `n` on core `n`, with its page at 0. */
static bool make_guest(uint32_t n)
{
    uint64_t pd = D_GUEST + n;
    put_guest(at(F_GUEST + n));
    bool ok = pd_create(pd, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 40, 40) == OK;
    ok = ok && mr_map(D_RAM, pd, MR_READ | MR_WRITE | MR_EXEC, 0, F_GUEST + n, 1) == OK && kit_handler(n, SLOT_ROOT_PD, n);
    for (uint32_t event = 0; ok && event < EVENT_COUNT; event++) {
        ok = pt_create(D_PORTAL, pd, KIT_THREAD + n, address_of(event ? (void *)(uintptr_t)on_exit : (void *)(uintptr_t)on_start), MTD_QUAL,
                       n) == OK &&
             delegate(SLOT_ROOT_PD, D_PORTAL, pd, EVENTS + event, PT_CALL) == OK && revoke(SLOT_ROOT_PD, D_PORTAL) == OK;
    }
    struct result vcpu = ec_create(D_VCPU + n, pd, n, EC_VCPU, 0, EVENTS, 0, 0);
    vcpu_index[n] = vcpu.value;
    return ok && vcpu.status == OK && sc_create(D_SC + n, SLOT_ROOT_SYS, D_VCPU + n, 1, SC_WHOLE_CORE, 0) == OK;
}

static void end_guest(uint32_t n)
{
    kit_check("a guest ends", destroy(D_GUEST + n) == OK && !unexpected[n]);
    kit_end(n);
}

/* ---- DMA -------------------------------------------------------------------- */
static void create_arguments(void)
{
    bool bad = wrong("host", dv_create(D_DV, SLOT_ROOT_PD, SLOT_ROOT_SYS, rid, 0), BAD_ARG, 1);
    bad |= delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, SLOT_ROOT_PD, D_WEAK, SYS_TIME | SYS_GUEST) != OK;
    bad |= wrong("right", dv_create(D_DV, D_GUEST + 1, D_WEAK, rid, 0), BAD_RIGHT, 1);
    revoke(SLOT_ROOT_PD, D_WEAK);
    bad |= wrong("unit", dv_create(D_DV, D_GUEST + 1, SLOT_ROOT_SYS, rid, 1), BAD_ARG, 2);
    bad |= wrong("bus", dv_create(D_DV, D_GUEST + 1, SLOT_ROOT_SYS, rid + 256, 0), BAD_ARG, 2);
    bad |= dv_create(D_DV, D_GUEST + 1, SLOT_ROOT_SYS, rid, 0) != OK;
    bad |= wrong("slot", dv_create(D_DV, D_GUEST + 1, SLOT_ROOT_SYS, rid + 1, 0), BUSY, 1);
    bad |= wrong("again", dv_create(D_NEW, D_GUEST + 2, SLOT_ROOT_SYS, rid, 0), BUSY, 2);
    kit_check("arguments of CALL_DV_CREATE", !bad);
}

static bool map(uint64_t va, uint32_t frame, uint32_t frames, uint64_t perm)
{
    return mr_map(D_RAM, D_GUEST + 1, perm, va, frame, frames) == OK;
}

static void reach(void)
{
    kit_check("memory of a guest", map(AT_SMALL, F_SMALL, 1, MR_READ | MR_WRITE) && map(AT_READONLY, F_READONLY, 1, MR_READ) &&
                                       map(AT_CHECK, F_CHECK, 1, MR_READ | MR_WRITE) && map(AT_LARGE, F_LARGE, 512, MR_READ | MR_WRITE));
    kit_check("DMA reaches a small page", overwrites(AT_CHECK, F_CHECK));
    kit_check("DMA reaches a large page", overwrites(AT_LARGE + 0x1ff000, F_LARGE + 0x1ff));
    check_blocked("DMA does not write what is read-only", AT_READONLY, F_READONLY);
    check_blocked("DMA does not reach another guest", physical(F_GUEST + 2), F_GUEST + 3);
    check_blocked("DMA does not reach root", physical(F_SECRET), F_SECRET);
    kit_check("DMA does not reach the kernel", !reads_kernel() && has_fault(KERNEL_AT));
}

static void stays_away(void)
{
    bool ok = mr_map(D_TAIL, D_GUEST + 1, MR_READ | MR_WRITE, AT_TAIL, 0, 1) == OK && overwrites(AT_TAIL, F_TAIL);
    ok = ok && mr_unmap(D_TAIL, D_GUEST + 1) == OK;
    kit_check("DMA does not reach what was unmapped", ok && !overwrites(AT_TAIL, F_TAIL));
}

/* ---- interrupts ------------------------------------------------------------- */
struct counts {
    uint16_t a[2], b[2], other[2]; /* of guests 1 and 2 */
    uint64_t nmi[2];
};

static struct counts counts(void)
{
    struct counts c;
    for (uint32_t n = 1; n <= 2; n++) {
        c.a[n - 1] = count(n, COUNT_A);
        c.b[n - 1] = count(n, COUNT_B);
        c.other[n - 1] = count(n, COUNT_OTHER);
        c.nmi[n - 1] = kit_stat->vcpu[vcpu_index[n]].exits[CAUSE_NMI];
    }
    return c;
}

/* Send it: what has it changed? */
static struct counts send(uint64_t address, uint32_t data)
{
    struct counts before = counts(), after;
    edu_message(address, data);
    edu_interrupt();
    after = counts();
    for (uint32_t i = 0; i < 2; i++) {
        after.a[i] = (uint16_t)(after.a[i] - before.a[i]);
        after.b[i] = (uint16_t)(after.b[i] - before.b[i]);
        after.other[i] = (uint16_t)(after.other[i] - before.other[i]);
        after.nmi[i] -= before.nmi[i];
    }
    return after;
}

/* As docs/abi.md says of CALL_DV_IRQ's value. */
static struct counts send_value(uint64_t v)
{
    return kind == IOMMU_VTD ? send(0xfee00010 | (v & 0x7fff) << 5 | (v >> 15 & 1) << 2, 0) : send(0xfee00000, (uint32_t)v);
}

static bool only(struct counts c, uint16_t a, uint16_t b)
{
    bool ok = c.a[0] == a && c.b[0] == b && !c.other[0] && !c.a[1] && !c.b[1] && !c.other[1] && !c.nmi[0] && !c.nmi[1];
    if (!ok)
        kit_print("     guest 1: %u %u %u, %lu NMIs; guest 2: %u %u %u, %lu\n", c.a[0], c.b[0], c.other[0], c.nmi[0], c.a[1], c.b[1],
                  c.other[1], c.nmi[1]);
    return ok;
}

static uint64_t irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector) { return dv_irq(dv, vcpu, index, vector).status; }

static void irq_arguments(void)
{
    bool bad = delegate(SLOT_ROOT_PD, D_DV, SLOT_ROOT_PD, D_WEAK, RIGHT_DESTROY) != OK;
    bad |= wrong("right", irq(D_WEAK, D_VCPU + 1, 0, VECTOR_A), BAD_RIGHT, 1);
    revoke(SLOT_ROOT_PD, D_WEAK);
    bad |= delegate(SLOT_ROOT_PD, D_VCPU + 1, SLOT_ROOT_PD, D_WEAK, EC_SETUP) != OK;
    bad |= wrong("vCPU's right", irq(D_DV, D_WEAK, 0, VECTOR_A), BAD_RIGHT, 1);
    revoke(SLOT_ROOT_PD, D_WEAK);
    bad |= wrong("another's vCPU", irq(D_DV, D_VCPU + 2, 0, VECTOR_A), BAD_ARG, 1);
    bad |= wrong("a thread", irq(D_DV, SLOT_ROOT_EC, 0, VECTOR_A), BAD_RIGHT, 1);
    bad |= wrong("index", irq(D_DV, D_VCPU + 1, DV_IRQS, VECTOR_A), BAD_ARG, 2);
    bad |= wrong("index off", irq(D_DV, 0, DV_IRQS, 0), BAD_ARG, 2);
    bad |= wrong("vector", irq(D_DV, D_VCPU + 1, 0, 15), BAD_ARG, 2) || wrong("vector", irq(D_DV, D_VCPU + 1, 0, 256), BAD_ARG, 2);
    kit_check("arguments of CALL_DV_IRQ", !bad);
}

/* Leaves interrupt 3 on: its value. */
static uint64_t arrive(void)
{
    struct result a = dv_irq(D_DV, D_VCPU + 1, 0, VECTOR_A), b = dv_irq(D_DV, D_VCPU + 1, 3, VECTOR_B);
    bool ok = a.status == OK && b.status == OK;
    kit_check("a message arrives at its vector", ok && only(send_value(a.value), 1, 0) && only(send_value(b.value), 0, 1));
    ok = irq(D_DV, D_VCPU + 1, 0, VECTOR_B) == OK && only(send_value(a.value), 0, 1);
    kit_check("then at another", ok);
    kit_check("then nowhere", irq(D_DV, 0, 0, 0) == OK && only(send_value(a.value), 0, 0));
    return b.value;
}

/* Messages with the format of a machine without interrupt remapping: each core, all cores. */
static bool forge_plain(void)
{
    static const uint64_t to[] = {0xfee00000, 0xfee01000, 0xfee02000, 0xfee03000, 0xfeeff000, 0xfee0100c, 0xfeeff00c};
    bool ok = true;
    for (uint32_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
        ok &= only(send(to[i], VECTOR_A), 0, 0) && only(send(to[i], 0x400), 0, 0) && only(send(to[i], 0x4050), 0, 0);
    return ok;
}

/* All entries but those that are given (0 and `but`): of the whole table, of others' functions, behind it. */
static bool forge_value(uint64_t but)
{
    bool ok = true;
    for (uint64_t v = 1; v < 0x800; v += v < 40 ? 1 : 37)
        ok &= v == but || only(send_value(v), 0, 0);
    return ok &&
           (kind == IOMMU_AMDVI || (only(send_value(0x7fff), 0, 0) && only(send_value(0xffff), 0, 0) && only(send(0xfee00018, 16), 0, 0)));
}

static void forge(uint64_t mine)
{
    bool ok = dv_create(D_OTHER_DV, D_GUEST + 2, SLOT_ROOT_SYS, rid ^ 0x80, 0) == OK;
    for (uint64_t i = 0; i < DV_IRQS; i++)
        ok &= irq(D_OTHER_DV, D_VCPU + 2, i, VECTOR_A) == OK;
    kit_check("another function with interrupts", ok);
    if (kind == IOMMU_AMDVI)
        kit_check("plain messages are blocked", forge_plain());
    else /* it should not (VT-d 5.1.4): EIME is set and CFIS is not */
        kit_print("     not tested: QEMU 10.0 lets VT-d's compatibility format through\n");
    kit_check("entries of others are blocked", forge_value(mine));
    kit_check("its own still arrives", only(send_value(mine), 0, 1));
    if (kind == IOMMU_VTD) {
        has_fault(0);
        send_value(DV_IRQS);
        kit_check("a forged message is recorded", has_fault(DV_IRQS << PAGE_SHIFT));
    }
}

/* The core goes back to all; nothing may point to it. */
static void core_ends(uint64_t mine)
{
    bool ok = destroy(D_SC + 1) == OK && !wrong("core", irq(D_DV, D_VCPU + 1, 3, VECTOR_B), BAD_ARG, 1);
    has_fault(0);
    ok = ok && only(send_value(mine), 0, 0);
    kit_check("no interrupts for a core that is no longer the guest's", ok && has_fault(mine << PAGE_SHIFT));
}

static void detach(void)
{
    bool ok = overwrites(AT_SMALL, F_CHECK) == false && destroy(D_DV) == OK;
    fill(F_SMALL, 9);
    edu_write(AT_SMALL);
    kit_check("a device that is taken away is blocked", ok && holds(F_SMALL, 9) && has_fault(AT_SMALL));
    kit_check("and may be assigned again", dv_create(D_DV, D_GUEST + 2, SLOT_ROOT_SYS, rid, 0) == OK);
}

void kit_main(void)
{
    kit_print("cores: %u\n", kit_cores());
    setup();
    unprotected();
    start_arguments();
    start_unit();
    struct kit_count before = kit_count();
    kit_check("two guests", make_guest(1) && make_guest(2));
    create_arguments();
    reach();
    stays_away();
    irq_arguments();
    uint64_t mine = arrive();
    forge(mine);
    core_ends(mine);
    detach();
    end_guest(1);
    end_guest(2);
    kit_check("all is given back", kit_same(before, kit_count()));
}
