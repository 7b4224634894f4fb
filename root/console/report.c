#include <root/console/control.h>
#include <root/console/report.h>
#include <root/vm/store.h>
#include <lib/call.h>
#include <lib/format.h>
#include <lib/string.h>

static const char *const cause_name[CAUSE_COUNT] = {
    [EVENT_START] = "start",   [EVENT_RECALL] = "recall",     [EVENT_PORT] = "port",
    [EVENT_MSR] = "msr",       [EVENT_HLT] = "hlt",           [EVENT_VMCALL] = "vmcall",
    [EVENT_MEMORY] = "memory", [EVENT_SHUTDOWN] = "shutdown", [EVENT_INVALID] = "invalid",
    [EVENT_OPCODE] = "opcode", [EVENT_XSETBV] = "xsetbv",     [EVENT_EXCEPTION] = "exception",
    [CAUSE_CPUID] = "cpuid",   [CAUSE_INTR] = "intr",         [CAUSE_NMI] = "nmi",
    [CAUSE_ICR] = "icr",       [CAUSE_STEP] = "step",
};

static const char *const reason_name[REASON_COUNT] = {
    [REASON_NONE] = "none",       [REASON_POWEROFF] = "poweroff", [REASON_EXIT_PORT] = "exit_port",
    [REASON_REBOOT] = "reboot",   [REASON_TRIPLE] = "triple",     [REASON_MEMORY] = "memory",
    [REASON_INVALID] = "invalid", [REASON_OPCODE] = "opcode",     [REASON_LOADER] = "loader",
    [REASON_VMM] = "vmm",         [REASON_STOPPED] = "stopped",   [REASON_PORT] = "port",
    [REASON_MSR] = "msr",         [REASON_FAULT] = "fault",
};

static const char *const life_name[] = {
    [LIFE_OFF] = "off",           [LIFE_WAITING] = "waiting",
    [LIFE_COPYING] = "copying",   [LIFE_EQUIPPING] = "equipping",
    [LIFE_STARTING] = "starting", [LIFE_RUNNING] = "running",
    [LIFE_LEAVING] = "leaving",   [LIFE_ALONE] = "alone",
    [LIFE_ENDING] = "ending",
};

static const char *const mode_name[] = {[MODE_SHARED] = "shared", [MODE_DEDICATED] = "dedicated"};

/* The kernel's free frames, with those that are page tables, since root's own grow as it maps; and
 * its free objects. */
struct pool {
    uint32_t frames, objects;
};
static struct pool at_start;

static struct pool report_pool(void)
{
    const struct kernel_stat *s = kernel_stat();
    return (struct pool){s->frames_free + s->table_frames, s->objects_free};
}

const char *report_cause(uint64_t cause) { return cause < CAUSE_COUNT ? cause_name[cause] : "-"; }

/* What of exits there is by cause, as words behind others. */
static uint32_t exits_text(const uint64_t exits[CAUSE_COUNT], const char *word, char *text,
                           uint32_t size)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < CAUSE_COUNT; i++)
        used += format(text + used, size - used, " %s.%s=%lu", word, cause_name[i], exits[i]);
    return used;
}

void report_host(const char *name, uint32_t cores, const uint64_t exits[CAUSE_COUNT])
{
    char text[CAUSE_COUNT * 40];
    exits_text(exits, "exits", text, sizeof(text));
    console_say("host name=%s cores=%u tsc=%lu%s", name, cores, tsc(), text);
}

void report_ready(void)
{
    at_start = report_pool();
    console_say("ready cores=%u tsc_hz=%lu vms=%u", machine.cores, machine.clock.tsc_hz,
                machine.vms);
}

/* SHA-256 of what a sealed VM started with, hexadecimal; "-": it is not sealed. */
static void hash_text(const struct vm *vm, char text[static 65])
{
    format(text, 65, "-");
    for (uint32_t i = 0; i < 32 && vm->plan->sealed; i++)
        format(text + 2 * i, 3, "%02x", vm->hash[i]);
}

const char *report_mark(const struct vm *vm) { return vm->created ? " unattested=1" : ""; }

void report_vm(const struct vm *vm, const char *next, uint64_t pause)
{
    const struct end *e = &vm->end;
    char hash[65], exits[2 * CAUSE_COUNT * 40];
    hash_text(vm, hash);
    uint32_t used = exits_text(e->exits, "exits", exits, sizeof(exits));
    if (e->left)
        exits_text(e->engaged, "engaged", exits + used, (uint32_t)sizeof(exits) - used);
    console_say("vm name=%s state=off reason=%s value=%lu rip=0x%lx cr3=0x%lx next=%s pause_ms=%lu "
                "restarts=%u memory=%lu time=%lu first=%lu left=%lu sha256=%s "
                "unclaimed.ports=%lu unclaimed.msrs=%lu lost.sent=%lu lost.received=%lu%s%s "
                "message=\"%s\"",
                vm->plan->name, reason_name[e->reason], e->value, e->rip, e->cr3, next, pause,
                vm->restarts, vm->plan->memory, e->time, e->first,
                e->left * 1000 / machine.clock.tsc_hz, hash, e->ports, e->msrs, e->lost_sent,
                e->lost_received, exits, report_mark(vm), e->message);
    format(exits, sizeof(exits), "state=off reason=%s value=%lu next=%s restarts=%u",
           reason_name[e->reason], e->value, next, vm->restarts);
    control_event(vm, exits);
}

void report_made(const struct vm *vm, const char *what)
{
    console_say("vm name=%s %s%s", vm->plan->name, what, report_mark(vm));
    control_event(vm, what);
}

void report_alone(const struct vm *vm)
{
    struct end now;
    vm_count(vm, &now);
    console_say("vm name=%s state=alone left=%lu%s", vm->plan->name,
                now.left * 1000 / machine.clock.tsc_hz, report_mark(vm));
    control_event(vm, "state=alone");
}

void report_counters(const struct vm *vm, char *text, uint32_t size)
{
    const struct vm_config *config = vm_piece(vm, PIECE_CONFIG);
    struct end now = {0};
    uint64_t sent = 0, received = 0;
    if (vm_lives(vm)) {
        vm_count(vm, &now);
        store_lost(vm, &sent, &received);
    }
    uint32_t used =
        format(text, size,
               "ok name=%s mode=%s state=%s vcpus=%u cores=0x%lx memory=%lu tsc=%lu time=%lu "
               "restarts=%u sealed=%u lost.sent=%lu lost.received=%lu%s",
               vm->plan->name, mode_name[vm->plan->mode], life_name[vm->life], vm->plan->vcpus,
               vm->plan->cores, vm->plan->memory, tsc(), now.time, vm->restarts, vm->plan->sealed,
               sent, received, report_mark(vm));
    used += exits_text(now.exits, "exits", text + used, size - used);
    for (uint32_t i = 0; i < vm->plan->devices; i++)
        used +=
            format(text + used, size - used, i ? ",0x%x" : " devices=0x%x", config->device[i].rid);
}

void report_end(void)
{
    const struct kernel_stat *s = kernel_stat();
    struct pool now = report_pool();
    bool less = now.frames < at_start.frames || now.objects < at_start.objects;
    if (less && !machine.plan->spare_memory) /* else root has handlers for VMs that were created */
        console_say("LEAK frames_before=%u frames_after=%u objects_before=%u objects_after=%u",
                    at_start.frames, now.frames, at_start.objects, now.objects);
    console_say("turns longest_us=%lu", machine.longest_turn * 1000000 / machine.clock.tsc_hz);
    console_say(
        "end pool_frames=%u pool_free=%u objects=%u objects_free=%u table_frames=%u image_bytes=%u",
        s->frames, s->frames_free, s->objects, s->objects_free, s->table_frames, s->image_bytes);
}

static void list_cores(const struct vm *vm, char text[static 24])
{
    uint32_t used = 0;
    text[0] = 0;
    for (uint32_t core = 0; core < MAX_CORES; core++)
        if (vm->plan->cores >> core & 1)
            used += format(text + used, 24 - used, used ? ",%u" : "%u", core);
}

/* Exits a second since the last look, all and by the main cause, and time in percent of one core.
 */
static void list_rates(struct vm *vm, char text[static 64])
{
    struct end now = {0};
    uint64_t ticks = tsc() - vm->seen_tsc + 1, all = 0, most = 0;
    uint32_t cause = 0;
    vm_count(vm, &now);
    for (uint32_t i = 0; i < CAUSE_COUNT; i++) {
        uint64_t n = now.exits[i] - vm->seen_exits[i];
        all += n;
        cause = n > most ? i : cause;
        most = n > most ? n : most;
    }
    format(text, 64, "%8lu %8lu %-9s %4lu%%", all * machine.clock.tsc_hz / ticks,
           most * machine.clock.tsc_hz / ticks, cause_name[cause],
           (now.time - vm->seen_time) * 100 / ticks);
    vm->seen_tsc += ticks;
    vm->seen_time = now.time;
    memcpy(vm->seen_exits, now.exits, sizeof(now.exits));
}

void report_list(void)
{
    console_say("# name         mode   state    vCPUs cores           MiB  exits/s    most by      "
                "  cpu restarts     lost");
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        char cores[24], rates[64] = "";
        uint64_t sent, received;
        if (!plan_is_vm(vm->plan))
            continue;
        list_cores(vm, cores);
        store_lost(vm, &sent, &received);
        if (vm_lives(vm))
            list_rates(vm, rates);
        console_say("%u %-12s %-6s %-8s %5u %-12s %6lu %-33s %7u %8lu", vm->index + 1,
                    vm->plan->name, mode_name[vm->plan->mode], life_name[vm->life], vm->plan->vcpus,
                    cores, vm->plan->memory >> 20, rates, vm->restarts, sent + received);
    }
}
