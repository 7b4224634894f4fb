#include <root/fault.h>
#include <root/seal.h>
#include <lib/call.h>
#include <lib/state.h>
#include <lib/string.h>

#define LOAD_MS    60000u /* for the loader */
#define PART       512u   /* bytes that are measured at one time; of a whole page an emulator makes half a millisecond */
#define PAGE_WORDS (PAGE_SIZE / 8)

enum step { STEP_DIRTY, STEP_SCRUB, STEP_LOAD, STEP_WAIT, STEP_MEASURE, STEP_DONE };

/* Whatever was in the memory: it goes through the hands of a guest domain that dies, so that the kernel cleans it. */
static void make_dirty(struct vm *vm)
{
    if (pd_create(SLOT_SCRATCH, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 2, 0) != OK)
        vm_fail(vm, "sealing", NO_MEMORY);
    mr_seal(vm->ram.slot, SLOT_SCRATCH); /* BUSY: it is dirty from the last life */
    destroy(SLOT_SCRATCH);
    vm_note_change();
}

/* True: all is clean. */
static bool scrub(struct vm *vm)
{
    uint64_t status;
    do
        status = mr_scrub(vm->ram.slot);
    while (status == AGAIN && !turn_over());
    if (status != OK && status != AGAIN)
        vm_fail(vm, "cleaning its memory", status);
    return status == OK;
}

/* True: the loader has done its work, and is gone. */
static bool loader_is_done(struct vm *vm, uint64_t now)
{
    struct fault f;
    uint32_t state = *(volatile uint32_t *)&vm_control(vm)->state;
    bool dead = fault_seen(vm->index, &f), refused = state == VM_OFF;
    if (!dead && !refused && state != VM_RUNNING && now < vm->due)
        return false;
    if (dead || state != VM_RUNNING)
        vm_fail(vm, refused ? "loading the kernel image" : "the loader", BAD_ARG);
    vm_drop_vmm(vm); /* what it wrote stays as it is from now on */
    vm->boot = vm_control(vm)->boot;
    sha256_begin(&vm->sha);
    vm->measured = 0;
    if (!memory_open(vm->ram.base, vm->ram.size, MR_READ))
        vm_fail(vm, "measuring", NO_MEMORY);
    vm_note_change();
    return true;
}

static bool is_zero(const uint64_t *page)
{
    for (uint32_t i = 0; i < PAGE_WORDS; i++)
        if (page[i])
            return false;
    return true;
}

/* Of every page that is not all zero: its number and its bytes. */
static void measure_part(struct vm *vm)
{
    uint64_t number = vm->measured >> PAGE_SHIFT;
    const void *at = (const void *)(ROOT_PHYS + vm->ram.base + vm->measured);
    bool begins = vm->measured % PAGE_SIZE == 0, skip = begins && is_zero(at);
    vm->measured += skip ? PAGE_SIZE : PART;
    if (skip)
        return;
    if (begins)
        sha256_add(&vm->sha, &number, sizeof(number));
    sha256_add(&vm->sha, at, PART);
}

/* At the end the registers the guest starts with. True: all is measured. */
static bool measure(struct vm *vm)
{
    do
        measure_part(vm);
    while (vm->measured < vm->ram.size && !turn_over());
    if (vm->measured < vm->ram.size)
        return false;
    sha256_add(&vm->sha, &vm->boot, sizeof(vm->boot));
    sha256_end(&vm->sha, vm->hash);
    mr_unmap(vm->ram.slot, SLOT_ROOT_PD);
    vm_note_change();
    return true;
}

bool seal_turn(struct vm *vm, uint64_t now)
{
    if (!vm->plan->sealed || vm->failed)
        return true;
    if (vm->seal != STEP_SCRUB && vm->seal != STEP_MEASURE && vm->seal != STEP_DONE && turn_heavy())
        return false;
    switch ((enum step)vm->seal) {
    case STEP_DIRTY:
        make_dirty(vm);
        vm->seal = STEP_SCRUB;
        break;
    case STEP_SCRUB: vm->seal += scrub(vm); break;
    case STEP_LOAD:
        vm_load(vm);
        vm->due = now + clock_ticks(LOAD_MS);
        vm->seal = STEP_WAIT;
        break;
    case STEP_WAIT: vm->seal += loader_is_done(vm, now); break;
    case STEP_MEASURE: vm->seal += measure(vm); break;
    case STEP_DONE: return true;
    }
    return false;
}

/* On the vCPU's core and time: the measured registers, or those of a processor that waits for its start. */
static void __attribute__((noreturn)) start_vcpu(uint64_t id, struct utcb *u)
{
    if (id >> 8 == 0) {
        state_boot(u, &machine.vm[id & 0xff].boot);
    } else {
        state_real(u, 0);
        u->mtd |= MTD_HALT;
    }
    pt_reply(0);
}

uint64_t seal_close(struct vm *vm)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < vm->plan->vcpus && status == OK; i++)
        status = fault_serve_on(vm->index, vm_core(vm, i), vm_slot(vm, VM_GUEST), start_vcpu, GUEST_EVENTS(i) + EVENT_START,
                                (uint64_t)i << 8 | vm->index);
    return status == OK ? mr_seal(vm->ram.slot, vm_slot(vm, VM_GUEST)) : status;
}
