#include <cli/host.h>
#include <cli/plan/check.h>
#include <lib/cores.h>

#include <stdio.h>

/* Shares of root (ROOT_PRIORITY) and of its helpers (root/main.c; root/vm/vm.c: vm_help, vm_run;
 * root/vm/lan.c). */
_Static_assert(PLAN_PRIORITY_MAX + 1 < ROOT_PRIORITY, "a helper is one above its VM, below root");
#define ROOT_SHARE     1.0 /* of core 0: turns of up to 0.5 ms, which begin 0.5 ms apart */
#define HELPERS_SHARE  0.5 /* of a core, for all VMMs' workers and switches there    */
#define HELPERS_PERIOD 10000.0
#define NOBODY         0xffffffffu
#define ENTRIES        (1 + PLAN_VMS + PLAN_LANS + PLAN_VMS * PLAN_VCPUS)

/* ---- which VM runs on which cores ---------------------------------------------------- */

static uint32_t count(uint64_t mask) { return (uint32_t)__builtin_popcountll(mask); }

static struct plan_vm *in_hand(const struct check *check)
{
    return &check->job->plan.vm[check->vm];
}

/* Cores that the plan names for the VM in hand, a bit each; 0: none. */
static uint64_t named(struct check *check)
{
    bool alone = in_hand(check)->mode == MODE_DEDICATED;
    uint64_t mask = 0, core;
    for (uint32_t i = 0;; i++) {
        const char *text = check_vm_word(check, host_text("cores[%u]", i));
        if (!text)
            return mask;
        bool is_number = source_number(text, unit_none, &core);
        if (!is_number || core >= check->job->cores)
            check_error(check, "cores", "the machine has no core `%s`: write numbers from 0 to %u",
                        text, check->job->cores - 1);
        else if (!(check->cores >> core & 1))
            check_error(check, "cores", "core %lu is %s", core,
                        check->later ? "not one of the spare cores of the plan that was booted"
                                     : "spare: choose another, or take it out of `spare.cores`");
        else if (alone && core == 0)
            check_error(check, "cores",
                        "core 0 is root's and cannot be dedicated: choose from 1 to %u",
                        check->job->cores - 1);
        else if (alone && mask >> core & 1)
            check_error(check, "cores",
                        "core %lu is here twice: each vCPU of a dedicated VM has one of its own",
                        core);
        else
            mask |= 1ull << core;
    }
}

/* Error: a core of a dedicated VM is named for another VM. */
static void check_conflicts(struct check *check)
{
    const struct plan_vm *vm = in_hand(check);
    for (uint32_t i = 0; i < check->vm; i++) {
        const struct plan_vm *other = &check->job->plan.vm[i];
        uint64_t both = vm->cores & other->cores;
        if (both && (vm->mode == MODE_DEDICATED || other->mode == MODE_DEDICATED))
            check_error(check, "cores",
                        "core %u is given to `%s` too (line %lu), and a dedicated VM's core is "
                        "nobody else's: change one",
                        (uint32_t)__builtin_ctzll(both), other->name,
                        source_find(&check->source, host_text("vms[%u].cores", i))->line);
    }
}

/* Choose `wanted` of the `free` cores, from the highest down, core 0 never: it is root's. */
static uint64_t choose(struct check *check, uint32_t wanted, uint64_t free)
{
    uint64_t mask = 0;
    for (uint32_t core = MAX_CORES - 1; core > 0 && count(mask) < wanted; core--)
        mask |= free & 1ull << core;
    if (count(mask) < wanted)
        check_error(check, "cores",
                    "`%s` wants %u cores of its own and the machine has %u left: lower it or raise "
                    "machine.cores",
                    in_hand(check)->name, wanted, count(mask));
    return mask;
}

/* Cores of a dedicated VM: one for each vCPU, chosen where the plan names none. */
static void dedicate(struct check *check, uint64_t free)
{
    static const struct limit limit = {unit_none, 1, PLAN_VCPUS, 1,
                                       "a list of cores, or how many, from 1 to 64"};
    struct plan_vm *vm = in_hand(check);
    const char *text = check_vm_word(check, "cores");
    bool beside_host = plan_host_vm(&check->job->plan) < check->job->plan.vms;
    if (!vm->cores && beside_host) {
        check_error(check, "cores",
                    "name the cores of `%s`, like [1]: beside a VM of `mode: host`, Hairline keeps "
                    "those up to the highest that is named",
                    vm->name);
        return;
    }
    bool given = check->text->vms[check->vm].vcpus;
    uint32_t wanted = text ? (uint32_t)check_vm_number(check, "cores", text, &limit, 0) : vm->vcpus;
    if (!vm->cores && wanted)
        vm->cores = choose(check, wanted, free);
    if (given && vm->cores && count(vm->cores) != vm->vcpus)
        check_error(check, "vcpus",
                    "`vcpus` is %u, and this dedicated VM has %u cores: write one vCPU for each "
                    "core, or take this out",
                    vm->vcpus, count(vm->cores));
    vm->vcpus = count(vm->cores); /* core 0 is not one of them */
    _Static_assert(MAX_CORES - 1 <= PLAN_VCPUS, "a vCPU for each");
}

/* Cores of a shared VM. Core 0 is root's: it is used only if it is named, or the only one. */
static void share(struct check *check, uint64_t free)
{
    uint64_t beside_root = free & ~1ull;
    if (check_vm_word(check, "cores"))
        check_error(check, "cores",
                    "`cores` is not a list: write [ , ]; only a dedicated VM can say how many");
    if (!in_hand(check)->cores)
        in_hand(check)->cores = beside_root ? beside_root : free;
}

/* Beside the host, Hairline keeps core 0 and those up to the highest of `all_named`. */
static uint64_t keep(struct check *check, uint64_t all_named)
{
    check->job->kept_cores = all_named ? MAX_CORES - (uint32_t)__builtin_clzll(all_named) : 1;
    return cores_mask(check->job->kept_cores);
}

void check_cores(struct check *check)
{
    const struct plan *plan = &check->job->plan;
    uint64_t all = check->cores, free = all, taken = 0;
    for (check->vm = 0; check->vm < plan->vms; check->vm++) {
        in_hand(check)->cores = named(check);
        free &= ~in_hand(check)->cores;
        check_conflicts(check);
    }
    if (plan_host_vm(plan) < plan->vms)
        all &= keep(check, all & ~free);
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        if (in_hand(check)->mode == MODE_DEDICATED) {
            dedicate(check, free);
            free &= ~in_hand(check)->cores;
            taken |= in_hand(check)->cores;
        }
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        if (in_hand(check)->mode == MODE_SHARED)
            share(check, all & ~taken);
}

/* ---- what each VM is promised of them (docs/threat-model.md, "What a VM gets") ---------- */

/* One scheduling context of a core. */
struct entry {
    uint32_t priority, vm; /* whose vCPU; NOBODY's: a helper, or root               */
    double slice;          /* us: those of one priority take turns, each for its own */
    double limit;          /* part of the core, 0..1, that it can take at most       */
    double share;          /* part that it gets when all others take what they can   */
};

struct core {
    struct entry entry[ENTRIES];
    uint32_t used;
};

static double least(double a, double b) { return a < b ? a : b; }

static void add_entry(struct core *c, struct entry entry) { c->entry[c->used++] = entry; }

static void add_helper(struct core *c, bool here, uint32_t priority)
{
    if (here)
        add_entry(c, (struct entry){.priority = priority + 1, .vm = NOBODY});
}

static void add_helpers(struct core *c, const struct job *job, uint32_t core)
{
    for (const struct plan_vm *vm = job->plan.vm; vm < job->plan.vm + job->plan.vms; vm++)
        add_helper(c, core == cores_worker(vm) && vm->mode != MODE_HOST, vm->priority);
    for (uint32_t lan = 1; lan <= job->plan.lans; lan++) {
        uint32_t priority = 0;
        for (const struct plan_vm *vm = job->plan.vm; vm < job->plan.vm + job->plan.vms; vm++)
            priority = plan_is_on(vm, lan) && vm->priority > priority ? vm->priority : priority;
        add_helper(c, core == cores_switch(&job->plan, lan, job->cores), priority);
    }
    for (uint32_t i = 0; i < c->used; i++) {
        c->entry[i].limit = HELPERS_SHARE / cores_helpers(&job->plan, core, job->cores);
        c->entry[i].slice = HELPERS_PERIOD * c->entry[i].limit;
    }
}

static void add_vcpus(struct core *c, const struct job *job, uint32_t core)
{
    for (uint32_t i = 0; i < job->plan.vms; i++) {
        const struct plan_vm *vm = &job->plan.vm[i];
        double limit = vm->period_us ? (double)vm->budget_us / vm->period_us : 1;
        for (uint32_t vcpu = 0; vcpu < vm->vcpus && vm->mode == MODE_SHARED; vcpu++)
            if (cores_vcpu(vm, vcpu) == core)
                add_entry(c, (struct entry){vm->priority, i, vm->budget_us, limit, 0});
    }
}

/* Divide the part `left` of the core among the contexts of `priority`, in proportion to their
 * slices. One whose limit is less takes that, and the others divide the rest. */
static void divide(struct core *c, uint32_t priority, double left)
{
    double slices = 1, unit = 0, before = -1;
    while (slices > 0 && unit > before) { /* each round, those that reach their limit drop out */
        double rest = left;
        before = unit;
        slices = 0;
        for (struct entry *e = c->entry; e < c->entry + c->used; e++)
            if (e->priority == priority && e->limit <= unit * e->slice)
                rest -= e->limit;
            else if (e->priority == priority)
                slices += e->slice;
        unit = slices > 0 ? rest / slices : unit;
    }
    for (struct entry *e = c->entry; e < c->entry + c->used; e++)
        if (e->priority == priority)
            e->share = least(e->limit, unit * e->slice);
}

/* From the highest priority downwards: a level has what those above leave if they take all they
 * can. */
static void share_out(struct core *c)
{
    double left = 1;
    for (uint32_t priority = ROOT_PRIORITY; priority > 0; priority--) {
        divide(c, priority, left);
        for (const struct entry *e = c->entry; e < c->entry + c->used; e++)
            left -= e->priority == priority ? least(e->limit, left) : 0;
    }
}

/* Parts of core `core`, in [0, 1], that all vCPUs of VM `vm` together are promised there. */
static double promise(const struct job *job, uint32_t vm, uint32_t core)
{
    struct core c = {0};
    double sum = 0;
    if (job->plan.vm[vm].mode == MODE_DEDICATED)
        return job->plan.vm[vm].cores >> core & 1 ? 1 : 0;
    add_helpers(&c, job, core);
    add_vcpus(&c, job, core);
    if (core == 0)
        add_entry(&c, (struct entry){ROOT_PRIORITY, NOBODY, 1, ROOT_SHARE, 0});
    share_out(&c);
    for (uint32_t i = 0; i < c.used; i++)
        sum += c.entry[i].vm == vm ? c.entry[i].share : 0;
    return sum;
}

static void print_promise(const struct job *job, uint32_t i)
{
    const struct plan_vm *vm = &job->plan.vm[i];
    const char *separator = "";
    printf("%s: ", vm->name);
    if (vm->mode == MODE_HOST)
        printf("all cores from %u on", job->kept_cores);
    for (uint32_t core = 0; core < job->cores && vm->mode != MODE_HOST; core++) {
        uint32_t vcpus = 0;
        for (uint32_t vcpu = 0; vcpu < vm->vcpus; vcpu++)
            vcpus += cores_vcpu(vm, vcpu) == core;
        if (!vcpus)
            continue;
        printf("%s%.1f %% of core %u (%u vCPU%s)", separator, 100 * promise(job, i, core), core,
               vcpus, vcpus == 1 ? "" : "s");
        separator = ", ";
    }
    puts("");
}

void check_promises(const struct job *job)
{
    for (uint32_t i = 0; i < job->plan.vms; i++)
        print_promise(job, i);
}
