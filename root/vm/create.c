#include <root/console/command.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/life.h>
#include <root/vm/store.h>
#include <lib/call.h>
#include <lib/format.h>
#include <lib/string.h>

static struct region spare;
static struct boot_info uploaded; /* the files of an upload, as if they were modules */

uint64_t create_take(void)
{
    uint64_t size = machine.plan->spare_memory;
    if (!size || memory_take(size, MEBI2, &spare) == OK)
        return OK;
    console_say("plan: no contiguous run of %lu MiB to spare (largest free: %lu MiB)", size >> 20,
                memory_largest() >> 20);
    return NO_MEMORY;
}

uint64_t create_open(void)
{
    return !spare.size || memory_open(spare.base, spare.size, MR_READ | MR_WRITE) ? OK : BAD_ARG;
}

/* ---- room: the lowest run that no VM which was created has ------------------------------------
 */

struct run {
    uint64_t base, end;
};

/* Of the spare memory: a VM of the plan has none, and its RAM and store may be on both sides of it.
 */
static struct run memory_of(const struct vm *vm)
{
    if (!vm->created)
        return (struct run){0, 0};
    return (struct run){vm->ram.base, round_up(vm->store.base + vm->store.size, MEBI2)};
}

static struct run vcpus_of(const struct vm *vm)
{
    return (struct run){vm->first_vcpu, vm->first_vcpu + vm->plan->vcpus};
}

/* From `at` on, `size` long, beside all that VMs other than `self` have. */
static uint64_t place(uint64_t at, uint64_t size, const struct vm *self,
                      struct run (*of)(const struct vm *))
{
    for (bool moved = true; moved;) {
        moved = false;
        for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
            struct run taken = of(vm);
            if (vm == self || !plan_is_vm(vm->plan) || taken.base >= at + size || at >= taken.end)
                continue;
            at = taken.end;
            moved = true;
        }
    }
    return at;
}

/* ---- what was uploaded ------------------------------------------------------------ */

/* Copy the upload's head to `*upload`; its files to `uploaded`. False: it is none. */
static bool read_upload(const struct file *from, struct upload *upload)
{
    memcpy(upload, (const void *)(ROOT_PHYS + from->base), sizeof(*upload));
    if (upload->magic != UPLOAD_MAGIC || upload->version != PLAN_VERSION ||
        upload->files > UPLOAD_FILES)
        return false;
    uploaded.modules = upload->files;
    for (uint32_t i = 0; i < upload->files; i++) {
        uint64_t at = upload->file[i].offset, size = upload->file[i].size;
        if (at % PAGE_SIZE || at > from->size || size > from->size - at)
            return false;
        uploaded.module[i] = (struct boot_module){.base = from->base + at, .size = size};
        format(uploaded.module[i].name, sizeof(uploaded.module[i].name), "f%u", i);
    }
    return true;
}

/* ---- create and destroy ----------------------------------------------------------- */

/* Its record is in the plan: give it memory, and what root has for each VM. NULL; or why not. */
static const char *give_room(struct vm *vm)
{
    uint64_t ram = vm->plan->memory;
    store_lay_out(vm);
    uint64_t size = round_up(ram + vm->store.size, MEBI2);
    vm->ram = (struct region){spare.slot, place(spare.base, size, vm, memory_of), ram};
    vm->store.slot = spare.slot;
    vm->store.base = vm->ram.base + ram;
    if (size > spare.size || vm->ram.base - spare.base > spare.size - size)
        return "the spare memory has no room for it";
    if (!plan_keeps_siblings_apart(machine.thread_of))
        return "another VM has a thread of one of its cores";
    store_place_copies(vm);
    store_clear_ports(vm);
    if (fault_prepare(vm->index, vm_cores(vm)) != OK ||
        sm_create(vm_slot(vm, VM_BELL), SLOT_ROOT_PD, 0) != OK)
        return "root has no objects left for it";
    return 0;
}

/* Its LAN's switch forgets the port before its memory can be another VM's. */
static void forget(struct vm *vm, uint32_t lan)
{
    plan_forget(vm->plan);
    machine.vms = machine.plan->vms;
    vm->created = false;
    if (lan)
        ignore(lan_renew(lan));            /* the console has the reason; the LAN stays off */
    ignore(destroy(vm_slot(vm, VM_BELL))); /* fails only where it could not be made */
    fault_forget(vm->index);
}

/* A record for the VM that was uploaded. NULL, with `*wrong`: it is not usable. */
static struct vm *admit(const struct vm *by, const struct upload *upload, const char **wrong)
{
    const struct plan_vm *plan = plan_admit(&uploaded, &upload->vm, by->plan, wrong);
    if (!plan)
        return 0;
    struct vm *vm = &machine.vm[plan - machine.plan->vm];
    machine.vms = machine.plan->vms;
    *vm = (struct vm){.plan = plan,
                      .index = (uint32_t)(vm - machine.vm),
                      .files = &uploaded,
                      .created = true,
                      .dirty = plan->memory};
    vm->first_vcpu = (uint32_t)place(0, plan->vcpus, vm, vcpus_of);
    return vm;
}

struct vm *create_vm(const struct vm *by, const char **wrong)
{
    static struct upload upload; /* what is checked is what is used: the VM can write to its own */
    uint32_t disk = plan_upload_disk(by->plan);
    *wrong = "this VM has no disk for uploads";
    if (disk == PLAN_DISKS)
        return 0;
    *wrong = "what was uploaded is not a VM of this version's";
    if (!read_upload(&by->file[FILE_DISK + disk], &upload))
        return 0;
    machine.heavy = true;
    struct vm *vm = admit(by, &upload, wrong);
    if (!vm)
        return 0;
    uint32_t lan = vm->plan->lan;
    *wrong = give_room(vm);
    if (*wrong)
        lan = 0; /* its switch has not heard of it */
    else if (lan && lan_renew(lan) != OK)
        *wrong = "its LAN does not start";
    if (!*wrong) {
        life_start(vm);
        return vm;
    }
    forget(vm, lan);
    return 0;
}

const char *create_refuses(const struct vm *vm)
{
    if (!vm->created)
        return "is of the plan that was booted";
    return vm->life == LIFE_OFF ? 0 : "is not off";
}

void create_destroy(struct vm *vm)
{
    machine.heavy = true;
    command_forget(vm);
    forget(vm, vm->plan->lan);
}
