#include <root/device.h>
#include <root/fault.h>
#include <root/lan.h>
#include <root/seal.h>
#include <root/vm.h>
#include <lib/call.h>
#include <lib/string.h>

#define HELPER_PERIOD_MS 10u

/* Steps that change what the kernel holds for any domain, root's own too. */
static uint32_t changes;

void vm_note_change(void) { changes++; }

/* The same, of `vm` itself: it ends with its domains. */
static void note_own_change(struct vm *vm)
{
    changes++;
    vm->changes++;
}

void vm_fail(struct vm *vm, const char *step, uint64_t status)
{
    if (status == OK || vm->failed)
        return;
    vm->failed = step;
    vm->failed_status = status;
}

uint32_t vm_core(const struct vm *vm, uint32_t i)
{
    for (uint32_t core = 0;; core = (core + 1) % MAX_CORES)
        if (vm->plan->cores >> core & 1 && i-- == 0)
            return core;
}

static bool is_dedicated(const struct vm *vm) { return vm->plan->mode == MODE_DEDICATED; }

/* Where the VMM's worker runs: a vCPU of its own core shares it with nobody. */
uint32_t vm_worker_core(const struct vm *vm) { return is_dedicated(vm) ? 0 : vm_core(vm, 0); }

uint64_t vm_cores(const struct vm *vm)
{
    uint64_t cores = 1ull << vm_worker_core(vm);
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        cores |= 1ull << vm_core(vm, i);
    return cores;
}

uint64_t vm_help_period(void) { return clock_ticks(HELPER_PERIOD_MS); }

uint64_t vm_help_budget(uint32_t core)
{
    uint64_t helpers = 0;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        helpers += vm_worker_core(vm) == core;
    for (uint32_t i = 1; i <= machine.plan->lans; i++)
        helpers += lan_core(i) == core;
    return vm_help_period() / 2 / helpers;
}

uint64_t vm_help(uint64_t ec, uint32_t core, uint64_t priority)
{
    uint64_t status = sc_create(SLOT_SCRATCH_TIME, SLOT_ROOT_SYS, ec, priority + 1, vm_help_budget(core), vm_help_period());
    revoke(SLOT_ROOT_PD, SLOT_SCRATCH_TIME);
    return status;
}

struct pool vm_pool(void) { return (struct pool){kernel_stat()->frames_free, kernel_stat()->objects_free}; }

/* A copy of root's capability `slot` for the VMM. */
static void give(struct vm *vm, const char *step, uint64_t slot, uint64_t vmm_slot, uint64_t rights)
{
    vm_fail(vm, step, delegate(SLOT_ROOT_PD, slot, vm_slot(vm, VM_VMM), vmm_slot, rights));
}

/* The only copy of what was just made in the scratch slot. */
static void hand_over(struct vm *vm, const char *step, uint64_t vmm_slot, uint64_t rights)
{
    give(vm, step, SLOT_SCRATCH, vmm_slot, rights);
    revoke(SLOT_ROOT_PD, SLOT_SCRATCH);
}

/* Quotas: page tables of 2 MiB pages and some edges, UTCBs, VMCBs with FPU state; threads, portals, mappings. */
static void make_vmm(struct vm *vm)
{
    uint64_t vcpus = vm->plan->vcpus, gibi = vm->plan->memory / GIBI, objects = DEVICE_VMM_OBJECTS(vm->plan->devices);
    for (uint32_t i = 0; i < FILES; i++)
        gibi += vm->file[i].size / GIBI;
    uint64_t pd = vm_slot(vm, VM_VMM), frames = 48 + 2 * vcpus + gibi, cores = PD_CORES(vm_cores(vm));
    vm_fail(vm, "VMM domain", pd_create(pd, SLOT_ROOT_PD, 0, PD_HOST, cores, frames, objects + 24 + (2 + EVENT_COUNT) * vcpus));
    vm_fail(vm, "VMM image", image_map(&machine.vmm, pd, vm->store.base + vm->offset[PIECE_DATA]));
    vm_fail(vm, "VMM memory", store_map(vm));
    if (!vm->plan->sealed || vm->loading)
        vm_fail(vm, "RAM in the VMM", memory_map(vm->ram.base, vm->ram.size, pd, MR_READ | MR_WRITE, VMM_RAM));
}

static void make_guest(struct vm *vm)
{
    uint64_t vcpus = vm->plan->vcpus, devices = vm->plan->devices, frames = 16 + 4 * vcpus + vm->plan->memory / GIBI;
    uint64_t pd = vm_slot(vm, VM_GUEST), msix = vm->store.base + vm->offset[PIECE_MSIX];
    uint64_t chipset = vm->store.base + vm->offset[PIECE_CHIPSET];
    vm_fail(vm, "guest domain",
            pd_create(pd, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, PD_CORES(vm_cores(vm)), frames + DEVICE_FRAMES(devices),
                      4 + (vm->plan->sealed ? 3 : 2) * vcpus + DEVICE_OBJECTS(devices)));
    vm_fail(vm, "RAM in the guest", memory_map(vm->ram.base, vm->ram.size, pd, MR_READ | MR_WRITE | MR_EXEC, 0));
    vm_fail(vm, "chipset's pages", memory_map(chipset, vm->size[PIECE_CHIPSET], pd, MR_READ | MR_WRITE, GUEST_CHIPSET));
    if (!is_dedicated(vm))
        vm_fail(vm, "MSI-X pages", memory_map(msix, vm->size[PIECE_MSIX], pd, MR_READ | MR_WRITE, GUEST_MSIX));
}

static void give_own_capabilities(struct vm *vm)
{
    give(vm, "PD", vm_slot(vm, VM_VMM), VMM_PD, PD_CREATE | PD_TAKE);
    give(vm, "root's bell", SLOT_BELL, VMM_SM_ROOT, SM_UP);
    give(vm, "worker's bell", vm_slot(vm, VM_BELL), VMM_SM_WORK, SM_UP | SM_DOWN);
    vm_fail(vm, "sleep", sm_create(SLOT_SCRATCH, vm_slot(vm, VM_VMM), 0));
    hand_over(vm, "sleep", VMM_SM_NAP, SM_DOWN);
    vm_fail(vm, "fault portals", fault_watch(vm->index, vm_slot(vm, VM_VMM)));
}

static void give_capabilities(struct vm *vm)
{
    give_own_capabilities(vm);
    give(vm, "guest PD", vm_slot(vm, VM_GUEST), VMM_GUEST, PD_GRANT);
    if (vm->plan->lan)
        give(vm, "LAN's bell", lan_bell(vm->plan->lan), VMM_SM_LAN, SM_UP);
}

static void make_vcpu(struct vm *vm, uint32_t i)
{
    uint32_t core = vm_core(vm, i);
    uint64_t vcpu = vm_slot(vm, VM_VCPU + i);
    vm_fail(vm, "handler",
            ec_create(SLOT_SCRATCH, vm_slot(vm, VM_VMM), core, EC_HANDLER, VMM_HUTCB(i), VMM_FAULT + core, 0, VMM_STACK_TOP(1 + i)).status);
    hand_over(vm, "handler", VMM_HANDLER + i, EC_BIND);
    struct result made = ec_create(vcpu, vm_slot(vm, VM_GUEST), core, EC_VCPU, 0, GUEST_EVENTS(i), 0, 0);
    vm_fail(vm, "vCPU", made.status);
    vm->stat[i] = (uint32_t)(made.value % MAX_VCPUS);
    give(vm, "vCPU", vcpu, VMM_VCPU + i, EC_RECALL | EC_SETUP);
}

static void start_worker(struct vm *vm)
{
    uint32_t core = vm_worker_core(vm);
    vm_fail(vm, "worker",
            ec_create(SLOT_SCRATCH, vm_slot(vm, VM_VMM), core, EC_THREAD, VMM_UTCB, VMM_FAULT + core, machine.vmm.entry, VMM_STACK_TOP(0))
                .status);
    if (!vm->failed)
        vm_fail(vm, "worker's time", vm_help(SLOT_SCRATCH, core, vm->plan->priority));
    revoke(SLOT_ROOT_PD, SLOT_SCRATCH);
}

bool vm_load(struct vm *vm)
{
    machine.heavy = true;
    vm->loading = true;
    vm->changes = ++changes;
    store_fill(vm);
    make_vmm(vm);
    give_own_capabilities(vm);
    start_worker(vm);
    vm->loading = false;
    return !vm->failed;
}

bool vm_build(struct vm *vm)
{
    machine.heavy = true;
    vm->before = vm_pool();
    vm->changes = ++changes;
    store_fill(vm);
    make_guest(vm);
    make_vmm(vm);
    give_capabilities(vm);
    vm_fail(vm, "devices", device_map(vm));
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        make_vcpu(vm, i);
    if (vm->plan->sealed) /* no thread of its VMM is there yet, and no device or vCPU comes to it any more */
        vm_fail(vm, "seal", seal_close(vm));
    start_worker(vm);
    return !vm->failed;
}

bool vm_run(struct vm *vm)
{
    const struct plan_vm *p = vm->plan;
    uint64_t us = machine.clock.tsc_hz / 1000000;
    note_own_change(vm);
    for (uint32_t i = 0; i < p->vcpus; i++) {
        uint64_t vcpu = vm_slot(vm, VM_VCPU + i);
        uint64_t budget = is_dedicated(vm) ? SC_WHOLE_CORE : p->budget_us * us;
        vm_fail(vm, "vCPU's time", sc_create(SLOT_SCRATCH_TIME, SLOT_ROOT_SYS, vcpu, p->priority, budget, p->period_us * us));
        revoke(SLOT_ROOT_PD, SLOT_SCRATCH_TIME);
    }
    return !vm->failed;
}

/* A core of one's own is one's time. */
static uint64_t own_time(const struct vcpu_stat *s)
{
    uint64_t now = tsc();
    return s->first && s->first < now ? now - s->first : 0;
}

void vm_count(const struct vm *vm, struct end *sums)
{
    uint64_t first = 0, left = 0;
    sums->time = 0;
    memset(sums->exits, 0, sizeof(sums->exits));
    memset(sums->engaged, 0, sizeof(sums->engaged));
    for (uint32_t i = 0; i < vm->plan->vcpus && !vm->failed; i++) {
        const struct vcpu_stat *s = &kernel_stat()->vcpu[vm->stat[i]];
        sums->time += is_dedicated(vm) ? own_time(s) : s->time;
        for (uint32_t cause = 0; cause < CAUSE_COUNT; cause++) {
            sums->exits[cause] += s->exits[cause];
            sums->engaged[cause] += s->left ? s->engaged[cause] : s->exits[cause];
        }
        left = s->left > left ? s->left : left;
        if (s->first && (!first || s->first < first))
            first = s->first;
    }
    sums->first = first > vm->started ? first - vm->started : 0;
    sums->left = left > vm->started ? left - vm->started : 0;
}

static const struct vcpu_stat *vcpu_stat(const struct vm *vm, uint32_t i) { return &kernel_stat()->vcpu[vm->stat[i]]; }

/* What ends it while there is a VMM ends it afterwards, even if it is quiet then. `quiet` takes frames for what the guest
   then finds where it has nothing. */
uint64_t vm_disengage(struct vm *vm)
{
    uint64_t exit_port = vm->plan->exit_port ? vm->plan->exit_port : PORT_SLEEP;
    note_own_change(vm);
    return disengage(vm_slot(vm, VM_GUEST), vm->plan->after, PORT_SLEEP, PORT_RESET + 1 - PORT_SLEEP, exit_port);
}

bool vm_has_left(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->vcpus; i++) {
        const volatile struct vcpu_stat *s = vcpu_stat(vm, i);
        if (s->first && !s->left)
            return false;
    }
    return true;
}

void vm_drop_vmm(struct vm *vm)
{
    machine.heavy = true;
    destroy(vm_slot(vm, VM_VMM));
    note_own_change(vm);
}

const struct vcpu_stat *vm_ended(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        if (__atomic_load_n(&vcpu_stat(vm, i)->end_code, __ATOMIC_ACQUIRE))
            return vcpu_stat(vm, i);
    return 0;
}

/* Has nobody else changed what the kernel holds since `vm` was built? */
static bool alone(const struct vm *vm)
{
    for (const struct vm *other = machine.vm; other < machine.vm + machine.vms; other++)
        if (other != vm && other->life == LIFE_STARTING)
            return false;
    return vm->changes == changes;
}

void vm_destroy(struct vm *vm)
{
    bool exact = alone(vm);
    machine.heavy = true;
    destroy(vm_slot(vm, VM_VMM)); /* nobody starts its devices again */
    device_quiet(vm);
    destroy(vm_slot(vm, VM_GUEST));
    changes++;
    struct pool after = vm_pool();
    if (exact && (after.frames != vm->before.frames || after.objects != vm->before.objects))
        console_say("LEAK vm=%s frames_before=%u frames_after=%u objects_before=%u objects_after=%u", vm->plan->name, vm->before.frames,
                    after.frames, vm->before.objects, after.objects);
}
