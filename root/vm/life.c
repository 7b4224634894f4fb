/* From start to end and perhaps again: the states of enum life. */
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/life.h>
#include <root/vm/seal.h>
#include <root/vm/store.h>
#include <lib/call.h>
#include <lib/format.h>
#include <lib/string.h>

#define QUICK_MS    10000u /* a life shorter than this ended at once         */
#define QUICK_MAX   5u     /* lives in a row that ended at once: then it stays off */
#define FIRST_PAUSE 100u   /* ms before a restart as planned; doubles with each quick one */
#define LOOK_MS     200u   /* from one look to the next at whether a VMM can leave */
#define QUIET_MS    10000u /* a guest without exits for so long needs no VMM, */
/* if it has had so many before: no kernel boots with fewer, and one that unpacks itself has none */
#define BOOTED 100u
/* From one look to the next at whether a guest has left, or ended: nobody rings then */
#define ALONE_MS  50u
#define LEAVE_MS  5000u  /* for its vCPUs to come out of their VMM's handlers */
#define LAST_MS   50u    /* for its VMM to carry over what the guest unmasked before it left */
#define DEVICE_MS 10u    /* from one look at devices that are not ready to the next */
#define TELL_MS   30000u /* from one word about a device that is not there to the next */
#define START_MS  60000u /* for a VMM to load its kernel and say that it is ready */

/* The VM is over: note why, take its domains away. */
static void end(struct vm *vm, uint32_t reason, uint64_t value)
{
    vm->end.reason = reason;
    vm->end.value = value;
    vm->end.ports = vm_control(vm)->unclaimed_ports;
    vm->end.msrs = vm_control(vm)->unclaimed_msrs;
    store_lost(vm, &vm->end.lost_sent, &vm->end.lost_received);
    vm_count(vm, &vm->end);
    vm_destroy(vm);
    vm->life = LIFE_ENDING;
}

/* The same, with a sentence for the operator about `value`. */
static void end_saying(struct vm *vm, enum vm_reason reason, uint64_t value, const char *words)
{
    format(vm->end.message, sizeof(vm->end.message), words, value);
    end(vm, reason, value);
}

static void end_unbuilt(struct vm *vm)
{
    format(vm->end.message, sizeof(vm->end.message), "%s: status %u, argument %u", vm->failed,
           STATUS_CODE(vm->failed_status), (uint32_t)STATUS_ARG(vm->failed_status));
    end(vm, REASON_VMM, vm->failed_status);
}

static void end_by_fault(struct vm *vm, const struct fault *f)
{
    vm->end.rip = f->rip;
    format(vm->end.message, sizeof(vm->end.message),
           "VMM fault: vector %lu, error 0x%lx, address 0x%lx", f->vector, f->error, f->cr2);
    end(vm, REASON_VMM, f->vector);
}

/* The VMM's own words, which are not trusted: bytes that are not printable become `?`, and a reason
 * that is root's to give does not count. */
static void end_by_vmm(struct vm *vm)
{
    const volatile struct vm_control *c = vm_control(vm);
    uint32_t reason = c->reason;
    vm->end.rip = c->rip;
    vm->end.cr3 = c->cr3;
    for (uint32_t i = 0; i + 1 < sizeof(vm->end.message); i++) {
        char byte = c->message[i];
        if (byte == 0)
            break;
        vm->end.message[i] =
            byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\' ? byte : '?';
    }
    end(vm, reason < REASON_VMM ? reason : REASON_NONE, c->value);
}

void life_start(struct vm *vm)
{
    memset(&vm->end, 0, sizeof(vm->end));
    memset(&vm->line, 0, sizeof(vm->line));
    memset(vm->seen_exits, 0, sizeof(vm->seen_exits));
    vm->seen_time = vm->copied = vm->seal = 0;
    vm->failed = 0;
    vm->failed_status = OK;
    control_reset(vm);
    vm->wish = WISH_PLAN;
    vm->life = LIFE_COPYING;
}

static void life_build(struct vm *vm)
{
    vm->seen_tsc = vm->started = tsc();
    vm->due = vm->started + clock_ticks(START_MS);
    vm->life = LIFE_STARTING;
    if (vm_build(vm) != OK)
        end_unbuilt(vm);
}

/* Build it once its devices are ready. They may keep it waiting: a virtual function is there only
 * after another VM has enabled it. */
static void equip(struct vm *vm, uint64_t now)
{
    vm->due = now + clock_ticks(DEVICE_MS);
    if (device_ready(vm)) {
        life_build(vm);
    } else if (now - vm->quiet_since >= clock_ticks(TELL_MS)) {
        device_tell(vm);
        vm->quiet_since = now;
    }
}

void life_stop(struct vm *vm, bool again)
{
    if (vm_lives(vm)) {
        end(vm, REASON_STOPPED, 0);
    } else if (vm->life == LIFE_WAITING || vm->life == LIFE_COPYING || vm->life == LIFE_EQUIPPING) {
        vm_drop_vmm(vm); /* of a sealed VM: the loader, if it is at work */
        vm->life = LIFE_OFF;
        control_event(vm, "state=off reason=stopped");
    }
    if (again && vm->life == LIFE_OFF)
        life_start(vm);
    else
        vm->wish = again ? WISH_AGAIN : WISH_OFF;
}

/* Is this a VM whose VMM may leave, and has not yet? */
static bool may_leave(const struct vm *vm)
{
    return vm->life == LIFE_RUNNING && vm->plan->mode == MODE_DEDICATED &&
           vm->plan->disengage != DISENGAGE_NEVER;
}

/* Exits of this life that only a VMM answers. */
static uint64_t needs(const struct vm *vm)
{
    struct end now;
    uint64_t sum = 0;
    vm_count(vm, &now);
    for (uint32_t cause = 0; cause < CAUSE_COUNT; cause++)
        if (cause != CAUSE_ICR && cause != CAUSE_NMI && cause != CAUSE_CPUID)
            sum += now.exits[cause];
    return sum;
}

static void consider_leave(struct vm *vm, uint64_t now)
{
    uint64_t sum = needs(vm);
    if (sum != vm->quiet_exits)
        vm->quiet_since = now;
    vm->quiet_exits = sum;
    vm->due = now + clock_ticks(LOOK_MS);
    bool settled = vm->plan->disengage == DISENGAGE_AUTO && sum >= BOOTED &&
                   now - vm->quiet_since >= clock_ticks(QUIET_MS);
    if (!settled && !*(volatile uint32_t *)&vm_control(vm)->leave)
        return;
    if (vm_disengage(vm) != OK)
        return;
    vm->life = LIFE_LEAVING;
    vm->quiet_since = vm->left_since = vm->due = now;
}

/* The VMM looks at MSI-X tables, whose changes do not exit, some hundred times a second: after the
 * guest's last exit it has LAST_MS to see an entry that was unmasked just before. */
static void watch_leave(struct vm *vm, uint64_t now)
{
    bool left = vm_has_left(vm);
    if (!left)
        vm->left_since = now;
    if (now - vm->left_since >= clock_ticks(LAST_MS)) {
        vm_drop_vmm(vm);
        vm->life = LIFE_ALONE;
        report_alone(vm);
    } else if (!left && now - vm->quiet_since >= clock_ticks(LEAVE_MS)) {
        end_saying(vm, REASON_VMM, 0, "its VMM would not let it go");
    }
}

/* The value that an OUT wrote: as many bytes of RAX as its size. */
static uint64_t port_value(const struct vcpu_stat *s)
{
    return s->end_rax & 0xffffffff >> (32 - 8 * s->end_info.size);
}

/* The reason for the end of a guest without a VMM, by its last exit. The ports by which it can end
 * itself are those that it had with its VMM. */
static void end_alone(struct vm *vm, const struct vcpu_stat *s)
{
    uint64_t event = s->end_event - 1, number = s->end_info.number;
    bool out = event == EVENT_PORT && s->end_info.flags & EXIT_WRITE;
    vm->end.rip = s->end_rip;
    vm->end.cr3 = s->end_cr3;
    if (out && number == PORT_SLEEP)
        end(vm, REASON_POWEROFF, 0);
    else if (out && number == PORT_RESET)
        end(vm, REASON_REBOOT, 0);
    else if (out && number == vm->plan->exit_port && number)
        end(vm, REASON_EXIT_PORT, port_value(s));
    else if (event == EVENT_PORT)
        end_saying(vm, REASON_PORT, number, "it used port 0x%lx without its VMM");
    else if (event == EVENT_MSR)
        end_saying(vm, REASON_MSR, number, "it used MSR 0x%lx without its VMM");
    else if (event == EVENT_MEMORY)
        end_saying(vm, REASON_MEMORY, s->end_info.address, "there is no memory at 0x%lx");
    else if (event == EVENT_SHUTDOWN)
        end_saying(vm, REASON_TRIPLE, 0, "triple fault");
    else
        end_saying(vm, REASON_FAULT, s->end_code, "exit 0x%lx without its VMM");
}

/* Nobody rings when such a guest ends: its counters say so. */
static void watch_alone(struct vm *vm, uint64_t now)
{
    const struct vcpu_stat *ended = vm_ended(vm);
    vm->due = now + clock_ticks(ALONE_MS);
    if (ended)
        end_alone(vm, ended);
}

static void watch_start(struct vm *vm, uint32_t state, uint64_t now)
{
    if (state == VM_RUNNING) {
        vm->life = LIFE_RUNNING;
        vm->due = vm->quiet_since = now;
        if (vm_run(vm) != OK)
            end_unbuilt(vm);
        else
            control_event(vm, "state=running");
    } else if (state == VM_WAITING) { /* for another VM, as long as that takes */
        vm->due = now + clock_ticks(START_MS);
    } else if (now >= vm->due) {
        end_saying(vm, REASON_VMM, 0, "VMM not ready in time");
    }
}

static void watch_vmm(struct vm *vm, uint64_t now)
{
    struct fault f;
    uint32_t state = *(volatile uint32_t *)&vm_control(vm)->state;
    if (fault_seen(vm->index, &f))
        end_by_fault(vm, &f);
    else if (state == VM_OFF)
        end_by_vmm(vm);
    else if (vm->life == LIFE_LEAVING)
        watch_leave(vm, now);
    else if (vm->life == LIFE_STARTING)
        watch_start(vm, state, now);
    else if (may_leave(vm) && now >= vm->due)
        consider_leave(vm, now);
}

/* All has been said: report, then stay off or go on as planned. */
static void finish(struct vm *vm, uint64_t now)
{
    bool again = vm->wish == WISH_AGAIN,
         planned = vm->wish == WISH_PLAN && vm->plan->on_exit == EXIT_RESTART;
    vm->quick = again || now - vm->started >= clock_ticks(QUICK_MS) ? 0 : vm->quick + 1;
    bool restart = again || (planned && vm->quick <= QUICK_MAX);
    uint64_t pause = restart && planned ? (uint64_t)FIRST_PAUSE << vm->quick : 0;
    const char *off = planned ? "given-up" : "off";
    console_flush(vm->plan->name, &vm->line);
    report_vm(vm, restart ? "restart" : off, pause);
    vm->restarts += restart;
    vm->due = now + clock_ticks(pause);
    vm->life = restart ? LIFE_WAITING : LIFE_OFF;
}

/* Does its next step wait for its `due`? */
static bool waits(const struct vm *vm)
{
    return vm->life == LIFE_WAITING || vm->life == LIFE_EQUIPPING || vm->life == LIFE_STARTING ||
           vm->life >= LIFE_LEAVING || may_leave(vm);
}

/* Steps that cannot be cut: one heavy one a turn. */
static void take_step(struct vm *vm, uint64_t now)
{
    if (vm_lives(vm) && vm->life >= LIFE_LEAVING)
        watch_alone(vm, now);
    if (vm_lives(vm) && vm->life != LIFE_ALONE)
        watch_vmm(vm, now);
    if (vm->life == LIFE_ENDING && output_done(vm) && uart_space() >= UART_SAY && device_stop(vm))
        finish(vm, now);
    if (vm->life == LIFE_WAITING && now >= vm->due)
        life_start(vm);
    if (vm->life == LIFE_EQUIPPING && now >= vm->due)
        equip(vm, now);
}

/* Work that takes many turns: copies and seal. */
static void work(struct vm *vm, uint64_t now)
{
    if (vm->life != LIFE_COPYING || !store_copy_files(vm) || !seal_turn(vm))
        return;
    vm->life = LIFE_EQUIPPING;
    vm->due = vm->quiet_since = now;
}

/* Fairness: a turn's loop goes on at the VM that the last turn's did not come to. */
static struct vm *next_vm(uint32_t *next)
{
    struct vm *vm = &machine.vm[*next];
    *next = (*next + 1) % machine.vms;
    return vm;
}

uint64_t life_turn(uint64_t now)
{
    static uint32_t stepper, worker;
    uint64_t next = 0;
    for (uint32_t i = 0; i < machine.vms && !turn_heavy(); i++)
        take_step(next_vm(&stepper), now);
    for (uint32_t i = 0; i < machine.vms && !turn_over(); i++)
        work(next_vm(&worker), now);
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        if (vm->life == LIFE_ENDING || vm->life == LIFE_COPYING)
            next = now;
        else if (waits(vm) && (!next || vm->due < next))
            next = vm->due;
    }
    return turn_heavy() ? now : next;
}

bool life_all_off(void)
{
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (vm->life != LIFE_OFF)
            return false;
    return true;
}
