/* The way back of a system that runs already (abi/boot.h, enum boot_leave). */
#include <root/console/uart.h>
#include <root/host/host.h>
#include <root/plan.h>
#include <root/vm/life.h>
#include <lib/string.h>

/* In a page of the system's, which may write there what it likes at any time */
static uint32_t *wish;

uint64_t leave_open(uint64_t page)
{
    wish = (uint32_t *)ROOT_LEAVE;
    return memory_map(page, PAGE_SIZE, SLOT_ROOT_PD, MR_READ | MR_WRITE, ROOT_LEAVE);
}

/* What VMs had in their memory is in none of it when the system has it again. */
static uint64_t clean(void)
{
    uint64_t status = OK;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        void *ram = memory_open(vm->ram.base, vm->ram.size, MR_READ | MR_WRITE);
        memset((void *)(ROOT_PHYS + vm->store.base), 0, vm->store.size);
        if (ram)
            memset(ram, 0, vm->ram.size);
        else
            status = BAD_ARG;
    }
    return status;
}

void leave_turn(uint64_t pd)
{
    static bool leaving;
    leaving |= wish && __atomic_load_n(wish, __ATOMIC_ACQUIRE) == LEAVE_WANTED;
    if (!leaving)
        return;
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (vm->life != LIFE_OFF)
            life_stop(vm, false);
    if (!life_all_off())
        return;
    uint64_t status = clean();
    if (status == OK)
        status = disengage(pd, AFTER_LEAVE, 0, 0, 0);
    console_say("host name=%s leaves: status %u", plan_installed.name, STATUS_CODE(status));
    uart_finish(); /* the system soon stops this core */
    __atomic_store_n(wish, status == OK ? LEAVE_GRANTED : LEAVE_NOT, __ATOMIC_RELEASE);
    leaving = false;
    if (status == OK)
        wish = 0; /* from here on only its power-off is waited for */
}
