/*
 * Root and a VMM on a machine whose functions say anything: found, given to two
 * VMs, shown to their guests, reset. Root keeps within its bits and ends; what a
 * VM gets is a device's own registers, and no two have the same.
 */
#include "pci.h"
#include "pci_root.h"
#include <root/hardware/iommu.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <lib/hw/cpu.h>
#include <setjmp.h>
#include <stdlib.h>

enum {
    STORE = 0x40000000,
    STORE_MSIX = 0x10000,
    DEVICE_FROM = 0xc0000000u,
    DEVICE_TO = 0xfec00000u,
    BITS = 44, /* of an address */
    MAPS = 64,
    READY = 64
};

uint64_t fuzz_now;
struct machine machine;
void fuzz_reply(void) __attribute__((noreturn));
uint64_t fuzz_dv_create(uint64_t pd, uint64_t rid);
struct cpuid fuzz_cpuid(uint32_t leaf, uint32_t subleaf);

static struct plan_vm plans[SPACE_VMS] = {{.name = "one", .vcpus = 2, .memory = 1ull << 30},
                                          {.name = "two", .vcpus = 2, .memory = 5ull << 30}};
static void (*entry)(uint64_t, struct utcb *);
static jmp_buf replied;
static struct range owned[SPACE_VMS][MAPS], guest[MAPS];
static uint32_t owned_count[SPACE_VMS], guest_count, given;
static struct vm_config configs[SPACE_VMS];
static uint8_t *hole; /* device memory where nothing answers */

/* ---- the rest of root ------------------------------------------------------------------ */
void console_say(const char *fmt, ...) { (void)fmt; }
uint64_t clock_ticks(uint64_t ms) { return ms; }
const char *iommu_problem(void) { return NULL; }
enum iommu_kind iommu_kind(void) { return IOMMU_VTD; }

const char *iommu_of(const struct pci_function *f, uint32_t *unit)
{
    *unit = 0;
    return f ? NULL : "no function";
}

struct cpuid fuzz_cpuid(uint32_t leaf, uint32_t subleaf)
{
    return (struct cpuid){leaf == 0x80000008 ? BITS : 0, subleaf, 0, 0};
}

bool memory_is_device(uint64_t base, uint64_t size)
{
    uint64_t from = base >= SPACE_FAR ? SPACE_FAR : DEVICE_FROM,
             to = base >= SPACE_FAR ? 1ull << BITS : DEVICE_TO;
    return base >= from && base < to && size <= to - base;
}

void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    if (base == SPACE_ECAM)
        return size == (uint64_t)SPACE_BUSES << 20 && perm == (MR_READ | MR_WRITE) ? space_memory()
                                                                                   : NULL;
    struct range space = {SPACE_ECAM, SPACE_ECAM + ((uint64_t)SPACE_BUSES << 20)};
    fuzz_must(perm == MR_READ && memory_is_device(base, size),
              "where a device could be, root only looks");
    fuzz_must(!meet(space, (struct range){base, base + size}) && base + size <= 0xfec00000,
              "it does not look at registers that it knows of");
    return size <= SPACE_WINDOW ? hole : NULL;
}

uint64_t fault_serve(uint32_t domain, uint64_t pd, void (*to)(uint64_t, struct utcb *),
                     uint64_t slot, uint64_t mtd)
{
    fuzz_must(pd == vm_slot(&machine.vm[domain], VM_VMM) && slot == VMM_PCI && !mtd,
              "a VM's VMM calls for its own devices");
    entry = to;
    return OK;
}

uint64_t fuzz_dv_create(uint64_t pd, uint64_t rid)
{
    fuzz_must(pd % VM_SLOTS == (SLOT_VM + VM_GUEST) % VM_SLOTS && space_page((uint32_t)rid),
              "a device that is there goes to a guest");
    given++;
    return OK;
}

void fuzz_reply(void) { longjmp(replied, 1); }

void root_called(uint32_t vm, const uint64_t word[4])
{
    struct utcb u;
    memset(&u, 0, sizeof u);
    memcpy(u.word, word, 4 * sizeof word[0]);
    space_settle();
    space_for(BY_GUEST);
    if (!setjmp(replied))
        entry(vm, &u);
    space_settle();
    space_for(BY_ROOT);
}

/* ---- what a VM gets ---------------------------------------------------------------------- */
static void check_new(struct range *list, uint32_t *n, struct range r, const char *sentence)
{
    for (uint32_t i = 0; i < *n; i++)
        fuzz_must(!meet(list[i], r), sentence);
    fuzz_must(*n < MAPS, "there are not so many BARs");
    list[(*n)++] = r;
}

static uint32_t rid_of(const struct vm *vm, uint32_t i) { return configs[vm->index].device[i].rid; }

/* The VM whose device has these registers, other than the page with the table if `table` is not
 * set. */
static bool is_of(const struct vm *vm, struct range r, bool table)
{
    for (uint32_t i = 0; i < vm->plan->devices; i++) {
        uint32_t rid = rid_of(vm, i);
        const struct pci_function *f = pci_find((uint16_t)rid);
        for (uint32_t b = 0; b < 6 && f; b++) {
            struct space_bar bar = space_bar(rid, b);
            struct range t = {bar.address + (f->msix_offset & ~0xfffu),
                              bar.address + (f->msix_offset & ~0xfffu) + PAGE_SIZE};
            if (bar.size && r.from >= bar.address && r.to <= bar.address + bar.size)
                return table ? b == f->msix_bar && r.from == t.from && r.to == t.to
                             : b != f->msix_bar || !meet(r, t);
        }
    }
    return false;
}

/* Within what was set aside for virtual functions of anybody's. */
static bool is_of_vfs(struct range r)
{
    for (uint32_t i = 0; i < pci_count(); i++)
        for (uint32_t b = 0; b < 6; b++) {
            const struct pci_bar *bar = &pci_function(i)->vf_bar[b];
            if (pci_function(i)->vfs && bar->size && r.from >= bar->address &&
                r.to <= bar->address + bar->size * pci_function(i)->vfs)
                return true;
        }
    return false;
}

uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    uint32_t n = (uint32_t)((pd - SLOT_VM) / VM_SLOTS);
    const struct vm *vm = &machine.vm[n];
    struct range r = {base, base + size};
    fuzz_must(n < SPACE_VMS && size && !(base % PAGE_SIZE) && !(size % PAGE_SIZE),
              "whole pages go to a VM");
    if (pd == vm_slot(vm, VM_GUEST)) {
        bool own = r.from >= vm->store.base + STORE_MSIX &&
                   r.to <= vm->store.base + STORE_MSIX + VMM_MSIX_PAGES * PAGE_SIZE;
        fuzz_must(own || is_of(vm, r, false) || is_of_vfs(r),
                  "a guest gets its devices' registers, but not the MSI-X table");
        bool far = va >= guest_end(vm->plan->memory);
        fuzz_must(far || va >= GUEST_DEVICES, "where a guest has devices");
        fuzz_must(va + size <= (far ? 1ull << BITS : GUEST_DEVICES_END), "and has addresses");
        check_new(guest, &guest_count, (struct range){va, va + size},
                  "each has its place in the guest");
        check_new(owned[n], &owned_count[n], r, "a VM gets a page once");
    } else if (va >= VMM_ECAM(0) && va < VMM_TABLE(0) && perm == MR_READ) {
        fuzz_must(r.from == pci_ecam((uint16_t)rid_of(
                                vm, (uint32_t)((va - VMM_ECAM(0)) >> PAGE_SHIFT))) &&
                      size == PAGE_SIZE,
                  "its own configuration space");
    } else {
        fuzz_must(size == PAGE_SIZE && (is_of(vm, r, true) || is_of_vfs(r)),
                  "a VMM gets the page with the MSI-X table");
        check_new(owned[n], &owned_count[n], r, "a VM gets a page once");
    }
    for (uint32_t i = 0; i < owned_count[!n]; i++)
        fuzz_must(!meet(owned[!n][i], r), "no two VMs get the same page");
    return OK;
}

/* ---- lives --------------------------------------------------------------------------------- */
void fuzz_begin(void)
{
    space_begin();
    hole = calloc(1, SPACE_WINDOW);
}

static void choose(struct feed *f, struct plan_vm *plan)
{
    plan->devices = 1 + feed_8(f) % 2;
    for (uint32_t i = 0; i < plan->devices; i++) {
        uint8_t how = feed_8(f), which = feed_8(f);
        uint32_t rid = space_count() ? space_rid(which % space_count()) : 0;
        plan->device[i] = (struct plan_device){
            .by = how & 7 ? (uint32_t)DEVICE_ADDRESS : how >> 3 & 3, .rid = rid, .class = 0x0200};
        plan->device[i].index = which & 7;
        if ((how & 0x87) > 0x80)
            plan->device[i].rid = rid + 0x80 + (how >> 4 & 7) * 2u;
    }
}

/* After a reset all is where it was, and quiet. */
static void check_ready(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->devices; i++) {
        uint32_t rid = rid_of(vm, i);
        const struct pci_function *f = pci_find((uint16_t)rid);
        for (uint32_t b = 0; b < 6 && f; b++) {
            struct space_bar bar = space_bar(rid, b);
            fuzz_must(!bar.size || space_holds(rid, 0x10 + 4 * b, (uint32_t)bar.address),
                      "a BAR is where it was");
            if (f->vfs && f->vf_bar[b].size)
                fuzz_must(space_holds(rid, f->sriov + 0x24 + 4 * b, (uint32_t)f->vf_bar[b].address),
                          "and those of virtual functions");
        }
        fuzz_must((space_word(space_page(rid), 4, 2) & space_writable(rid, 4) & 7) ==
                      (2 & space_writable(rid, 4)),
                  "a device that is ready decodes, and sends nothing");
    }
}

static bool get_ready(const struct vm *vm, struct feed *f)
{
    uint32_t changes = feed_8(f);
    for (uint32_t n = 0; n < READY; n++, changes >>= 1) {
        bool ready = device_ready(vm);
        space_settle();
        if (ready)
            return true;
        fuzz_now += 50;
        if (changes & 1)
            space_change(f);
    }
    return false;
}

static void live(struct vm *vm, struct feed *f)
{
    device_describe(vm, &configs[vm->index]);
    if (!get_ready(vm, f))
        return;
    check_ready(vm);
    device_describe(vm, &configs[vm->index]);
    guest_count = owned_count[vm->index] = 0;
    bool mapped = device_map(vm) == OK;
    space_settle();
    if (mapped)
        guest_run(vm->index, &configs[vm->index], f);
    if (feed_8(f) & 1)
        return;
    device_quiet(vm);
    for (uint32_t n = 0; n < READY && !device_stop(vm); n++)
        fuzz_now += 50;
    space_settle();
}

static void begin(struct feed *f)
{
    space_clear();
    root_forget();
    memset(&machine, 0, sizeof machine);
    memset(owned_count, 0, sizeof owned_count);
    fuzz_now = 1;
    machine.vms = SPACE_VMS;
    for (uint32_t n = 1 + feed_8(f) % 10; n; n--)
        space_add(f);
    for (uint32_t i = 0; i < SPACE_VMS; i++) {
        machine.vm[i] = (struct vm){.plan = &plans[i],
                                    .index = i,
                                    .store = {.base = STORE + i * 0x100000, .size = 0x100000}};
        machine.vm[i].offset[PIECE_MSIX] = STORE_MSIX;
        choose(f, &plans[i]);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    begin(&f);
    pci_scan(SPACE_ECAM, SPACE_BUSES);
    space_settle();
    found_check();
    bool resolved = device_resolve() == OK;
    space_settle();
    for (uint32_t n = feed_8(&f) % 6; n && resolved; n--)
        live(&machine.vm[n & 1], &f);
}
