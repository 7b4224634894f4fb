/*
 * A device function in a guest: what its DMA reaches, and what not. The device
 * is QEMU's edu; the guests are a few bytes of real mode on cores of their own.
 */
#include "devices.h"

static uint64_t ram_base;
uint32_t rid;
enum iommu_kind kind;

static uint64_t physical(uint32_t frame) { return ram_base + frame * (uint64_t)PAGE_SIZE; }

/* ---- the machine's memory --------------------------------------------------- */
/* VT-d's registers are at one place, AMD-Vi's at another, and where nothing is reads give all ones
 * or none. */
static enum iommu_kind find_kind(void)
{
    uint64_t slot = 0;
    const struct boot_range *r = kit_range(0xfed90000, &slot);
    /* If it fails, the test dies at the next line; what stays mapped is in the way of the cuts. */
    ignore(mr_map(slot, SLOT_ROOT_PD, MR_READ, EDU, (0xfed90000 - r->base) >> PAGE_SHIFT, 1));
    uint32_t version = *(volatile uint32_t *)EDU;
    ignore(mr_unmap(slot, SLOT_ROOT_PD));
    return version && version + 1 ? IOMMU_VTD : IOMMU_AMDVI;
}

static void setup(void)
{
    uint64_t slot = 0;
    kind = find_kind();
    ram_base = kit_region(D_RAM);
    bool ok = sm_create(KIT_SCRATCH, SLOT_ROOT_PD, 0) == OK;
    rid = edu_find();
    ok = ok && rid != PCI_NONE && ram_base;
    ok = ok && mr_split(D_TAIL, SLOT_ROOT_PD, D_RAM, RAM_FRAMES) == OK &&
         mr_map(D_RAM, SLOT_ROOT_PD, MR_READ | MR_WRITE, RAM, 0, RAM_FRAMES) == OK;
    ok = ok && mr_map(D_TAIL, SLOT_ROOT_PD, MR_READ | MR_WRITE,
                      RAM + (uint64_t)RAM_FRAMES * PAGE_SIZE, 0, 1) == OK;
    ok = ok && kit_cut(kind == IOMMU_VTD ? 0xfed90000 : 0xfed80000, kind == IOMMU_VTD ? 1 : 4,
                       D_UNIT, D_REST);
    const struct boot_range *r = kit_range(edu_registers(), &slot);
    ok = ok && mr_map(slot, SLOT_ROOT_PD, MR_READ | MR_WRITE, EDU,
                      (edu_registers() - r->base) >> PAGE_SHIFT, 1) == OK;
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
bool has_fault(uint64_t address)
{
    if (kind == IOMMU_AMDVI)
        return true;
    struct result r = iommu_fault(SLOT_ROOT_SYS, 0);
    bool found = false;
    for (; r.status == OK; r = iommu_fault(SLOT_ROOT_SYS, 0))
        found |= r.value >> 48 == rid && (r.value >> 8 & 0xffffffffff) == address >> PAGE_SHIFT &&
                 (r.value & 0xff);
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

bool wrong(const char *what, uint64_t got, enum status status, unsigned arg)
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
    bool bad =
        delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, SLOT_ROOT_PD, D_WEAK, SYS_TIME | SYS_GUEST) != OK;
    bad |= wrong("right", start(D_WEAK, D_UNIT, kind, 1), BAD_RIGHT, 1);
    kit_empty(D_WEAK);
    bad |= delegate(SLOT_ROOT_PD, D_UNIT, SLOT_ROOT_PD, D_WEAK, MR_READ) != OK;
    bad |= wrong("read only", start(SLOT_ROOT_SYS, D_WEAK, kind, 1), BAD_RIGHT, 1);
    kit_empty(D_WEAK);
    bad |= wrong("no region", start(SLOT_ROOT_SYS, D_WEAK, kind, 1), BAD_CAP, 1);
    bad |= wrong("kind", start(SLOT_ROOT_SYS, D_UNIT, IOMMU_NONE, 1), BAD_ARG, 2);
    bad |=
        wrong("size", start(SLOT_ROOT_SYS, D_UNIT, IOMMU_VTD + IOMMU_AMDVI - kind, 1), BAD_ARG, 1);
    bad |= wrong("no device", start(SLOT_ROOT_SYS, D_RAM, kind, 1), BAD_ARG, 1);
    bad |= wrong("buses", start(SLOT_ROOT_SYS, D_UNIT, kind, 257), BAD_ARG, 3);
    bad |= mr_map(D_UNIT, SLOT_ROOT_PD, MR_READ, EDU + 0x1000000, 0, 1) != OK;
    bad |= wrong("mapped", start(SLOT_ROOT_SYS, D_UNIT, kind, 1), BUSY, 1);
    bad |= mr_unmap(D_UNIT, 0) != OK ||
           pd_create(D_GUEST, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 8, 8, 0) != OK;
    bad |= wrong("guest", start(SLOT_ROOT_SYS, D_UNIT, kind, 1), BUSY, 0);
    bad |= destroy(D_GUEST) != OK;
    bad |= wrong("fault", iommu_fault(SLOT_ROOT_SYS, 0).status, BAD_ARG, 2);
    kit_check("arguments of CALL_IOMMU_START", !bad);
}

static void start_unit(void)
{
    struct result r = iommu_start(SLOT_ROOT_SYS, D_UNIT, kind, 1);
    kit_check("the IOMMU starts", r.status == OK && r.value == 0);
    kit_check("its registers are nobody's",
              STATUS_CODE(mr_map(D_UNIT, SLOT_ROOT_PD, MR_READ, EDU + 0x1000000, 0, 1)) == BAD_CAP);
    fill(F_SECRET, 2);
    edu_write(physical(F_SECRET));
    kit_check("an unassigned device is blocked", holds(F_SECRET, 2));
    kit_check("and named", has_fault(physical(F_SECRET)));
}

/* ---- DMA -------------------------------------------------------------------- */
static void create_arguments(void)
{
    bool bad = wrong("host", dv_create(D_DV, SLOT_ROOT_PD, SLOT_ROOT_SYS, rid, 0), BAD_ARG, 1);
    bad |= delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, SLOT_ROOT_PD, D_WEAK, SYS_TIME | SYS_GUEST) != OK;
    bad |= wrong("right", dv_create(D_DV, D_GUEST + 1, D_WEAK, rid, 0), BAD_RIGHT, 1);
    kit_empty(D_WEAK);
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
    kit_check("memory of a guest", map(AT_SMALL, F_SMALL, 1, MR_READ | MR_WRITE) &&
                                       map(AT_READONLY, F_READONLY, 1, MR_READ) &&
                                       map(AT_CHECK, F_CHECK, 1, MR_READ | MR_WRITE) &&
                                       map(AT_LARGE, F_LARGE, 512, MR_READ | MR_WRITE));
    kit_check("DMA reaches a small page", overwrites(AT_CHECK, F_CHECK));
    kit_check("DMA reaches a large page", overwrites(AT_LARGE + 0x1ff000, F_LARGE + 0x1ff));
    check_blocked("DMA does not write what is read-only", AT_READONLY, F_READONLY);
    check_blocked("DMA does not reach another guest", physical(F_GUEST + 2), F_GUEST + 3);
    check_blocked("DMA does not reach root", physical(F_SECRET), F_SECRET);
    kit_check("DMA does not reach the kernel", !reads_kernel() && has_fault(KERNEL_AT));
}

static void stays_away(void)
{
    bool ok = mr_map(D_TAIL, D_GUEST + 1, MR_READ | MR_WRITE, AT_TAIL, 0, 1) == OK &&
              overwrites(AT_TAIL, F_TAIL);
    ok = ok && mr_unmap(D_TAIL, D_GUEST + 1) == OK;
    kit_check("DMA does not reach what was unmapped", ok && !overwrites(AT_TAIL, F_TAIL));
}

static void detach(void)
{
    bool ok = overwrites(AT_SMALL, F_CHECK) == false && destroy(D_DV) == OK;
    fill(F_SMALL, 9);
    edu_write(AT_SMALL);
    kit_check("a device that is taken away is blocked",
              ok && holds(F_SMALL, 9) && has_fault(AT_SMALL));
    kit_check("and may be assigned again",
              dv_create(D_DV, D_GUEST + 2, SLOT_ROOT_SYS, rid, 0) == OK);
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
    messages_test();
    detach();
    end_guest(1);
    end_guest(2);
    kit_check("all is given back", kit_same(before, kit_count()));
}
