#include <root/host/host.h>
#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/vm/life.h>
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
        "destroy NAME         take a VM out that was created and is off",
        "vm NAME              all that is known of it",
        "quit                 end all VMs and the machine",
    };
    for (uint32_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        console_say("%s", lines[i]);
}

void command_set_focus(struct vm *vm)
{
    if (vm) { /* what it said of a line that goes on as it is */
        console_flush(vm->plan->name, &vm->line);
        vm->line.escape = 0;
    }
    focus = vm;
    if (vm)
        console_say("focus on %s; Ctrl-] 0 ends it", vm->plan->name);
    else
        console_say("focus ends");
}

void command_forget(const struct vm *vm)
{
    if (focus == vm)
        command_set_focus(0);
}

/* One VM a turn: its end is a heavy step (root/vm/vm.h). */
static void stop_all(void)
{
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms && !turn_heavy(); vm++)
        life_stop(vm, false);
}

static void list(void)
{
    report_list();
    if (host_is_there())
        host_report();
}

static void run_line(char *line)
{
    if (strcmp(line, "list") == 0)
        list();
    else if (strcmp(line, "help") == 0)
        help();
    else if (strcmp(line, "quit") == 0)
        quitting = true;
    else if (*line)
        console_say("%s", control_answer(0, line));
}

static void edit(char c)
{
    if (c == '\r' || c == '\n') {
        console_typed("", 0, "\n");
        command_typed[command_typed_used] = 0;
        command_typed_used = 0;
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
        command_set_focus(&machine.vm[n]);
    else if (c == '0' || c == ESCAPE_KEY)
        command_set_focus(0);
    else if (c == 's')
        list();
    else if (c == 'q')
        quitting = true;
    else
        help();
}

bool command_turn(void)
{
    uint32_t taken = 0;
    while (!turn_heavy() && uart_space() >= UART_SAY) {
        int key = uart_get();
        char c = (char)key;
        if (key < 0)
            break;
        taken++;
        bool was_escaped = command_escaped;
        command_escaped = !was_escaped && c == ESCAPE_KEY;
        if (was_escaped)
            escape_key(c);
        else if (command_escaped)
            continue;
        else if (focus)
            output_type(focus, &c, 1);
        else
            edit(c);
    }
    if (quitting)
        stop_all();
    return taken || quitting;
}
