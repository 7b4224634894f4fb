#include <root/hardware/assign.h>
#include <root/hardware/config.h>
#include <root/hardware/iommu.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <lib/call.h>
#include <lib/format.h>
#include <lib/hw/cpuid.h>
#include <lib/quota.h>
#include <lib/string.h>

#define RESET_MS   100u /* wait after a reset, and after VF Enable (PCIe 6.6.2, 9.3.3.3.1) */
#define PENDING_MS 100u /* limit for completions of earlier requests (6.6.2) */
#define WAKE_MS    10u  /* wait from D3 to D0 (5.9) */

/* A VM's devices between two lives: USED -> QUIET (no DMA, no interrupts) -> RESET (begun) ->
 * AWAKE (reset by power state ended) -> USED. */
enum stage { USED, QUIET, RESET, AWAKE };

/* A VM's devices, in the plan's order. */
static struct {
    struct pci_function *function[PLAN_DEVICES];
    bool there; /* all of them answered at the last look */
    enum stage stage;
    uint64_t due;     /* TSC before which no register may be touched */
    uint64_t pending; /* TSC at which waiting for completions ends */
} assigned[PLAN_VMS];

/* The virtual functions among all VMs' devices. */
static struct pci_function vf[PLAN_VMS * PLAN_DEVICES];
static uint32_t vfs;

/* ---- which the plan means ------------------------------------------------------------------ */
static struct pci_function *make_vf(struct pci_function *pf, uint32_t n)
{
    struct pci_function made;
    pci_make_vf(pf, n, &made);
    for (uint32_t i = 0; i < vfs; i++)
        if (vf[i].rid == made.rid)
            return &vf[i];
    vf[vfs] = made;
    return &vf[vfs++];
}

static struct pci_function *find_vf(uint16_t rid)
{
    for (uint32_t i = 0; i < pci_count(); i++) {
        struct pci_function *pf = pci_function(i);
        uint32_t from = rid - (pf->rid + pf->vf_offset);
        if (pf->vfs && from % pf->vf_stride == 0 && from / pf->vf_stride < pf->vfs)
            return make_vf(pf, from / pf->vf_stride);
    }
    return 0;
}

static struct pci_function *find_of_class(const struct plan_device *d)
{
    uint32_t left = d->index;
    for (uint32_t i = 0; i < pci_count(); i++) {
        struct pci_function *f = pci_function(i);
        uint32_t n = d->by == DEVICE_VF ? f->vfs : f->header == 0;
        if (f->class != d->class)
            continue;
        if (left < n)
            return d->by == DEVICE_VF ? make_vf(f, left) : f;
        left -= n;
    }
    return 0;
}

static struct pci_function *device_find(const struct plan_device *d)
{
    if (d->by != DEVICE_ADDRESS)
        return find_of_class(d);
    struct pci_function *f = pci_find((uint16_t)d->rid);
    return f ? f : find_vf((uint16_t)d->rid);
}

/* The VM that has `f`; NULL: none. */
static const struct vm *owner(const struct pci_function *f)
{
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        for (uint32_t i = 0; i < vm->plan->devices; i++)
            if (f && assigned[vm->index].function[i] == f)
                return vm;
    return 0;
}

const char *device_owner(uint16_t rid)
{
    const struct pci_function *f = pci_find(rid);
    for (uint32_t i = 0; i < vfs && !f; i++)
        f = vf[i].rid == rid ? &vf[i] : 0;
    const struct vm *vm = owner(f);
    return vm ? vm->plan->name : "-";
}

static uint64_t device_refuse(const struct vm *vm, uint32_t i, const char *why)
{
    console_say("plan: VM %s: device %u: %s", vm->plan->name, i + 1, why);
    return BAD_ARG;
}

static uint64_t claim(const struct vm *vm, uint32_t i)
{
    static char text[64];
    struct pci_function *f = device_find(&vm->plan->device[i]);
    const struct vm *other = owner(f);
    const char *wrong = f ? assign_wrong(f) : "this machine has no such function";
    if (other) {
        format(text, sizeof(text), "VM %s has it already", other->plan->name);
        wrong = text;
    }
    if (wrong)
        return device_refuse(vm, i, wrong);
    assigned[vm->index].function[i] = f;
    return OK;
}

/* Isolation groups are given as a whole: BAD_ARG if another function of device `i`'s group is not
 * this VM's. */
static uint64_t check_group(const struct vm *vm, uint32_t i)
{
    const struct pci_function *f = assigned[vm->index].function[i];
    for (uint32_t k = 0; k < pci_count(); k++) {
        const struct pci_function *other = pci_function(k);
        if (other->header == 0 && pci_group(other) == pci_group(f) && owner(other) != vm)
            return device_refuse(
                vm, i, "it shares its isolation group with a function that the VM does not have");
    }
    return OK;
}

/* ---- where a guest sees them --------------------------------------- */
static bool is_far(const struct pci_bar *b) { return b->flags & BAR_64 && b->size > GUEST_BAR_LOW; }

/* Guest-physical address of BAR `bar`, which is there, of device `i`. The BARs of all devices stand
 * in two rows, below 4 GiB and above the guest's RAM, each aligned to its size. */
static uint64_t guest_address(const struct vm *vm, uint32_t i, uint32_t bar)
{
    uint64_t row[] = {GUEST_DEVICES, guest_end(vm->plan->memory)};
    for (uint32_t k = 0;; k++)
        for (uint32_t b = 0; b < PCI_BARS; b++) {
            const struct pci_bar *other = &assigned[vm->index].function[k]->bar[b];
            uint64_t *at = &row[is_far(other)];
            *at = other->size ? round_up(*at, other->size) : *at;
            if (k == i && b == bar)
                return *at;
            *at += other->size;
        }
}

/* Why not all BARs of device `i` have a place in the guest; NULL: they have. An address is as long
 * as the processor's, of which the guest is told. */
static const char *misplaced(const struct vm *vm, uint32_t i)
{
    static const char *const why[] = {"the registers of the VM's devices do not fit 240 MiB",
                                      "its registers fit no address above the VM's RAM"};
    uint32_t bits = cpu_cpuid(CPUID_ADDRESSES, 0).eax & 0xff;
    const uint64_t end[] = {GUEST_DEVICES_END, 1ull << (bits < GUEST_BITS ? bits : GUEST_BITS)};
    for (uint32_t b = 0; b < PCI_BARS; b++) {
        const struct pci_bar *bar = &assigned[vm->index].function[i]->bar[b];
        if (bar->size && guest_address(vm, i, b) + bar->size > end[is_far(bar)])
            return why[is_far(bar)];
    }
    return 0;
}

uint32_t device_mappings(const struct vm *vm)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < vm->plan->devices; i++)
        for (uint32_t b = 0; b < PCI_BARS; b++)
            count += assigned[vm->index].function[i]->bar[b].size / QUOTA_MAPPING;
    return (uint32_t)count;
}

uint64_t device_resolve(void)
{
    uint64_t status = OK;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        for (uint32_t i = 0; i < vm->plan->devices && status == OK; i++)
            status = claim(vm, i);
        for (uint32_t i = 0; i < vm->plan->devices && status == OK; i++) {
            status = check_group(vm, i);
            if (status == OK && misplaced(vm, i))
                status = device_refuse(vm, i, misplaced(vm, i));
        }
    }
    return status;
}

static void describe(const struct vm *vm, uint32_t i, struct vm_device *d)
{
    const struct pci_function *f = assigned[vm->index].function[i];
    *d = (struct vm_device){.rid = f->rid,
                            .devfn = (uint16_t)((GUEST_DEVICE_SLOT + i) << 3),
                            .id = f->id,
                            .msix = f->msix,
                            .msix_bar = (uint16_t)f->msix_bar,
                            .msix_offset = f->msix_offset};
    for (uint32_t b = 0; b < PCI_BARS; b++)
        if (f->bar[b].size)
            d->bar[b] =
                (struct vm_bar){guest_address(vm, i, b), f->bar[b].size, f->bar[b].flags, 0};
    if (f->vfs == 0)
        return;
    d->sriov = f->sriov;
    d->vf_offset = (uint16_t)f->vf_offset;
    d->vf_stride = (uint16_t)f->vf_stride;
    d->vf_total = (uint16_t)f->vfs;
    /* One of 4 GiB or more is shown as none: a guest would look for room for all of them, of which
       it has none, and not enable them. Whoever has one of them is told of its BARs anyway. */
    for (uint32_t b = 0; b < PCI_BARS; b++)
        d->vf_bar_size[b] = f->vf_bar[b].size >> 32 ? 0 : (uint32_t)f->vf_bar[b].size;
}

void device_describe(const struct vm *vm, struct vm_config *config)
{
    config->iommu = iommu_kind();
    config->devices = vm->plan->devices;
    for (uint32_t i = 0; i < config->devices; i++)
        describe(vm, i, &config->device[i]);
}

/* ---- what its domains get -------------------------------------------------------------------- */
/* Map BAR `bar` of device `i` into the guest, but for the page in which the MSI-X table begins: it
   finds a page of the store, and the VMM alone has the table (vmm/platform/msix.c). Isolation does
   not rest on that: the IOMMU remaps every message, whatever is in the table, on whatever page. */
static uint64_t map_bar(const struct vm *vm, uint32_t i, uint32_t bar)
{
    const struct pci_function *f = assigned[vm->index].function[i];
    uint64_t guest = vm_slot(vm, VM_GUEST), at = guest_address(vm, i, bar), rw = MR_READ | MR_WRITE,
             status = OK;
    uint64_t base = f->bar[bar].address, size = f->bar[bar].size,
             table = f->msix_offset & ~(uint64_t)(PAGE_SIZE - 1);
    if (bar != f->msix_bar)
        return memory_map(base, size, guest, rw, at);
    if (table)
        status = memory_map(base, table, guest, rw, at);
    if (status == OK && table + PAGE_SIZE < size)
        status = memory_map(base + table + PAGE_SIZE, size - table - PAGE_SIZE, guest, rw,
                            at + table + PAGE_SIZE);
    uint64_t page =
        vm->store.base + vm->offset[PIECE_MSIX] + DEVICE_MSIX_PAGE(i) * (uint64_t)PAGE_SIZE;
    if (status == OK)
        status = memory_map(page, PAGE_SIZE, guest, rw, at + table);
    return status == OK ? memory_map(base + table, PAGE_SIZE, vm_slot(vm, VM_VMM), rw, VMM_TABLE(i))
                        : status;
}

static uint64_t make_dv(const struct vm *vm, uint32_t i)
{
    const struct pci_function *f = assigned[vm->index].function[i];
    uint32_t unit = 0;
    iommu_of(f, &unit); /* claim() has asked whether it may be assigned */
    uint64_t made = dv_create(SLOT_SCRATCH, vm_slot(vm, VM_GUEST), SLOT_ROOT_SYS, f->rid, unit);
    return slot_hand_over(made, vm_slot(vm, VM_VMM), VMM_DV + i, DV_IRQ);
}

static uint64_t map_device(const struct vm *vm, uint32_t i)
{
    struct pci_function *f = assigned[vm->index].function[i];
    config_begin(f);
    if (assign_function_wrong(f))
        return device_refuse(vm, i, assign_function_wrong(f));
    uint64_t status =
        memory_map(pci_ecam(f->rid), PAGE_SIZE, vm_slot(vm, VM_VMM), MR_READ, VMM_ECAM(i));
    for (uint32_t bar = 0; bar < PCI_BARS && status == OK; bar++)
        if (f->bar[bar].size)
            status = map_bar(vm, i, bar);
    return status == OK ? make_dv(vm, i) : status;
}

/* ---- writes to configuration registers ----------------------------- */
/* A VMM's call to VMM_PCI; `domain` is the VM's number. Runs on the VMM's time and core, on a stack
 * of 1 KiB. All words are the VMM's, which may be hostile: each is read once, then checked. */
static void __attribute__((noreturn)) device_serve(uint64_t domain, struct utcb *utcb)
{
    uint64_t i = utcb->word[0], offset = utcb->word[1], size = utcb->word[2];
    if (i < machine.vm[domain].plan->devices && offset < PAGE_SIZE && size <= 4)
        config_write(assigned[domain].function[i], offset, size, utcb->word[3]);
    memset(utcb->word, 0, sizeof(utcb->word)); /* else a shorter call would see this call's words */
    pt_reply(0);
}

uint64_t device_map(const struct vm *vm)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < vm->plan->devices && status == OK; i++)
        status = map_device(vm, i);
    return status == OK && vm->plan->devices
               ? fault_serve(vm->index, vm_slot(vm, VM_VMM), device_serve, VMM_PCI, 0)
               : status;
}

/* ---- from life to life --------------------------------------------- */
/* The first of its devices that is not there; as many as it has: all are. */
static uint32_t absent(const struct vm *vm)
{
    uint32_t i = 0;
    while (i < vm->plan->devices && pci_is_there(assigned[vm->index].function[i]))
        i++;
    return i;
}

void device_tell(const struct vm *vm)
{
    uint32_t i = absent(vm);
    if (i < vm->plan->devices)
        console_say("VM %s: waits for device %u, which another VM enables", vm->plan->name, i + 1);
}

/* Capabilities of virtual functions can be read only now that they are there. */
static void look_again(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->devices; i++)
        if (assigned[vm->index].function[i]->pf)
            pci_read_capabilities(assigned[vm->index].function[i]);
}

static bool pending(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->devices; i++)
        if (pci_is_there(assigned[vm->index].function[i]) &&
            pci_pending(assigned[vm->index].function[i]))
            return true;
    return false;
}

static void each(const struct vm *vm, enum stage stage)
{
    static void (*const enter[])(const struct pci_function *) = {
        [USED] = pci_restore, [QUIET] = pci_quiet, [RESET] = pci_reset, [AWAKE] = pci_wake};
    static const uint32_t ms[] = {[RESET] = RESET_MS, [AWAKE] = WAKE_MS};
    for (uint32_t i = 0; i < vm->plan->devices; i++)
        if (pci_is_there(assigned[vm->index].function[i]))
            enter[stage](assigned[vm->index].function[i]);
    assigned[vm->index].stage = stage;
    assigned[vm->index].due = tsc() + clock_ticks(ms[stage]);
}

void device_quiet(const struct vm *vm)
{
    each(vm, QUIET);
    assigned[vm->index].pending = tsc() + clock_ticks(PENDING_MS);
}

bool device_stop(const struct vm *vm)
{
    if (assigned[vm->index].stage != QUIET)
        return true;
    if (tsc() < assigned[vm->index].pending && pending(vm))
        return false;
    each(vm, RESET);
    return true;
}

/* One step of the stages; true: at USED again. */
static bool new_again(const struct vm *vm)
{
    if (assigned[vm->index].stage == USED)
        device_quiet(vm);
    if (assigned[vm->index].stage == QUIET)
        device_stop(vm);
    else
        each(vm, assigned[vm->index].stage == RESET ? AWAKE : USED);
    return assigned[vm->index].stage == USED;
}

/* A virtual function is absent until its owner enables it. Once it answers, RESET_MS pass before it
 * is looked at (9.3.3.3.1); then come the stages. */
bool device_ready(const struct vm *vm)
{
    uint64_t now = tsc();
    bool was_there = assigned[vm->index].there;
    if (vm->plan->devices == 0)
        return true;
    if (now < assigned[vm->index].due)
        return false;
    assigned[vm->index].there = absent(vm) == vm->plan->devices;
    if (!assigned[vm->index].there)
        return false;
    if (!was_there) {
        assigned[vm->index].due = now + clock_ticks(RESET_MS);
        return false;
    }
    look_again(vm);
    return new_again(vm);
}
