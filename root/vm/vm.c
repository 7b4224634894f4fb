#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/seal.h>
#include <root/vm/store.h>
#include <lib/call.h>
#include <lib/cores.h>
#include <lib/quota.h>
#include <lib/string.h>

#define HELPER_PERIOD_MS 10u

void vm_fail(struct vm *vm, const char *step, uint64_t status)
{
    if (status == OK || vm->failed)
        return;
    vm->failed = step;
    vm->failed_status = status;
}

uint32_t vm_core(const struct vm *vm, uint32_t i) { return cores_vcpu(vm->plan, i); }

static bool is_dedicated(const struct vm *vm) { return vm->plan->mode == MODE_DEDICATED; }
bool vm_has_tpm(const struct vm *vm) { return machine.plan->tpm == vm->index + 1; }

uint32_t vm_worker_core(const struct vm *vm) { return cores_worker(vm->plan); }

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
    return vm_help_period() / 2 / cores_helpers(machine.plan, core, machine.cores);
}

uint64_t vm_help(uint64_t pd, uint32_t core, uint64_t utcb, uint64_t entry, uint64_t sp,
                 uint64_t priority)
{
    uint64_t status =
        ec_create(SLOT_SCRATCH, pd, core, EC_THREAD, utcb, VMM_FAULT + core, entry, sp).status;
    if (status == OK)
        status = sc_create(SLOT_SCRATCH_TIME, SLOT_ROOT_SYS, SLOT_SCRATCH, priority + 1,
                           vm_help_budget(core), vm_help_period());
    slot_empty(SLOT_SCRATCH_TIME);
    slot_empty(SLOT_SCRATCH);
    return status;
}

/* Delegate root's capability `slot` to the VMM, with `rights` and no others. */
static void give(struct vm *vm, const char *step, uint64_t slot, uint64_t vmm_slot, uint64_t rights)
{
    vm_fail(vm, step, delegate(SLOT_ROOT_PD, slot, vm_slot(vm, VM_VMM), vmm_slot, rights));
}

/* RAM as the guest has it, with its guest-physical 0 at `va` of the domain in slot `pd`. */
static uint64_t map_ram(const struct vm *vm, uint64_t pd, uint64_t perm, uint64_t va)
{
    uint64_t low = guest_low(vm->ram.size), high = vm->ram.size - low;
    uint64_t status = memory_map(vm->ram.base, low, pd, perm, va);
    if (status == OK && high)
        status = memory_map(vm->ram.base + low, high, pd, perm, va + GUEST_HIGH);
    return status;
}

/* The VMM's domain with all its memory, of this VM only. RAM of a sealed VM only while it is loaded
 * (seal.c). */
static void make_vmm(struct vm *vm)
{
    uint64_t pd = vm_slot(vm, VM_VMM), table = PD_TABLE(quota_table_order(vm->plan->vcpus));
    vm_fail(vm, "VMM domain",
            pd_create(pd, SLOT_ROOT_PD, 0, PD_HOST, table, pool_vmm(vm->plan), quota_vmm(vm->plan),
                      vm_cores(vm)));
    vm_fail(vm, "VMM image", image_map(&machine.vmm, pd, vm->store.base + vm->offset[PIECE_DATA]));
    vm_fail(vm, "VMM memory", store_map(vm));
    if (!vm->plan->sealed || vm_loads(vm))
        vm_fail(vm, "RAM in the VMM", map_ram(vm, pd, MR_READ | MR_WRITE, VMM_RAM));
}

static void make_guest(struct vm *vm)
{
    bool small = machine.plan->flags & PLAN_SMALL_PAGES;
    uint64_t table = PD_TABLE(quota_table_order(vm->plan->vcpus)), more = device_mappings(vm),
             frames = pool_guest(vm->plan, small) + 2 * more;
    uint64_t pd = vm_slot(vm, VM_GUEST), msix = vm->store.base + vm->offset[PIECE_MSIX];
    uint64_t chipset = vm->store.base + vm->offset[PIECE_CHIPSET];
    vm_fail(vm, "guest domain",
            pd_create(pd, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, table, frames,
                      quota_guest(vm->plan, small) + more + (vm_has_tpm(vm) ? QUOTA_TPM : 0),
                      vm_cores(vm)));
    vm_fail(vm, "RAM in the guest",
            map_ram(vm, pd, MR_READ | MR_WRITE | MR_EXEC | (small ? MEMORY_SMALL : 0), 0));
    vm_fail(vm, "chipset's pages",
            memory_map(chipset, vm->size[PIECE_CHIPSET], pd, MR_READ | MR_WRITE, GUEST_CHIPSET));
    if (vm_has_tpm(vm))
        vm_fail(vm, "the TPM's page",
                memory_map(TPM_PAGE, PAGE_SIZE, pd, MR_READ | MR_WRITE, TPM_PAGE));
    if (plan_has_virtual(vm->plan))
        vm_fail(vm, "MSI-X pages",
                memory_map(msix, vm->size[PIECE_MSIX], pd, MR_READ | MR_WRITE, GUEST_MSIX));
}

static void give_own_capabilities(struct vm *vm)
{
    uint64_t pd = vm_slot(vm, VM_VMM);
    give(vm, "PD", pd, VMM_PD, PD_CREATE | PD_TAKE);
    give(vm, "root's bell", SLOT_BELL, VMM_SM_ROOT, SM_UP);
    give(vm, "worker's bell", vm_slot(vm, VM_BELL), VMM_SM_WORK, SM_UP | SM_DOWN);
    vm_fail(vm, "sleep", slot_hand_over(sm_create(SLOT_SCRATCH, pd, 0), pd, VMM_SM_NAP, SM_DOWN));
    vm_fail(vm, "fault portals", fault_watch(vm->index, pd));
}

static uint64_t vcpu_slot(const struct vm *vm, uint32_t i)
{
    return SLOT_VCPU + vm->first_vcpu + i;
}

static void make_vcpu(struct vm *vm, uint32_t i)
{
    uint32_t core = vm_core(vm, i);
    uint64_t vcpu = vcpu_slot(vm, i), pd = vm_slot(vm, VM_VMM);
    struct result made = ec_create(SLOT_SCRATCH, pd, core, EC_HANDLER, VMM_HUTCB(i),
                                   VMM_FAULT + core, 0, VMM_STACK_TOP(1 + i));
    vm_fail(vm, "handler", slot_hand_over(made.status, pd, VMM_HANDLER + i, EC_BIND));
    made = ec_create(vcpu, vm_slot(vm, VM_GUEST), core, EC_VCPU, 0, GUEST_EVENTS(i), 0, 0);
    vm_fail(vm, "vCPU", made.status);
    vm->counters[i] = (uint32_t)(made.value % MAX_VCPUS);
    give(vm, "vCPU", vcpu, VMM_VCPU + i, EC_RECALL | EC_SETUP);
}

/* What the VMM has of its guest, and the vCPUs. */
static void add_guest(struct vm *vm)
{
    give(vm, "guest PD", vm_slot(vm, VM_GUEST), VMM_GUEST, PD_GRANT);
    for (uint32_t link = 0; link < LINKS; link++)
        if (plan_lan(vm->plan, link))
            give(vm, "LAN's bell", lan_bell(plan_lan(vm->plan, link)), VMM_SM_LAN + link, SM_UP);
    vm_fail(vm, "devices", device_map(vm));
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        make_vcpu(vm, i);
    if (vm->plan->sealed) /* last of all that the guest gets, and before its VMM has a thread */
        vm_fail(vm, "seal", seal_close(vm));
}

uint64_t vm_build(struct vm *vm)
{
    machine.heavy = true;
    store_fill(vm);
    if (!vm_loads(vm))
        make_guest(vm);
    make_vmm(vm);
    give_own_capabilities(vm);
    if (!vm_loads(vm))
        add_guest(vm);
    if (!vm->failed)
        vm_fail(vm, "worker",
                vm_help(vm_slot(vm, VM_VMM), vm_worker_core(vm), VMM_UTCB, machine.vmm.entry,
                        VMM_STACK_TOP(0), vm->plan->priority));
    return vm->failed_status;
}

uint64_t vm_run(struct vm *vm)
{
    const struct plan_vm *p = vm->plan;
    uint64_t us = machine.clock.tsc_hz / 1000000;
    for (uint32_t i = 0; i < p->vcpus; i++) {
        uint64_t vcpu = vcpu_slot(vm, i);
        uint64_t budget = is_dedicated(vm) ? SC_WHOLE_CORE : p->budget_us * us;
        vm_fail(vm, "vCPU's time",
                sc_create(SLOT_SCRATCH_TIME, SLOT_ROOT_SYS, vcpu, p->priority, budget,
                          p->period_us * us));
        slot_empty(SLOT_SCRATCH_TIME);
    }
    return vm->failed_status;
}

/* Time of a vCPU that has its core for itself, TSC ticks: all since its first entry. */
static uint64_t own_time(const struct vcpu_stat *s)
{
    uint64_t now = tsc();
    return s->first && s->first < now ? now - s->first : 0;
}

static const struct vcpu_stat *vcpu_counters(const struct vm *vm, uint32_t i)
{
    return &kernel_stat()->vcpu[vm->counters[i]];
}

/* The vCPUs that have counters: all, if it was built. */
static uint32_t counted(const struct vm *vm) { return vm->failed ? 0 : vm->plan->vcpus; }

void vm_count(const struct vm *vm, struct end *sums)
{
    uint64_t first = 0, left = 0;
    sums->time = 0;
    memset(sums->exits, 0, sizeof(sums->exits));
    memset(sums->engaged, 0, sizeof(sums->engaged));
    for (uint32_t i = 0; i < counted(vm); i++) {
        const struct vcpu_stat *s = vcpu_counters(vm, i);
        sums->time += is_dedicated(vm) ? own_time(s) : s->time;
        for (uint32_t cause = 0; cause < CAUSE_COUNT; cause++) {
            sums->exits[cause] += s->exits[cause];
            sums->engaged[cause] += s->disengaged ? s->engaged[cause] : s->exits[cause];
        }
        if (s->first && (!first || s->first < first))
            first = s->first;
        left = s->disengaged > left ? s->disengaged : left;
    }
    sums->first = first > vm->started ? first - vm->started : 0;
    sums->left = left > vm->started ? left - vm->started : 0;
}

/* The ports that end the VM while there is a VMM end it afterwards, too, even where `after` is
   quiet. A quiet guest takes frames of its quota: what absent addresses lead to. */
uint64_t vm_disengage(struct vm *vm)
{
    uint64_t exit_port = vm->plan->exit_port ? vm->plan->exit_port : PORT_SLEEP;
    return disengage(vm_slot(vm, VM_GUEST), vm->plan->after, PORT_SLEEP,
                     PORT_RESET + 1 - PORT_SLEEP, exit_port);
}

bool vm_has_left(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->vcpus; i++) {
        const volatile struct vcpu_stat *s = vcpu_counters(vm, i);
        if (s->first && !s->disengaged)
            return false;
    }
    return true;
}

void vm_drop_vmm(struct vm *vm)
{
    machine.heavy = true;
    /* Fails only where there is none, which life_stop() does not know */
    ignore(destroy(vm_slot(vm, VM_VMM)));
}

const struct vcpu_stat *vm_ended(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        if (__atomic_load_n(&vcpu_counters(vm, i)->end_event, __ATOMIC_ACQUIRE))
            return vcpu_counters(vm, i);
    return 0;
}

void vm_destroy(struct vm *vm)
{
    /* Order: the VMM's domain ends first, because it could turn bus mastering on again after
       device_quiet(). The guest's ends last, because until its devices are quiet their DMA goes
       through its table. Both calls fail only where there is no such domain: the VMM has left, or
       was never built. */
    vm_drop_vmm(vm);
    device_quiet(vm);
    ignore(destroy(vm_slot(vm, VM_GUEST)));
}
