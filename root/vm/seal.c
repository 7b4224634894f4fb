#include <root/vm/fault.h>
#include <root/vm/seal.h>
#include <lib/call.h>
#include <lib/state.h>
#include <lib/string.h>

#define LOAD_MS 60000u /* that the loader may take */
/* Bytes that are measured at one time; of a whole page an emulator makes half a millisecond */
#define PART       512u
#define PAGE_WORDS (PAGE_SIZE / 8)

/* Have the kernel note that the RAM must be cleaned. It does so when a guest dies to which a region
   is sealed; so the RAM is sealed to an empty guest domain, which is then destroyed. Nobody can map
   it before it is clean (mr_scrub). */
static bool make_dirty(struct vm *vm)
{
    vm_fail(vm, "sealing",
            pd_create(SLOT_SCRATCH, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 2, 0, 0));
    uint64_t status = mr_seal(vm->ram.slot, SLOT_SCRATCH);
    if (STATUS_CODE(status) != BUSY) /* BUSY: it is dirty already, from the last life */
        vm_fail(vm, "sealing", status);
    ignore(destroy(SLOT_SCRATCH)); /* it fails only where pd_create(, 0) has failed */
    return true;
}

/* Clean some of the RAM, as long as the turn lasts. True: all is clean. */
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

/* True: the loader has done its work, or failed at it, and its domain has ended.

   TOCTOU: the loader's domain ends, and with it all its mappings of the RAM, before the measuring
   begins. Otherwise it could change the RAM after that was measured, and the hash would vouch for
   something else. */
static bool loader_is_done(struct vm *vm)
{
    struct fault f;
    uint32_t state = *(volatile uint32_t *)&vm_control(vm)->state;
    bool dead = fault_seen(vm->index, &f), refused = state == VM_OFF;
    if (!dead && !refused && state != VM_RUNNING && machine.turn_began < vm->due)
        return false;
    if (dead || state != VM_RUNNING)
        vm_fail(vm, refused ? "loading the kernel image" : "the loader", BAD_ARG);
    vm_drop_vmm(vm); /* from here on nobody can write the RAM */
    vm->boot = vm_control(vm)->boot;
    sha256_begin(&vm->sha);
    vm->measured = 0;
    if (!memory_open(vm->ram.base, vm->ram.size, MR_READ))
        vm_fail(vm, "measuring", NO_MEMORY);
    return true;
}

static bool is_zero(const uint64_t *page)
{
    for (uint32_t i = 0; i < PAGE_WORDS; i++)
        if (page[i])
            return false;
    return true;
}

/* Measure PART bytes. Of each page that is not all zero go its number (8 bytes) and its bytes into
 * the hash; a page of zeros is skipped. */
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

/* Measure, as long as the turn lasts; at the end the registers the guest starts with. True: all is
 * measured. */
static bool seal_measure(struct vm *vm)
{
    do
        measure_part(vm);
    while (vm->measured < vm->ram.size && !turn_over());
    if (vm->measured < vm->ram.size)
        return false;
    sha256_add(&vm->sha, &vm->boot, sizeof(vm->boot));
    sha256_end(&vm->sha, vm->hash);
    /* Cannot matter: the seal takes it from root in any case */
    ignore(mr_unmap(vm->ram.slot, SLOT_ROOT_PD));
    return true;
}

static bool load(struct vm *vm)
{
    ignore(vm_build(vm)); /* vm->failed is seen at the next turn */
    vm->due = machine.turn_began + clock_ticks(LOAD_MS);
    return true;
}

bool seal_turn(struct vm *vm)
{
    static const struct {
        bool (*step)(struct vm *vm); /* true: the next one follows */
        bool heavy;
    } steps[] = {{make_dirty, true},
                 {scrub, false},
                 {load, true},
                 {loader_is_done, true},
                 {seal_measure, false}};
    if (!vm->plan->sealed || vm->failed || vm->seal == sizeof(steps) / sizeof(steps[0]))
        return true;
    if (!steps[vm->seal].heavy || !turn_heavy())
        vm->seal += steps[vm->seal].step(vm);
    return false;
}

/* EVENT_START of a sealed guest, on the vCPU's core and time. vCPU 0 begins with the measured
 * registers, others wait for a start-up IPI. `id`: vCPU << 8 | VM. */
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
        status = fault_serve_on(vm->index, vm_core(vm, i), vm_slot(vm, VM_GUEST), start_vcpu,
                                GUEST_EVENTS(i) + EVENT_START, 0, (uint64_t)i << 8 | vm->index);
    return status == OK ? mr_seal(vm->ram.slot, vm_slot(vm, VM_GUEST)) : status;
}
