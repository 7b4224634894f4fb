#include <cli/promise.h>
#include <cli/host.h>

#include <stdio.h>

/* Root's own, and what it gives out (root/main.c, root/vm.c: vm_help, vm_run; root/lan.c). */
#define ROOT_PRIORITY  30u
#define ROOT_SHARE     1.0 /* of core 0: its turns of up to 0.5 ms begin 0.5 ms apart */
#define HELPERS_SHARE  0.5 /* of a core, for all VMMs' workers and switches there    */
#define HELPERS_PERIOD 10000.0
#define NOBODY         0xffffffffu
#define ENTRIES        (1 + PLAN_VMS + PLAN_LANS + PLAN_VMS * PLAN_VCPUS)

/* One scheduling context of a core. */
struct entry {
    uint32_t priority, vm; /* whose vCPU; NOBODY's: a helper, or root               */
    double slice;          /* us: those of one priority take turns, each for its own */
    double limit;          /* the part of the core that it can take at most          */
    double share;          /* ...that it gets when all others take what they can     */
};

struct core {
    struct entry entry[ENTRIES];
    uint32_t used, helpers;
};

static double least(double a, double b) { return a < b ? a : b; }

static uint32_t core_of(const struct plan_vm *vm, uint32_t vcpu)
{
    uint32_t n = vcpu % (uint32_t)__builtin_popcountll(vm->cores), core = 0;
    while (!(vm->cores >> core & 1) || n-- > 0)
        core++;
    return core;
}

static void add(struct core *c, struct entry entry) { c->entry[c->used++] = entry; }

static void add_helper(struct core *c, bool here, uint32_t priority)
{
    c->helpers += here;
    if (here)
        add(c, (struct entry){.priority = priority + 1, .vm = NOBODY});
}

static void add_helpers(struct core *c, const struct job *job, uint32_t core)
{
    for (const struct plan_vm *vm = job->plan.vm; vm < job->plan.vm + job->plan.vms; vm++)
        add_helper(c, core == (vm->mode == MODE_DEDICATED ? 0 : core_of(vm, 0)), vm->priority);
    for (uint32_t lan = 1; lan <= job->plan.lans; lan++) {
        uint32_t priority = 0;
        for (const struct plan_vm *vm = job->plan.vm; vm < job->plan.vm + job->plan.vms; vm++)
            priority = vm->lan == lan && vm->priority > priority ? vm->priority : priority;
        add_helper(c, core == job->cores - 1 - (lan - 1) % job->cores, priority);
    }
    for (uint32_t i = 0; i < c->used; i++) {
        c->entry[i].limit = HELPERS_SHARE / c->helpers;
        c->entry[i].slice = HELPERS_PERIOD * c->entry[i].limit;
    }
}

static void add_vcpus(struct core *c, const struct job *job, uint32_t core)
{
    for (uint32_t i = 0; i < job->plan.vms; i++) {
        const struct plan_vm *vm = &job->plan.vm[i];
        double limit = vm->period_us ? (double)vm->budget_us / vm->period_us : 1;
        for (uint32_t vcpu = 0; vcpu < vm->vcpus && vm->mode == MODE_SHARED; vcpu++)
            if (core_of(vm, vcpu) == core)
                add(c, (struct entry){vm->priority, i, vm->budget_us, limit, 0});
    }
}

/* Divide `left` of the core among those of `priority` by their slices; who is limited to less leaves the rest to the others. */
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

/* From the highest priority downwards, each level has what those above leave even if they take all they can. */
static void share_out(struct core *c)
{
    double left = 1;
    for (uint32_t priority = ROOT_PRIORITY; priority > 0; priority--) {
        divide(c, priority, left);
        for (const struct entry *e = c->entry; e < c->entry + c->used; e++)
            left -= e->priority == priority ? least(e->limit, left) : 0;
    }
}

double promise_of(const struct job *job, uint32_t vm, uint32_t core)
{
    struct core c = {0};
    double sum = 0;
    if (job->plan.vm[vm].mode == MODE_DEDICATED)
        return job->plan.vm[vm].cores >> core & 1 ? 1 : 0;
    add_helpers(&c, job, core);
    add_vcpus(&c, job, core);
    if (core == 0)
        add(&c, (struct entry){ROOT_PRIORITY, NOBODY, 1, ROOT_SHARE, 0});
    share_out(&c);
    for (uint32_t i = 0; i < c.used; i++)
        sum += c.entry[i].vm == vm ? c.entry[i].share : 0;
    return sum;
}

static void print(const struct job *job, uint32_t i)
{
    const struct plan_vm *vm = &job->plan.vm[i];
    const char *separator = "";
    printf("%s: ", vm->name);
    for (uint32_t core = 0; core < job->cores; core++) {
        uint32_t vcpus = 0;
        for (uint32_t vcpu = 0; vcpu < vm->vcpus; vcpu++)
            vcpus += core_of(vm, vcpu) == core;
        if (!vcpus)
            continue;
        printf("%s%.1f %% of core %u (%u vCPU%s)", separator, 100 * promise_of(job, i, core), core, vcpus, vcpus == 1 ? "" : "s");
        separator = ", ";
    }
    puts("");
}

void promise_print(const struct job *job)
{
    for (uint32_t i = 0; i < job->plan.vms; i++)
        print(job, i);
}
