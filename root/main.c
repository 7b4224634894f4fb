/*
 * The root partition manager: finds what the machine has, gives each VM and
 * each LAN of the plan what is its own, and then watches. Runs on core 0.
 */
#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/probe.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/hardware/iommu.h>
#include <root/hardware/port.h>
#include <root/hardware/threads.h>
#include <root/host/host.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/life.h>
#include <root/vm/store.h>
#include <abi/image.h>
#include <lib/hw/cpuid.h>
#include <lib/start.h>
#include <lib/call.h>

#define CORE_WAIT_MS 5000u
#define INPUT_MS     20u
/* Starvation: turns begin TURN_US apart at least, so VMs that write or ring without end leave half
   of core 0 to others. A turn sends for SEND_US, but not beyond LAST_US after its begin; for
   SEND_MIN_US in any case. Microseconds. */
#define TURN_US     500u
#define SEND_US     125u
#define LAST_US     400u
#define SEND_MIN_US 25u

_Alignas(16) uint8_t root_stack[ROOT_STACK_SIZE]; /* lib/start.S */
struct machine machine;

void main(void) __attribute__((noreturn));

/* What was said last stays on the console, for whoever stands before it. */
static void __attribute__((noreturn)) main_refuse(void)
{
    port_out8(POST_PORT, POST_REFUSED);
    console_say("nothing was started");
    host_refuse();
    if (machine.info->flags & BOOT_BATCH)
        acpi_reset(&machine.acpi);
    acpi_halt();
}

static uint64_t open_counters(void)
{
    uint64_t frames = pages(sizeof(struct kernel_stat)),
             status = mr_map(SLOT_ROOT_STAT, SLOT_ROOT_PD, MR_READ, ROOT_STAT, 0, frames);
    if (status == OK)
        status = sm_create(SLOT_BELL, SLOT_ROOT_PD, 0);
    if (status == OK)
        status = sm_create(SLOT_SLEEP, SLOT_ROOT_PD, 0);
    return status;
}

bool machine_core_comes(uint32_t number, uint64_t ms)
{
    const volatile struct core_stat *core = &kernel_stat()->core[number];
    for (uint64_t until = tsc() + clock_ticks(ms); !core->online && tsc() < until;)
        clock_sleep(tsc() + clock_ticks(1));
    return core->online;
}

/* Start one core and wait until it is online: cores get their numbers in that order, so only one at
   a time can be on its way. One that does not come is left out. */
static void start_core(uint32_t apic_id)
{
    /* After INIT, and after each start-up IPI (MP specification B.4). A core that sleeps deeply
       misses the first ones. */
    enum { PAUSES = 6 };
    static const uint16_t pause_ms[PAUSES] = {10, 1, 10, 20, 200, CORE_WAIT_MS};
    uint64_t status = OK;
    bool online = false;
    for (uint32_t i = 0; i < PAUSES && status == OK && !online; i++) {
        status = core_start(SLOT_ROOT_SYS, apic_id);
        online = machine_core_comes(machine.cores, status == BUSY ? CORE_WAIT_MS : pause_ms[i]);
    }
    if (online)
        machine.cores++;
    else
        console_say("core with APIC ID %u does not start (status %u) and is left out", apic_id,
                    STATUS_CODE(status));
}

/* Does the processor have x2APIC mode (SDM2 CPUID)? A core of a VM's own needs it. */
static bool has_x2apic(void) { return cpu_cpuid(1, 0).ecx >> 21 & 1; }

static void start_cores(void)
{
    machine.cores = 1;
    if (host_is_there()) {
        if (host_start_kept() != OK)
            main_refuse();
        return;
    }
    if (machine.acpi.more_cores)
        console_say("this machine has more than %u cores: the first %u are used", MAX_CORES,
                    MAX_CORES);
    for (uint32_t i = 0; i < machine.acpi.cores && machine.cores < MAX_CORES; i++)
        if (machine.acpi.apic_id[i] != machine.info->bsp_apic_id)
            start_core(machine.acpi.apic_id[i]);
}

static void note_threads(void)
{
    uint32_t bits = threads_bits(cpu_cpuid);
    for (uint8_t i = 0; i < machine.cores; i++)
        for (uint8_t k = 0; k <= i; k++)
            if (!((kernel_stat()->core[i].apic_id ^ kernel_stat()->core[k].apic_id) >> bits)) {
                machine.thread_of[i] = k;
                break;
            }
}

static uint64_t load_plan(void)
{
    machine.plan = plan_load(machine.info, machine.cores, has_x2apic());
    if (!machine.plan || !plan_keeps_siblings_apart(machine.thread_of))
        return BAD_ARG;
    machine.vms = machine.plan->vms;
    for (uint32_t i = 0, vcpus = 0; i < machine.vms; i++) {
        machine.vm[i].plan = &machine.plan->vm[i];
        machine.vm[i].index = i;
        machine.vm[i].first_vcpu = vcpus;
        machine.vm[i].files = machine.info;
        vcpus += machine.plan->vm[i].vcpus;
    }
    uint64_t status = image_read(machine.info, "vmm", &machine.vmm);
    if (status == OK && machine.plan->lans)
        status = image_read(machine.info, "lan", &machine.lan);
    return status;
}

/* The TPM that the plan gives to a VM must be there: nobody is told of one that is not. */
static uint64_t find_tpm(void)
{
    if (!machine.plan->tpm || machine.acpi.tpm)
        return OK;
    console_say(
        "VM %s: this machine has no TPM 2.0 at 0x%lx: take `tpm` out of the plan, or turn it "
        "on in the firmware",
        machine.plan->vm[machine.plan->tpm - 1].name, TPM_PAGE);
    return BAD_ARG;
}

/* Memory is taken, all of it, before the first byte is mapped for good: a mapped region cannot be
 * split. */
static uint64_t share_memory(void)
{
    uint64_t (*const step[])(void) = {lan_take, create_take, host_take, memory_open_modules,
                                      create_open};
    uint64_t status = OK;
    for (uint32_t i = 0; i < machine.vms && status == OK; i++)
        status = store_take(&machine.vm[i]);
    for (uint32_t i = 0; i < sizeof(step) / sizeof(step[0]) && status == OK; i++)
        status = step[i]();
    for (uint32_t i = 0; i < machine.vms && status == OK; i++) {
        status = store_open(&machine.vm[i]);
        if (status == OK)
            status = sm_create(vm_slot(&machine.vm[i], VM_BELL), SLOT_ROOT_PD, 0);
    }
    return status;
}

static uint64_t watch_faults(void)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < machine.vms && status == OK; i++)
        status = fault_prepare(i, vm_cores(&machine.vm[i]));
    for (uint32_t i = 1; i <= machine.plan->lans && status == OK; i++)
        status = fault_prepare(PLAN_VMS + i - 1, 1ull << lan_core(i));
    if (status != OK)
        console_say("too many vCPUs for the fault handlers");
    return status;
}

static void __attribute__((noreturn)) probe(void)
{
    probe_report();
    report_end();
    acpi_reset(&machine.acpi);
}

static void start_vms(void)
{
    port_out8(POST_PORT, POST_VMS);
    report_ready();
    if (!(machine.plan->flags & PLAN_BATCH) && !host_is_there())
        command_greet();
    for (uint32_t i = 0; i < machine.vms; i++)
        if (!(machine.plan->held >> i & 1))
            life_start(&machine.vm[i]);
}

/* Sleep until the bell rings or the TSC is `until` (0: no limit), but TURN_US after `last` at
 * least. Rings that came meanwhile are for the same turn: they are taken, 64 at most. */
static void wait(uint64_t last, uint64_t until)
{
    uint64_t soonest = last + clock_ticks(TURN_US) / 1000;
    if (tsc() < soonest)
        clock_sleep(soonest);
    if (sm_down(SLOT_BELL, until) == OK)
        for (uint32_t i = 0; i < 64 && sm_down(SLOT_BELL, 1) == OK; i++)
            ;
}

static uint64_t earlier(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

/* Send what is queued, in the time that the turn begun at TSC `began` has left. True: all is sent.
 */
static bool send(uint64_t began)
{
    uint64_t now = tsc(), until = now + clock_ticks(SEND_US) / 1000,
             last = began + clock_ticks(LAST_US) / 1000;
    uint64_t least = now + clock_ticks(SEND_MIN_US) / 1000;
    until = until < last ? until : last;
    return uart_pump(until > least ? until : least);
}

/* Serve all once. The TSC at which to do it again; 0: when the bell rings. */
static uint64_t turn(uint64_t now)
{
    bool batch = machine.plan->flags & PLAN_BATCH;
    bool typing = !batch && !host_is_there() && command_turn(); /* a host could type, too */
    lan_turn();
    uint64_t next = life_turn(now);
    bool more = output_turn(command_focus());
    more |= control_turn();
    if (!batch) {
        output_flush(now, command_focus());
        next = earlier(next, now + (typing ? 1 : clock_ticks(INPUT_MS)));
    }
    next = earlier(next, iommu_turn(now));
    if (!send(now) || more)
        next = now;
    if (host_is_there())
        next = earlier(next, host_turn(now, batch));
    else if (life_all_off() && (batch || command_quitting())) {
        report_end();
        acpi_reset(&machine.acpi);
    }
    return next;
}

void main(void)
{
    port_out8(POST_PORT, POST_ROOT);
    machine.info = (const struct boot_info *)ROOT_INFO;
    memory_init(machine.info);
    acpi_read(machine.info->rsdp, &machine.acpi);
    if (host_is_there()) /* it has the firmware's console: root's own UART */
        machine.acpi.serial = (struct serial){
            .base = machine.info->host_serial, .stride = 1, .divisor = 1, .only = true};
    uart_init(&machine.acpi.serial, &machine.info->screen);
    if (open_counters() != OK)
        main_refuse();
    if (clock_init(&machine.acpi, &machine.clock) != OK) {
        console_say("this machine has neither an ACPI PM timer nor an RTC that runs; use another");
        main_refuse();
    }
    start_cores();
    note_threads();
    plan_iommu_frames = kernel_stat()->frames_free;
    if (!host_is_there()) /* whose IOMMUs they are there */
        iommu_start_all(&machine.acpi);
    plan_iommu_frames -= kernel_stat()->frames_free;
    if (fault_init() != OK || load_plan() != OK)
        main_refuse();
    if (machine.plan->flags & PLAN_PROBE)
        probe();
    if (find_tpm() != OK || device_resolve() != OK || share_memory() != OK ||
        watch_faults() != OK || lan_start_all() != OK || (host_is_there() && host_start() != OK))
        main_refuse();
    start_vms();
    for (uint64_t next = tsc();;) {
        uint64_t now = machine.turn_began = tsc();
        machine.heavy = false;
        next = turn(now);
        uint64_t took = tsc() - now;
        machine.longest_turn = took > machine.longest_turn ? took : machine.longest_turn;
        wait(now, next);
    }
}
