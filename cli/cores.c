#include <cli/check.h>
#include <cli/host.h>

/* The text of `key` of the VM in hand; NULL: it is not one value, or not there. */
static const char *text_of(const struct check *check, const char *key)
{
    const struct mark *mark = source_find(&check->source, host_text("vms[%u].%s", check->vm, key));
    return mark ? mark->value : NULL;
}

static uint32_t count(uint64_t mask) { return (uint32_t)__builtin_popcountll(mask); }

static struct plan_vm *in_hand(const struct check *check) { return &check->job->plan.vm[check->vm]; }

/* The cores that the VM in hand names. */
static uint64_t named(struct check *check)
{
    bool alone = in_hand(check)->mode == MODE_DEDICATED;
    uint64_t mask = 0, core;
    const char *text;
    for (uint32_t i = 0; (text = text_of(check, host_text("cores[%u]", i))); i++)
        if (!value_parse(text, unit_none, &core) || core >= check->job->cores)
            check_error(check, "cores", "the machine has no core `%s`: write numbers from 0 to %u", text, check->job->cores - 1);
        else if (alone && core == 0)
            check_error(check, "cores", "core 0 is root's and cannot be dedicated: choose from 1 to %u", check->job->cores - 1);
        else if (alone && mask >> core & 1)
            check_error(check, "cores", "core %lu is here twice: each vCPU of a dedicated VM has one of its own", core);
        else
            mask |= 1ull << core;
    return mask;
}

/* No core of a dedicated VM is named by another VM. */
static void check_conflicts(struct check *check)
{
    const struct plan_vm *vm = in_hand(check);
    for (uint32_t i = 0; i < check->vm; i++) {
        const struct plan_vm *other = &check->job->plan.vm[i];
        uint64_t both = vm->cores & other->cores;
        if (both && (vm->mode == MODE_DEDICATED || other->mode == MODE_DEDICATED))
            check_error(check, "cores", "core %u is given to `%s` too (line %lu), and a dedicated VM's core is nobody else's: change one",
                        (uint32_t)__builtin_ctzll(both), other->name, source_find(&check->source, host_text("vms[%u].cores", i))->line);
    }
}

/* `wanted` of the `free` cores, from the top downwards; core 0 is root's. */
static uint64_t choose(struct check *check, uint32_t wanted, uint64_t free)
{
    uint64_t mask = 0;
    for (uint32_t core = MAX_CORES - 1; core > 0 && count(mask) < wanted; core--)
        mask |= free & 1ull << core;
    if (count(mask) < wanted)
        check_error(check, "cores", "`%s` wants %u cores of its own and the machine has %u left: lower it or raise machine.cores",
                    in_hand(check)->name, wanted, count(mask));
    return mask;
}

/* A dedicated VM has a core for each vCPU; those it does not name are chosen. */
static void dedicate(struct check *check, uint64_t free)
{
    static const struct limit limit = {unit_none, 1, PLAN_VCPUS, 1, "a list of cores, or how many, from 1 to 8"};
    struct plan_vm *vm = in_hand(check);
    const char *text = text_of(check, "cores");
    bool given = check->text->vms[check->vm].vcpus;
    uint32_t wanted = text ? (uint32_t)check_vm_number(check, "cores", text, &limit, 0) : vm->vcpus;
    if (!vm->cores && wanted)
        vm->cores = choose(check, wanted, free);
    if (given && vm->cores && count(vm->cores) != vm->vcpus)
        check_error(check, "vcpus", "`vcpus` is %u, and this dedicated VM has %u cores: write one vCPU for each core, or take this out",
                    vm->vcpus, count(vm->cores));
    vm->vcpus = count(vm->cores);
    if (vm->vcpus > PLAN_VCPUS)
        check_error(check, "cores", "a VM has at most %u vCPUs, and this dedicated one has %u cores: take some out", PLAN_VCPUS, vm->vcpus);
}

/* Core 0 is root's: a VM is there only by name, or where there is no other. */
static void share(struct check *check, uint64_t free)
{
    uint64_t beside_root = free & ~1ull;
    if (text_of(check, "cores"))
        check_error(check, "cores", "`cores` is not a list: write [ , ]; only a dedicated VM can say how many");
    if (!in_hand(check)->cores)
        in_hand(check)->cores = beside_root ? beside_root : free;
}

void check_cores(struct check *check)
{
    const struct plan *plan = &check->job->plan;
    uint64_t all = (1ull << check->job->cores) - 1, free = all, taken = 0;
    for (check->vm = 0; check->vm < plan->vms; check->vm++) {
        in_hand(check)->cores = named(check);
        free &= ~in_hand(check)->cores;
        check_conflicts(check);
    }
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
