/*
 * The worker thread: builds the VM's inside (RAM, tables, devices, portals,
 * CPUID), lets it run, then sleeps until the LAN or the console has something,
 * and serves that in steps that its budget bears.
 */
#include <lib/pace.h>
#include <vmm/vcpu/vcpu.h>
#include <vmm/virtio/aoe.h>

#define LOOK_SHIFT                                                                                 \
    8 /* of a second, 1/2^8: how often to look at MSI-X tables for what was masked, or changed */

/* Where a portal is made, before a copy goes to the guest PD. */
#define PORTAL_SLOT(vcpu, event) (VMM_FREE + EVENT_STRIDE * (vcpu) + (event))

/* Who takes which event, and the register groups it needs to see. */
static const struct portal {
    void (*entry)(struct vcpu *v, struct utcb *u);
    uint64_t mtd;
} portals[EVENT_COUNT] = {
    [EVENT_START] = {vcpu_start, 0},
    [EVENT_RECALL] = {vcpu_recall, MTD_RIP | MTD_INJECT},
    [EVENT_PORT] = {vcpu_port, MTD_ACDB | MTD_RIP | MTD_INFO | MTD_INJECT},
    [EVENT_MSR] = {vcpu_msr, MTD_ACDB | MTD_RIP | MTD_INFO | MTD_INJECT | MTD_EFER | MTD_CR8},
    [EVENT_HLT] = {vcpu_hlt, MTD_RIP | MTD_FLAGS | MTD_INJECT | MTD_CR8},
    [EVENT_VMCALL] = {vcpu_vmcall, MTD_ACDB | MTD_RIP | MTD_INJECT},
    [EVENT_MEMORY] = {vcpu_memory, MTD_RIP | MTD_INFO | MTD_CONTROL},
    [EVENT_SHUTDOWN] = {vcpu_shutdown, MTD_RIP | MTD_CONTROL},
    [EVENT_INVALID] = {vcpu_invalid, MTD_RIP | MTD_CONTROL},
    [EVENT_OPCODE] = {vcpu_opcode, MTD_INJECT},
    [EVENT_XSETBV] = {vcpu_xsetbv, MTD_ACDB | MTD_RIP | MTD_INJECT | MTD_CONTROL | MTD_SEGS},
    [EVENT_EXCEPTION] = {vcpu_exception, MTD_INFO | MTD_INJECT},
};

static bool make_portal(uint32_t vcpu, uint32_t event)
{
    const struct portal *p = &portals[event];
    uint32_t slot = PORTAL_SLOT(vcpu, event);
    return pt_create(slot, VMM_PD, VMM_HANDLER + vcpu, (uint64_t)p->entry, p->mtd,
                     (uint64_t)&vcpus[vcpu]) == OK &&
           delegate(VMM_PD, slot, VMM_GUEST, GUEST_EVENTS(vcpu) + event, PT_CALL) == OK;
}

static const char *build_vcpus(void)
{
    struct utcb *u = (struct utcb *)VMM_UTCB;
    for (uint32_t i = 0; i < config()->plan.vcpus; i++) {
        /* How a sealed VM starts is root's to say. */
        uint32_t first = config()->plan.sealed ? EVENT_START + 1 : EVENT_START;
        for (uint32_t event = first; event < EVENT_COUNT; event++)
            if (!make_portal(i, event))
                return "cannot make its portals";
        u->rows = cpuid_table(u->cpuid, i);
        if (vcpu_cpuid(VMM_VCPU + i) != OK)
            return "cannot set its CPUID";
    }
    return NULL;
}

/* The guest's RAM, and the registers it starts with; a sealed VM has them from its loader. */
static const char *fill(void)
{
    if (config()->plan.sealed && !config()->load) {
        boot = config()->boot;
        return NULL;
    }
    const char *wrong = load_guest();
    if (!wrong)
        acpi_build();
    control()->boot = boot;
    return wrong;
}

static const char *build(void)
{
    const char *wrong = fill();
    if (wrong || config()->load)
        return wrong;
    apic_init();
    msr_init();
    devices_lock(NO_VCPU);
    if (has_virtual())
        virtio_init();
    pci_assigned_init();
    msix_init();
    devices_unlock();
    return build_vcpus();
}

/* One step. */
static enum work work(uint64_t limit)
{
    enum work next = has_virtual() ? virtio_work(limit) : WORK_NONE;
    static uint64_t look; /* TSC of the next one at the tables of the VM's own devices */
    if (!config()->devices)
        return next;
    if (tsc() >= look) {
        look = tsc() + (config()->tsc_hz >> LOOK_SHIFT);
        devices_lock(NO_VCPU);
        msix_sync();
        devices_unlock();
    }
    return next == WORK_NONE ? WORK_LATER : next;
}

static void __attribute__((noreturn)) work_on(void)
{
    struct pace pace = {.tsc_hz = config()->tsc_hz,
                        .budget = config()->worker_budget,
                        .period = config()->worker_period};
    enum work next = config()->devices ? WORK_LATER : WORK_NONE;
    pace.until = tsc() + pace.period; /* what was built may have used the budget up */
    for (;;) {
        if (next != WORK_MORE)
            bell_wait_all(VMM_SM_WORK,
                          next == WORK_LATER ? tsc() + (config()->tsc_hz >> LOOK_SHIFT) : 0,
                          config()->tsc_hz);
        pace_rest(&pace, VMM_SM_NAP);
        uint64_t limit = pace_begin(&pace);
        next = vm_ended() || config()->load ? WORK_NONE : work(limit);
        pace_end(&pace);
    }
}

void main(void);
void main(void)
{
    const char *missing = config()->load ? NULL : aoe_find(), *wrong = missing ? NULL : build();
    if (missing) {
        vm_refuse(missing, "its service VM has no such volume");
    } else if (wrong) {
        vm_refuse("kernel", wrong);
    } else {
        __atomic_store_n(&control()->state, VM_RUNNING, __ATOMIC_RELEASE);
        bell_ring(VMM_SM_ROOT);
    }
    work_on();
}
