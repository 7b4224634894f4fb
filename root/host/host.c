#include <root/console/report.h>
#include <root/hardware/iommu.h>
#include <root/host/host.h>
#include <root/plan.h>
#include <root/vm/fault.h>
#include <lib/hw/cpuid.h>
#include <lib/quota.h>
#include <lib/string.h>

#define WAIT_MS      5000u
#define LOOK_MS      2000u
#define LINE_MS      20u    /* from one look at its line to the next: it rings no bell */
#define STOP_MS      30000u /* all processors of a system that runs */
#define GHOST_MS     1u     /* a stand-in's time in each GHOST_OF_MS */
#define GHOST_OF_MS  20u
#define CHIPSET_DATA 0xcd7u /* of AMD's, at index CD6h: it moves PM1 control, too */

struct region host_pages;
static struct boot_host *host;
static uint32_t counters[MAX_CORES]; /* of its vCPUs: indices in kernel_stat.vcpu */
static struct {
    uint32_t arrived, gone; /* vCPUs of cores of their own; 1: all go on */
    uint64_t status;        /* of disengaging */
    uint16_t power_off;     /* what PM1 control is given for it */
} start;

static uint64_t guest_slot(void) { return vm_slot(host_vm(), VM_GUEST); }
static uint64_t host_vcpu_slot(uint32_t i) { return SLOT_VCPU + MAX_VCPUS_BESIDE + i; }
/* A system that runs has no use for ghosts: it knows that these processors are off. */
static uint32_t first_vcpu(void) { return host_is_late() ? host->kept : 0; }
static uint32_t cores_of_its_own(void) { return host->cpus - host->kept; }

uint64_t host_take(void)
{
    if (!host_is_there())
        return OK;
    *host_vm() = (struct vm){.plan = &plan_installed, .index = machine.vms};
    return memory_take(PAGE_SIZE + HOST_LINE, PAGE_SIZE, &host_pages);
}

/* Its processors' states, as they left them. memory_read() unmaps them with all of their region. */
static uint64_t open_states(void)
{
    const struct boot_module *m = plan_module(machine.info, BOOT_HOST_MODULE);
    if (!m || memory_map(m->base, m->size, SLOT_ROOT_PD, MR_READ | MR_WRITE, ROOT_HOST) != OK)
        return BAD_ARG;
    host = (struct boot_host *)ROOT_HOST;
    return host->cpus <= MAX_CORES && host->kept < host->cpus ? OK : BAD_ARG;
}

/* Processor `i` comes to the kernel as the next core. */
static uint64_t call_processor(uint32_t i, uint64_t how)
{
    uint32_t apic_id = host->cpu[i].apic_id;
    uint64_t status = core_start(SLOT_ROOT_SYS, apic_id | how);
    if (status != OK)
        return status;
    __atomic_store_n(&host->called, apic_id + 1, __ATOMIC_RELEASE);
    return machine_core_comes(i, WAIT_MS) ? (uint64_t)OK : AGAIN;
}

uint64_t host_start_kept(void)
{
    uint64_t status = open_states();
    for (machine.cores = 1; status == OK && machine.cores < host->kept; machine.cores++)
        status = call_processor(machine.cores, CORE_COMES);
    if (status != OK)
        console_say("a processor that the plan wants does not come: status %u",
                    STATUS_CODE(status));
    return status;
}

/* EVENT_START of vCPU `id`, on its core and time. None goes on before all have come, and none has a
   VMM then: a processor that goes on alone would lose the interrupts that it sends others. */
static void __attribute__((noreturn)) begin(uint64_t id, struct utcb *u)
{
    if (__atomic_add_fetch(&start.arrived, 1, __ATOMIC_SEQ_CST) == cores_of_its_own()) {
        start.status = disengage(guest_slot(), AFTER_QUIET, machine.acpi.sleep_port,
                                 start.power_off, CHIPSET_DATA);
        __atomic_store_n(&start.gone, 1, __ATOMIC_RELEASE);
    }
    while (!__atomic_load_n(&start.gone, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
    memcpy(&u->exit, &host->cpu[id].state, sizeof(u->exit));
    u->mtd = start.status == OK ? HOST_STATE : MTD_KILL;
    pt_reply(0);
}

static uint64_t map_memory(void)
{
    return memory_map_host(1ull << (cpu_cpuid(CPUID_ADDRESSES, 0).eax & 0xff), guest_slot());
}

/* vCPU `i`: of its own core, or a ghost on core 0. */
static uint64_t host_make_vcpu(uint32_t i)
{
    bool own = i >= host->kept;
    struct result made =
        ec_create(host_vcpu_slot(i), guest_slot(), own ? i : 0, EC_VCPU, i, GUEST_EVENTS(i), 0, 0);
    counters[i] = (uint32_t)(made.value % MAX_VCPUS);
    if (made.status != OK)
        return made.status;
    if (own)
        return fault_serve_on(FAULT_HOST, i, guest_slot(), begin, GUEST_EVENTS(i) + EVENT_START, 0,
                              i);
    return ghost_start(i, &host->cpu[i], guest_slot());
}

/* ---- the steps of its start, in their order --------------------------------- */
/* Its processors come to a stop together, and only when we are ready for them. */
static uint64_t ask(void)
{
    uint64_t until = tsc() + clock_ticks(STOP_MS);
    __atomic_store_n(&host->asked, BOOT_READY, __ATOMIC_RELEASE);
    while (host_is_late() && tsc() < until &&
           __atomic_load_n(&host->ready, __ATOMIC_ACQUIRE) != cores_of_its_own())
        clock_sleep(tsc() + clock_ticks(1));
    return tsc() < until ? (uint64_t)OK : TIMEOUT;
}

/* plan_load() reads modules, and takes their memory out of root's space with the states. */
void host_refuse(void)
{
    if (!host)
        return;
    ignore(open_states()); /* it may be there still */
    __atomic_store_n(&host->asked, BOOT_REFUSED, __ATOMIC_RELEASE);
}

static uint64_t own_cores(void) { return ~0ull >> (MAX_CORES - host->cpus) & ~0ull << host->kept; }

static uint64_t call_processors(void)
{
    uint64_t status = line_open(host_is_late() ? host->leave : host_pages.base);
    if (status == OK)
        status = ask();
    for (uint32_t i = host->kept; i < host->cpus && status == OK; i++)
        status = call_processor(i, CORE_COMES | CORE_KEEPS_APIC);
    return status;
}

/* Before its processors stop for us: a sealed VM needs level L1. */
static uint64_t take_iommus(void)
{
    uint64_t status = host_is_late() ? (uint64_t)OK : iommu_take_for_host(&machine.acpi);
    for (uint32_t i = 0; i < machine.vms && status == OK; i++)
        if (machine.vm[i].plan->sealed && !iommu_units()) {
            console_say("VM %s: sealed, but devices of %s reach all memory here (level L0): use an "
                        "IOMMU, or take `sealed` out",
                        machine.vm[i].plan->name, plan_installed.name);
            status = BAD_ARG;
        }
    return status;
}

static uint64_t make_domain(void)
{
    return pd_create(guest_slot(), SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST,
                     PD_PORTS | PD_TABLE(quota_table_order(host->cpus)), POOL_HOST, QUOTA_HOST,
                     own_cores() | 1);
}

static uint64_t make_handlers(void) { return fault_prepare(FAULT_HOST, own_cores()); }

static uint64_t make_vcpus(void)
{
    uint64_t status = OK;
    for (uint32_t i = first_vcpu(); i < host->cpus && status == OK; i++)
        status = host_make_vcpu(i);
    return status;
}

/* Level L1: what the system's devices reach is what it has itself. Without an IOMMU it is L0. */
static uint64_t open_iommus(void)
{
    uint64_t status = OK;
    uint32_t units = iommu_units();
    for (uint32_t i = 0; i < units && status == OK; i++)
        status = dv_create(SLOT_SCRATCH, guest_slot(), SLOT_ROOT_SYS, DV_ALL, i);
    console_say("host name=%s level=L%u iommus=%u%s", plan_installed.name, units ? 1 : 0, units,
                host_is_late() ? " launch=unmeasured" : "");
    return status;
}

static uint64_t hide(void)
{
    uint64_t status = OK;
    uint32_t line = plan_installed.control ? (uint32_t)(host_pages.base >> PAGE_SHIFT) + 1 : 0;
    if (host_is_late())
        return OK;
    if (iommu_units())
        status = hide_table(iommu_kind() == IOMMU_VTD ? ACPI_DMAR : ACPI_IVRS);
    for (uint32_t i = 0; i < host->kept && status == OK; i++)
        status = hide_processor(host->cpu[i].apic_id, line);
    return status;
}

/* A hostile system would wake up on bare processors: only what powers the machine off is let. */
static uint64_t take_chipset(void) { return hide_chipset(guest_slot()); }
static uint64_t take_sleep(void) { return hide_suspend(&start.power_off); }

/* Firmware waits for the stand-ins: no VM on their core, however busy, keeps all time from them,
   and they, whatever runs in them, keep little from it. */
static uint64_t give_time(void)
{
    uint64_t status = OK;
    for (uint32_t i = host->cpus; i > first_vcpu() && status == OK; i--) {
        bool ghost = i <= host->kept;
        status = sc_create(SLOT_SCRATCH_TIME, SLOT_ROOT_SYS, host_vcpu_slot(i - 1),
                           PLAN_PRIORITY_MAX, ghost ? clock_ticks(GHOST_MS) : SC_WHOLE_CORE,
                           ghost ? clock_ticks(GHOST_OF_MS) : 0);
        slot_empty(SLOT_SCRATCH_TIME);
    }
    return status;
}

uint64_t host_start(void)
{
    static const struct {
        const char *name;
        uint64_t (*take)(void);
    } step[] = {{"states", open_states},      {"IOMMUs", take_iommus},
                {"domain", make_domain},      {"chipset", take_chipset},
                {"sleep states", take_sleep}, {"processors", call_processors},
                {"memory", map_memory},       {"handlers", make_handlers},
                {"vCPUs", make_vcpus},        {"IOMMUs' tables", open_iommus},
                {"firmware's tables", hide},  {"time", give_time}};
    uint64_t status = OK;
    for (uint32_t i = 0; i < sizeof(step) / sizeof(step[0]) && status == OK; i++) {
        status = step[i].take();
        if (status != OK)
            console_say("VM %s: %s: status %u, argument %lu", plan_installed.name, step[i].name,
                        STATUS_CODE(status), STATUS_ARG(status));
    }
    return status;
}

static const struct vcpu_stat *host_counters(uint32_t i)
{
    return &kernel_stat()->vcpu[counters[i]];
}

void host_report(void)
{
    uint64_t exits[CAUSE_COUNT] = {0};
    for (uint32_t i = host->kept; i < host->cpus; i++)
        for (uint32_t cause = 0; cause < CAUSE_COUNT; cause++)
            exits[cause] += host_counters(i)->exits[cause];
    report_host(plan_installed.name, cores_of_its_own(), exits);
}

/* It powered the machine off; or it shut down a processor, or left a state that none can run. */
static void look_for_end(void)
{
    if (__atomic_load_n(&start.gone, __ATOMIC_ACQUIRE) && start.status != OK) {
        console_say("VM %s: cannot go on: status %u", plan_installed.name,
                    STATUS_CODE(start.status));
        acpi_reset(&machine.acpi);
    }
    for (uint32_t i = host->kept; i < host->cpus; i++) {
        const struct vcpu_stat *s = host_counters(i);
        uint64_t event = __atomic_load_n(&s->end_event, __ATOMIC_ACQUIRE);
        if (!event)
            continue;
        host_report();
        if (event == 1 + EVENT_PORT)
            acpi_off(&machine.acpi, start.power_off);
        console_say("VM %s: processor %u: %s at 0x%lx: reset", plan_installed.name,
                    host->cpu[i].apic_id, report_cause(event - 1), s->end_rip);
        acpi_reset(&machine.acpi);
    }
}

uint64_t host_turn(uint64_t now, bool tell)
{
    static uint64_t told;
    look_for_end();
    line_turn();
    if (tell && now >= told + clock_ticks(LOOK_MS)) {
        told = now;
        host_report();
    }
    return now + clock_ticks(host_is_late() || plan_installed.control ? LINE_MS : LOOK_MS);
}
