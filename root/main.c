/*
 * The root partition manager: finds what the machine has, gives each VM and
 * each LAN of the plan what is its own, and then watches. Runs on core 0.
 */
#include <root/command.h>
#include <root/device.h>
#include <root/fault.h>
#include <root/iommu.h>
#include <root/lan.h>
#include <root/plan.h>
#include <root/probe.h>
#include <root/report.h>
#include <root/uart.h>
#include <abi/image.h>
#include <lib/call.h>

#define CORE_WAIT_MS 5000u
#define INPUT_MS     20u
/* A turn is never sooner than this after the last, and sends for a quarter of it, so that VMs that talk or ring without
   end leave core 0 to others; after much other work until LAST_US of it are over, but SEND_MIN_US in any case. */
#define TURN_US     500u
#define SEND_US     125u
#define LAST_US     400u
#define SEND_MIN_US 25u

_Alignas(16) uint8_t root_stack[0x4000]; /* lib/start.S */
struct machine machine;

void main(void) __attribute__((noreturn));

static void refuse(void) __attribute__((noreturn));
static void refuse(void)
{
    console_say("nothing was started");
    acpi_reset(&machine.acpi);
}

static bool open_counters(void)
{
    uint64_t frames = pages(sizeof(struct kernel_stat));
    return mr_map(SLOT_ROOT_STAT, SLOT_ROOT_PD, MR_READ, ROOT_STAT, 0, frames) == OK && sm_create(SLOT_BELL, SLOT_ROOT_PD, 0) == OK &&
           sm_create(SLOT_SLEEP, SLOT_ROOT_PD, 0) == OK;
}

/* One core; cores get their numbers in the order they come online. */
static void start_core(uint32_t apic_id)
{
    const volatile struct core_stat *core = &kernel_stat()->core[machine.cores];
    uint64_t status = core_start(SLOT_ROOT_SYS, apic_id), limit = tsc() + clock_ticks(CORE_WAIT_MS);
    while (status == OK && !core->online && tsc() < limit)
        clock_sleep(tsc() + clock_ticks(1));
    if (status == OK && core->online)
        machine.cores++;
    else
        console_say("core with APIC ID %u did not start: status %u", apic_id, STATUS_CODE(status));
}

static void start_cores(void)
{
    machine.cores = 1;
    for (uint32_t i = 0; i < machine.acpi.cores; i++)
        if (machine.acpi.apic_id[i] != machine.info->bsp_apic_id)
            start_core(machine.acpi.apic_id[i]);
}

static bool load_plan(void)
{
    machine.plan = plan_load(machine.info, machine.cores);
    if (!machine.plan)
        return false;
    machine.vms = machine.plan->vms;
    for (uint32_t i = 0; i < machine.vms; i++) {
        machine.vm[i].plan = &machine.plan->vm[i];
        machine.vm[i].index = i;
    }
    return image_read(machine.info, "vmm", &machine.vmm) && (!machine.plan->lans || image_read(machine.info, "lan", &machine.lan));
}

/* All of it is taken before the first byte is mapped for good. */
static bool share_memory(void)
{
    for (uint32_t i = 0; i < machine.vms; i++)
        if (!store_take(&machine.vm[i]))
            return false;
    if (!lan_take() || !memory_open_modules())
        return false;
    for (uint32_t i = 0; i < machine.vms; i++)
        if (!store_open(&machine.vm[i]) || sm_create(vm_slot(&machine.vm[i], VM_BELL), SLOT_ROOT_PD, 0) != OK)
            return false;
    return true;
}

static bool watch_faults(void)
{
    bool ok = true;
    for (uint32_t i = 0; i < machine.vms && ok; i++)
        ok = fault_prepare(i, vm_cores(&machine.vm[i]));
    for (uint32_t i = 1; i <= machine.plan->lans && ok; i++)
        ok = fault_prepare(PLAN_VMS + i - 1, 1ull << lan_core(i));
    if (!ok)
        console_say("too many vCPUs for the fault handlers");
    return ok;
}

static void probe(void) __attribute__((noreturn));
static void probe(void)
{
    probe_report();
    report_end();
    acpi_reset(&machine.acpi);
}

static void start_vms(void)
{
    report_ready();
    if (!(machine.plan->flags & PLAN_BATCH))
        command_greet();
    for (uint32_t i = 0; i < machine.vms; i++)
        life_start(&machine.vm[i]);
}

/* Until the bell rings or it is `until` (0: no limit), but no sooner than a turn after `last`. */
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

/* True: all is sent. */
static bool send(uint64_t began)
{
    uint64_t now = tsc(), until = now + clock_ticks(SEND_US) / 1000, last = began + clock_ticks(LAST_US) / 1000;
    uint64_t least = now + clock_ticks(SEND_MIN_US) / 1000;
    until = until < last ? until : last;
    return uart_pump(until > least ? until : least);
}

/* Serve all once; the TSC at which to do it again, 0: when the bell rings. */
static uint64_t turn(uint64_t now)
{
    bool batch = machine.plan->flags & PLAN_BATCH, typing = !batch && command_turn();
    lan_turn();
    uint64_t next = life_turn(now);
    bool more = output_turn(command_focus());
    if (!batch) {
        output_flush(now, command_focus());
        next = earlier(next, now + (typing ? 1 : clock_ticks(INPUT_MS)));
    }
    next = earlier(next, iommu_turn(now));
    if (!send(now) || more)
        next = now;
    if (life_all_off() && (batch || command_quitting())) {
        report_end();
        acpi_reset(&machine.acpi);
    }
    return next;
}

void main(void)
{
    machine.info = (const struct boot_info *)ROOT_INFO;
    uart_init();
    memory_init(machine.info);
    if (!open_counters())
        refuse();
    acpi_read(machine.info->rsdp, &machine.acpi);
    if (!clock_init(&machine.acpi, &machine.clock)) {
        console_say("this machine has no ACPI PM timer that runs");
        refuse();
    }
    start_cores();
    iommu_start_all(&machine.acpi);
    if (!fault_init() || !load_plan())
        refuse();
    if (machine.plan->flags & PLAN_PROBE)
        probe();
    if (!device_resolve() || !share_memory() || !watch_faults() || !lan_start_all())
        refuse();
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
