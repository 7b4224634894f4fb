#include <root/console/command.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/vm/life.h>
#include <root/vm/store.h>
#include <lib/bell.h>
#include <lib/ring.h>
#include <lib/string.h>

#define ESCAPE_KEY 0x1d /* Ctrl-] */
#define TYPED      80u

static struct vm *focus;
static bool command_escaped, quitting;
static char command_typed[TYPED + 1];
static uint32_t command_typed_used;

const struct vm *command_focus(void) { return focus; }
bool command_quitting(void) { return quitting; }
void command_greet(void)
{
    console_say("keys: Ctrl-] then 1..9 focus a VM, 0 back here, s status, h help, q quit");
}

static void help(void)
{
    static const char *const lines[] = {
        "Ctrl-] then: 1..9 focus VM n, 0 or Ctrl-] back to this prompt, s status, h help, q quit",
        "in focus all keys go to the VM, its bytes pass as they are, and other VMs' lines wait",
        "list                 the table of VMs; exits and cpu are since the last list",
        "focus NAME           the same as the key",
        "ask NAME             press a VM's power button: its guest is to end by itself",
        "stop NAME            end a VM now",
        "start NAME           start a VM that is off",
        "restart NAME         end it and start it again",
        "quit                 end all VMs and the machine",
    };
    for (uint32_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        console_say("%s", lines[i]);
}

static void set_focus(struct vm *vm)
{
    focus = vm;
    if (vm)
        console_say("focus on %s; Ctrl-] 0 ends it", vm->plan->name);
    else
        console_say("focus ends");
}

void command_forget(const struct vm *vm)
{
    if (focus == vm)
        set_focus(0);
}

static void quit(void) { quitting = true; }

/* One VM a turn: its end is a heavy step (root/vm/vm.h). */
static void stop_all(void)
{
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms && !turn_heavy(); vm++)
        life_stop(vm, false);
}

bool command_start(struct vm *vm)
{
    if (!store_is_whole(vm) || (vm->life != LIFE_OFF && vm->life != LIFE_WAITING))
        return false;
    vm->quick = 0;
    life_start(vm);
    return true;
}

bool command_restart(struct vm *vm)
{
    if (!store_is_whole(vm))
        return false;
    life_stop(vm, true);
    return true;
}

bool command_ask(struct vm *vm)
{
    if (vm->life != LIFE_RUNNING || !plan_has_virtual(vm->plan))
        return false;
    vm->wish = WISH_OFF;
    vm_control(vm)->presses++;
    bell_ring(vm_slot(vm, VM_BELL));
    return true;
}

static void say_unless(bool done, const struct vm *vm)
{
    if (!done)
        console_say("%s is not off", vm->plan->name);
}

enum command { LIST, HELP, QUIT, FOCUS, ASK, STOP, START, RESTART, COMMANDS };

static const char *const command_name[COMMANDS] = {"list", "help",  "quit",    "focus", "ask",
                                                   "stop", "start", "restart"};

/* Commands from FOCUS on need a VM, others ignore `vm`. */
static void run(uint32_t command, struct vm *vm)
{
    switch (command) {
    case LIST: report_list(); break;
    case HELP: help(); break;
    case QUIT: quit(); break;
    case FOCUS: set_focus(vm); break;
    case ASK: console_say("%s %s", vm->plan->name, command_ask(vm) ? ASKED : NOT_ASKED); break;
    case STOP: life_stop(vm, false); break;
    case START: say_unless(command_start(vm), vm); break;
    case RESTART: say_unless(command_restart(vm), vm); break;
    default: break;
    }
}

/* Cut the next word off `*rest`; empty at the end. */
static char *next_word(char **rest)
{
    char *word = *rest;
    while (*word == ' ')
        word++;
    char *end = word;
    while (*end && *end != ' ')
        end++;
    *rest = *end ? end + 1 : end;
    *end = 0;
    return word;
}

static struct vm *find_vm(const char *name)
{
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (plan_is_vm(vm->plan) && strcmp(vm->plan->name, name) == 0)
            return vm;
    return 0;
}

static void run_line(char *line)
{
    const char *word = next_word(&line), *name = next_word(&line);
    uint32_t command = 0;
    struct vm *vm = find_vm(name);
    while (command < COMMANDS && strcmp(command_name[command], word) != 0)
        command++;
    if (command == COMMANDS && *word)
        console_say("unknown command '%s'; try help", word);
    else if (command < COMMANDS && command >= FOCUS && !vm)
        console_say("no VM is called '%s'", name);
    else
        run(command, vm);
}

static void edit(char c)
{
    if (c == '\r' || c == '\n') {
        console_typed("", 0, "\n");
        uint32_t used = command_typed_used;
        command_typed_used = 0;
        command_typed[used] = 0;
        run_line(command_typed);
    } else if ((c == 0x7f || c == '\b') && command_typed_used) {
        console_typed(command_typed, --command_typed_used, "\b \b");
    } else if (c >= 0x20 && c < 0x7f && command_typed_used < TYPED) {
        command_typed[command_typed_used++] = c;
        console_typed(command_typed, command_typed_used, (const char[]){c, 0});
    }
}

static void escape_key(char c)
{
    uint32_t n = (uint32_t)(c - '1');
    if (c >= '1' && c <= '9' && n < machine.vms && plan_is_vm(machine.vm[n].plan))
        set_focus(&machine.vm[n]);
    else if (c == '0' || c == ESCAPE_KEY)
        set_focus(0);
    else if (c == 's')
        report_list();
    else if (c == 'q')
        quit();
    else
        help();
}

static void type_to(struct vm *vm, char c)
{
    struct vm_control *control = vm_control(vm);
    if (vm->life != LIFE_STARTING && vm->life != LIFE_RUNNING)
        return;
    ring_write(control->in, CONSOLE_IN, &control->in_head, &control->in_tail, &c, 1);
    bell_ring(vm_slot(vm, VM_BELL));
}

bool command_turn(void)
{
    uint32_t taken = 0;
    while (!turn_heavy() && uart_space() >= UART_SAY) {
        int c = uart_get();
        if (c < 0)
            break;
        taken++;
        bool was_escaped = command_escaped;
        command_escaped = !was_escaped && c == ESCAPE_KEY;
        if (was_escaped)
            escape_key((char)c);
        else if (command_escaped)
            continue;
        else if (focus)
            type_to(focus, (char)c);
        else
            edit((char)c);
    }
    if (quitting)
        stop_all();
    return taken || quitting;
}
