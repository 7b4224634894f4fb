/* The end of the VM: once, with its reason in the control page for root. */
#include <vmm/vcpu/vcpu.h>
#include <lib/format.h>
#include <lib/string.h>

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

/* Addresses where a PC may have a device, which this VM does not have. */
static const struct place {
    uint64_t base, end;
    const char *what;
} places[] = {
    {GUEST_MSIX, GUEST_DEVICES_END, "nor a PCI device: it stays where ACPI says"},
    {0xfec00000, 0xfec01000, "nor an IOAPIC"},
    {0xfed00000, 0xfed01000, "nor an HPET"},
    {0xfed40000, 0xfed45000, "nor a TPM"},
    {GUEST_CHIPSET, GUEST_CHIPSET + 0x10000, "nor this part of a chipset"},
    {0xfee00000, 0xfee01000, "nor a local APIC: it has x2APIC mode only"},
    {0xff000000, 0x100000000, "nor firmware"},
};

static const char *known_place(uint64_t gpa)
{
    for (const struct place *p = places; p < places + sizeof(places) / sizeof(places[0]); p++)
        if (gpa >= p->base && gpa < p->end)
            return p->what;
    return config()->devices && gpa >= guest_end(config()->plan.memory) ? places[0].what : NULL;
}

/* A further sentence for the operator: what a PC has at the address, or what the guest was refused
 * before. */
static void say_more(enum vm_reason reason, uint64_t value)
{
    struct vm_control *c = control();
    const char *more = reason == REASON_MEMORY ? known_place(value) : NULL;
    if (!more && (reason == REASON_MEMORY || reason == REASON_TRIPLE) && msr_kept_x2apic)
        more = "it had tried to leave x2APIC mode";
    uint32_t used = (uint32_t)strlen(c->message);
    if (more)
        format(c->message + used, (uint32_t)sizeof(c->message) - used, ", %s", more);
}

bool vm_ended(void) { return __atomic_load_n(&ended, __ATOMIC_ACQUIRE); }

static bool first_end(void) { return __atomic_exchange_n(&ended, 1, __ATOMIC_SEQ_CST) == 0; }

/* Tell root, and recall the other vCPUs: each stops at its next exit. */
static void announce(enum vm_reason reason)
{
    control()->reason = reason;
    __atomic_store_n(&control()->state, VM_OFF, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < config()->plan.vcpus; i++)
        ignore(ec_recall(VMM_VCPU + i)); /* cannot matter: root ends them all */
    bell_ring(VMM_SM_ROOT);
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
    say_more(reason, value);
    announce(reason);
}

void vm_refuse(const char *what, const char *why)
{
    if (!first_end())
        return;
    format(control()->message, sizeof(control()->message), "%s: %s", what, why);
    announce(REASON_LOADER);
}
