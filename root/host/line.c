/*
 * The line of the installed system: pages that it shares with root, laid out as a VMM's struct
 * vm_control, by which it commands VMs, as a VM does on its control line. In a page before them,
 * which its user space does not have, a system that ran before Hairline asks for its way back
 * (abi/boot.h, enum boot_leave). It may write there what it likes at any time.
 */
#include <root/console/uart.h>
#include <root/host/host.h>
#include <root/plan.h>
#include <root/vm/life.h>
#include <lib/string.h>

uint64_t line_open(uint64_t page)
{
    struct vm *vm = host_vm();
    uint64_t status = OK, base = page + PAGE_SIZE, from = host_is_late() ? page : base;
    vm->life = LIFE_RUNNING;
    vm->store.base = base;
    if (!host_is_late() && plan_installed.control)
        status = memory_map(base, HOST_LINE, vm_slot(vm, VM_GUEST), MR_READ | MR_WRITE, base);
    if (status != OK || !memory_open(from, base + HOST_LINE - from, MR_READ | MR_WRITE))
        return BAD_ARG;
    memset(vm_control(vm), 0, HOST_LINE);
    if (plan_installed.control)
        memcpy(vm_control(vm)->message, BOOT_LINE, sizeof(BOOT_LINE));
    return OK;
}

/* ---- the way back --------------------------------------------------------- */
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

void line_turn(void)
{
    struct vm *host = host_vm();
    uint32_t *wish = (uint32_t *)(ROOT_PHYS + host->store.base - PAGE_SIZE);
    if (!host_is_late())
        return;
    if (host->life == LIFE_RUNNING && __atomic_load_n(wish, __ATOMIC_ACQUIRE) == LEAVE_WANTED)
        host->life = LIFE_ENDING; /* it starts no VM any more */
    if (host->life != LIFE_ENDING)
        return;
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (vm->life != LIFE_OFF)
            life_stop(vm, false);
    if (!life_all_off())
        return;
    uint64_t status = clean();
    if (status == OK)
        status = disengage(vm_slot(host, VM_GUEST), AFTER_LEAVE, 0, 0, 0);
    console_say("host name=%s leaves: status %u", plan_installed.name, STATUS_CODE(status));
    uart_finish(); /* the system soon stops this core */
    __atomic_store_n(wish, status == OK ? LEAVE_GRANTED : LEAVE_NOT, __ATOMIC_RELEASE);
    /* If all is well only its power-off is waited for */
    host->life = status == OK ? LIFE_OFF : LIFE_RUNNING;
}
