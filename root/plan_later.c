/* Records of the plan for VMs that are created while the machine runs. */
#include <root/plan_rules.h>
#include <lib/cores.h>

uint32_t plan_next(void)
{
    uint32_t next = plan_booted;
    while (next < plan_loaded.vms && plan_is_vm(&plan_loaded.vm[next]))
        next++;
    return next;
}

/* What only a VM of the plan that was booted may have; and what others leave. `vm` passed
 * check_vm(). */
static const char *check_later(const struct plan_vm *vm, const struct plan_vm *by)
{
    uint32_t vcpus = 0, workers = 0; /* of all VMs; those on the core of its own */
    for (const struct plan_vm *other = plan_loaded.vm; other < plan_loaded.vm + plan_loaded.vms;
         other++) {
        vcpus += other->vcpus;
        workers +=
            other->cores & plan_loaded.spare_cores && cores_worker(other) == cores_worker(vm);
    }
    const struct rule rule[] = {
        {vm->cores & ~plan_loaded.spare_cores, "its cores are not spare ones"},
        {vm->sealed || vm->devices,
         "only a VM of the plan that was booted is sealed or has devices"},
        {vm->store || vm->control, "only a VM of the plan that was booted has volumes or control"},
        {vm->lan && vm->lan != by->lan, "its LAN is not that of the VM that creates it"},
        {workers > CORES_SPARE_HELPERS,
         "four workers of VMs are on its first core already, or on core 0 if it is dedicated"},
        {vcpus > MAX_VCPUS, "too many vCPUs with those of the others"},
    };
    const char *wrong = first_broken(rule, sizeof(rule) / sizeof(rule[0]));
    return wrong ? wrong : plan_check_room();
}

const struct plan_vm *plan_admit(const struct boot_info *files, const struct plan_vm *record,
                                 const struct plan_vm *by, const char **wrong)
{
    struct plan_vm *vm = plan_loaded.vm + plan_next();
    *wrong = "there are as many VMs as there can be";
    if (vm == plan_loaded.vm + PLAN_VMS)
        return 0;
    *vm = *record;
    plan_loaded.vms += vm == plan_loaded.vm + plan_loaded.vms;
    *wrong = plan_check_again(files, vm);
    if (!*wrong)
        *wrong = check_later(vm, by);
    if (!*wrong)
        return vm;
    plan_forget(vm);
    return 0;
}

void plan_forget(const struct plan_vm *vm)
{
    plan_loaded.vm[vm - plan_loaded.vm] = (struct plan_vm){0};
    while (plan_loaded.vms > plan_booted && !plan_is_vm(&plan_loaded.vm[plan_loaded.vms - 1]))
        plan_loaded.vms--;
}
