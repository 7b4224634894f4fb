#include <root/plan.h>
#include <root/vm/device.h>
#include <root/vm/store.h>
#include <lan/lan_ring.h>
#include <lib/call.h>
#include <lib/string.h>

#define COPY_STEP (1u << 16) /* bytes of one step, whose time is well below a turn */

/* Addresses of the pieces in the VMM's space, and what it may do there; 0: it does not get them. */
static const struct {
    uint64_t va, perm;
} store_place[PIECE_DATA] = {
    [PIECE_CONFIG] = {VMM_CONFIG, MR_READ},
    [PIECE_CONTROL] = {VMM_CONTROL, MR_READ | MR_WRITE},
    [PIECE_MSIX] = {VMM_MSIX, MR_READ | MR_WRITE},
    [PIECE_STACKS] = {VMM_STACKS, MR_READ | MR_WRITE},
    [PIECE_LAN] = {VMM_LANPORT, MR_READ | MR_WRITE},
    [PIECE_STORE] = {VMM_LANPORT + LINK_STORE * LAN_PORT_STRIDE, MR_READ | MR_WRITE},
};

/* Is file `index` one that the guest can write to? */
static bool is_writable(const struct vm *vm, uint32_t index)
{
    return index >= FILE_DISK && index - FILE_DISK < vm->plan->disks &&
           vm->plan->disk[index - FILE_DISK].flags & (DISK_VOLATILE | DISK_UPLOAD);
}

/* Bytes of the copy, in its store, that the VM has of a file; 0: it has the file itself. What it
 * was created from is gone with the next upload. */
static uint64_t copy_bytes(const struct vm *vm, uint32_t index)
{
    return is_writable(vm, index) || vm->created ? vm->file[index].size : 0;
}

/* Large pages: a file's address and physical address agree modulo 2 MiB. */
static void add_file(struct vm *vm, uint32_t index, uint32_t number, uint64_t *va)
{
    if (number == PLAN_NO_FILE)
        return;
    const struct boot_module *m = plan_file(vm->files, number);
    vm->file[index] = (struct file){m->base, m->base, m->size, *va + m->base % MEBI2};
    *va += round_up(m->size, MEBI2) + MEBI2;
}

static void lay_out_files(struct vm *vm)
{
    uint64_t va = VMM_FILES;
    add_file(vm, FILE_KERNEL, vm->plan->kernel, &va);
    add_file(vm, FILE_INITRD, vm->plan->initrd, &va);
    for (uint32_t i = 0; i < vm->plan->disks; i++)
        add_file(vm, FILE_DISK + i, vm->plan->disk[i].file, &va);
    for (uint32_t i = 0; i < vm->plan->disks; i++)
        if (vm->plan->disk[i].flags == DISK_UPLOAD)
            vm->file[FILE_DISK + i] = (struct file){0, 0, machine.plan->upload, va};
}

/* Its port of a link, whole pages; 0: it has none. */
static uint64_t lan_bytes(const struct vm *vm, uint32_t link)
{
    return plan_lan(vm->plan, link) ? round_up(LAN_PORT_BYTES(plan_mtu(vm->plan, link)), PAGE_SIZE)
                                    : 0;
}

void store_lay_out(struct vm *vm)
{
    const uint64_t fixed[PIECE_FILE] = {
        [PIECE_CONFIG] = sizeof(struct vm_config),
        [PIECE_CONTROL] = VM_CONTROL_PAGES * PAGE_SIZE,
        [PIECE_MSIX] = VMM_MSIX_PAGES * PAGE_SIZE,
        [PIECE_STACKS] = VMM_STACK * (1 + vm->plan->vcpus),
        [PIECE_LAN] = lan_bytes(vm, LINK_LAN),
        [PIECE_STORE] = lan_bytes(vm, LINK_STORE),
        [PIECE_CHIPSET] = GUEST_CHIPSET_PAGES * PAGE_SIZE,
        [PIECE_LOG] = vm->plan->console ? CONSOLE_LOG : 0,
        [PIECE_DATA] = machine.vmm.data,
    };
    uint64_t at = 0;
    lay_out_files(vm);
    for (uint32_t i = 0; i < PIECES; i++) {
        bool fixed_size = i < PIECE_FILE;
        vm->offset[i] = fixed_size ? at : round_up(at, MEBI2);
        vm->size[i] = fixed_size ? fixed[i] : copy_bytes(vm, i - PIECE_FILE);
        at = vm->offset[i] + round_up(vm->size[i], PAGE_SIZE);
    }
    vm->store.size = at;
}

/* RAM aligned for the largest pages that fit it, 1 GiB or 2 MiB. Beside an installed system all VMs
   have one run, of just their size: a hole in it would be missing to the next. */
static uint64_t take_ram(struct vm *vm)
{
    uint64_t size = vm->plan->memory, status = NO_MEMORY;
    if (size >= GIBI && !(machine.info->flags & BOOT_HOST))
        status = memory_take(size, GIBI, &vm->ram);
    return status == OK ? OK : memory_take(size, MEBI2, &vm->ram);
}

static uint64_t store_refuse(const struct vm *vm, uint64_t size)
{
    uint64_t wanted = round_up(size, MEBI2) >> 20, free = memory_largest() >> 20;
    console_say("VM %s: no contiguous run of %lu MiB (largest free: %lu MiB): raise machine.memory",
                vm->plan->name, wanted, free);
    return NO_MEMORY;
}

void store_place_copies(struct vm *vm)
{
    for (uint32_t i = 0; i < FILES; i++)
        if (copy_bytes(vm, i)) {
            vm->file[i].base = vm->store.base + vm->offset[PIECE_FILE + i];
            vm->file[i].va &= ~(MEBI2 - 1);
        }
}

uint64_t store_take(struct vm *vm)
{
    store_lay_out(vm);
    if (take_ram(vm) != OK)
        return store_refuse(vm, vm->plan->memory);
    if (memory_take(vm->store.size, MEBI2, &vm->store) != OK)
        return store_refuse(vm, vm->store.size);
    store_place_copies(vm);
    return OK;
}

uint64_t store_open(struct vm *vm)
{
    if (!memory_open(vm->store.base, vm->store.size, MR_READ | MR_WRITE))
        return BAD_ARG;
    store_clear_ports(vm);
    return OK;
}

void store_clear_ports(const struct vm *vm)
{
    for (uint32_t link = 0; link < LINKS; link++)
        memset(vm_piece(vm, PIECE_LAN + link), 0, vm->size[PIECE_LAN + link]);
}

static struct vm_file config_file(const struct file *f)
{
    return (struct vm_file){f->size ? f->va : 0, f->size};
}

static void fill_config(const struct vm *vm, struct vm_config *config)
{
    config->plan = *vm->plan;
    config->load = vm_loads(vm);
    config->boot = vm->boot;
    config->tpm = vm_has_tpm(vm) ? machine.acpi.tpm : 0;
    config->tsc_hz = machine.clock.tsc_hz;
    config->worker_budget = vm_help_budget(vm_worker_core(vm));
    config->worker_period = vm_help_period();
    config->wall_ns = machine.clock.wall_ns;
    config->wall_tsc = machine.clock.wall_tsc;
    config->apic_per_tsc = kernel_stat()->apic_per_tsc;
    for (uint32_t i = 0; i < vm->plan->vcpus; i++)
        config->apic_id[i] = kernel_stat()->core[vm_core(vm, i)].apic_id;
    config->kernel = config_file(&vm->file[FILE_KERNEL]);
    config->initrd = config_file(&vm->file[FILE_INITRD]);
    for (uint32_t i = 0; i < PLAN_DISKS; i++)
        config->disk[i] = config_file(&vm->file[FILE_DISK + i]);
    device_describe(vm, config);
}

static struct lan_ring *to_switch(const struct vm *vm, uint32_t link)
{
    return lan_to_switch(vm_piece(vm, PIECE_LAN + link));
}

static struct lan_ring *from_switch(const struct vm *vm, uint32_t link)
{
    return lan_to_vm(vm_piece(vm, PIECE_LAN + link), plan_mtu(vm->plan, link));
}

/* Empty the rings and zero their counters for a new life. The LAN switch works meanwhile: only the
   index that is the VM's is written, never the switch's. Otherwise a frame that the switch
   publishes at that moment would be lost, or its index would go back. */
static void reset_lan_port(const struct vm *vm, uint32_t link)
{
    struct lan_ring *to_lan = to_switch(vm, link), *to_vm = from_switch(vm, link);
    if (!plan_lan(vm->plan, link))
        return;
    to_lan->head = to_lan->tail;
    to_lan->waits = to_vm->takes = 0;
    to_vm->tail = to_vm->head;
    to_lan->unsent = to_lan->unread = to_vm->unsent = to_vm->unread = 0;
}

void store_lost(const struct vm *vm, uint64_t *sent, uint64_t *received)
{
    *sent = *received = 0;
    for (uint32_t link = 0; link < LINKS; link++) {
        if (!plan_lan(vm->plan, link))
            continue;
        *sent += to_switch(vm, link)->unsent + to_switch(vm, link)->unread;
        *received += from_switch(vm, link)->unsent + from_switch(vm, link)->unread;
    }
}

void store_fill(struct vm *vm)
{
    for (uint32_t i = 0; i < PIECE_DATA; i++)
        if (i != PIECE_LAN && i != PIECE_STORE && i != PIECE_LOG)
            memset(vm_piece(vm, i), 0, round_up(vm->size[i], PAGE_SIZE)); /* as it is mapped */
    for (uint32_t link = 0; link < LINKS; link++)
        reset_lan_port(vm, link);
    fill_config(vm, vm_piece(vm, PIECE_CONFIG));
    image_copy_data(&machine.vmm, vm_piece(vm, PIECE_DATA));
}

static uint64_t at_most(uint64_t bytes) { return bytes < COPY_STEP ? bytes : COPY_STEP; }

/* Some bytes of a file, from `at` on. A VMM maps whole pages: the rest of the last one is zeros. */
static void copy(const struct file *f, uint64_t at, uint64_t step)
{
    char *to = (char *)(ROOT_PHYS + f->base + at);
    uint64_t end = round_up(at + step, PAGE_SIZE) - at;
    if (!f->source)
        step = 0;
    memcpy(to, (const void *)(ROOT_PHYS + f->source + at), step);
    memset(to + step, 0, end - step);
}

static bool copy_step(struct vm *vm)
{
    uint64_t at = vm->copied;
    if (vm->dirty) {
        uint64_t step = at_most(vm->dirty);
        vm->dirty -= step;
        memset((void *)(ROOT_PHYS + vm->ram.base + vm->dirty), 0, step);
        return false;
    }
    for (const struct file *f = vm->file; f < vm->file + FILES; f++) {
        uint64_t size = f->base != f->source ? f->size : 0;
        if (at < size) {
            uint64_t step = at_most(size - at);
            copy(f, at, step);
            vm->copied += step;
            return false;
        }
        at -= size;
    }
    return true;
}

bool store_copy_files(struct vm *vm)
{
    bool done;
    do
        done = copy_step(vm);
    while (!done && !turn_over());
    for (struct file *f = vm->file; done && vm->created && f < vm->file + FILES; f++)
        f->source = f->base; /* its next life finds them there */
    return done;
}

uint64_t store_map(const struct vm *vm)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < PIECE_DATA && status == OK; i++)
        if (vm->size[i] && store_place[i].va)
            status = memory_map(vm->store.base + vm->offset[i], vm->size[i], vm_slot(vm, VM_VMM),
                                store_place[i].perm, store_place[i].va);
    for (uint32_t i = 0; i < FILES && status == OK; i++) {
        const struct file *f = &vm->file[i];
        uint64_t perm = is_writable(vm, i) ? MR_READ | MR_WRITE : MR_READ;
        if (f->size)
            status = memory_map(f->base, f->size, vm_slot(vm, VM_VMM), perm,
                                f->va & ~(uint64_t)(PAGE_SIZE - 1));
    }
    return status;
}
