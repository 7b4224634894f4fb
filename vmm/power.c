/* The end of the VM: once, with its reason in the control page for root. */
#include <vmm/vcpu.h>
#include <lib/print.h>

static uint32_t ended;

/* For the operator; %lx is the value. */
static const char *const because[REASON_COUNT] = {
    [REASON_POWEROFF] = "powered off",
    [REASON_EXIT_PORT] = "wrote 0x%lx to its exit port",
    [REASON_REBOOT] = "reset",
    [REASON_TRIPLE] = "triple fault of vCPU %lx",
    [REASON_MEMORY] = "there is no memory at 0x%lx",
    [REASON_INVALID] = "impossible state of vCPU %lx",
};

bool vm_ended(void) { return __atomic_load_n(&ended, __ATOMIC_ACQUIRE); }

static bool first_end(void) { return __atomic_exchange_n(&ended, 1, __ATOMIC_SEQ_CST) == 0; }

/* Let root see the state, and the other vCPUs stop at their next exit. */
static void announce(enum vm_reason reason)
{
    control()->reason = reason;
    __atomic_store_n(&control()->state, VM_OFF, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < config()->plan.vcpus; i++)
        ec_recall(VMM_VCPU + i);
    sm_up(VMM_SM_ROOT);
}

void vm_end(enum vm_reason reason, uint64_t value, uint64_t rip, uint64_t cr3)
{
    struct vm_control *c = control();
    if (!first_end())
        return;
    c->value = value;
    c->rip = rip;
    c->cr3 = cr3;
    format(c->message, sizeof(c->message), because[reason], value);
    announce(reason);
}

void vm_refuse(const char *why)
{
    if (!first_end())
        return;
    format(control()->message, sizeof(control()->message), "kernel: %s", why);
    announce(REASON_LOADER);
}
