#include <root/fault.h>
#include <root/seal.h>
#include <lib/call.h>
#include <lib/state.h>
#include <lib/string.h>

#define SCRUBS     64u    /* calls in one step, 256 KiB each */
#define MEASURES   256u   /* pages in one step               */
#define LOAD_MS    60000u /* for the loader                  */
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
    uint64_t status = AGAIN;
    for (uint32_t i = 0; i < SCRUBS && status == AGAIN; i++)
        status = mr_scrub(vm->ram.slot);
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
    vm->boot = vm_control(vm)->boot;
    vm_drop_vmm(vm);
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

/* Of every page that is not all zero: its number and its bytes. At the end the registers the guest starts with. True: all is measured. */
static bool measure(struct vm *vm)
{
    for (uint32_t i = 0; i < MEASURES; i++, vm->measured++) {
        uint64_t number = vm->measured;
        if (number == vm->ram.size >> PAGE_SHIFT) {
            sha256_add(&vm->sha, &vm->boot, sizeof(vm->boot));
            sha256_end(&vm->sha, vm->hash);
            mr_unmap(vm->ram.slot, SLOT_ROOT_PD);
            vm_note_change();
            return true;
        }
        const void *page = (const void *)(ROOT_PHYS + vm->ram.base + (number << PAGE_SHIFT));
        if (is_zero(page))
            continue;
        sha256_add(&vm->sha, &number, sizeof(number));
        sha256_add(&vm->sha, page, PAGE_SIZE);
    }
    return false;
}

bool seal_turn(struct vm *vm, uint64_t now)
{
    if (!vm->plan->sealed || vm->failed)
        return true;
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
