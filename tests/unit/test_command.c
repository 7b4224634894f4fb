/* What the operator's keys do. */
#include "test.h"
#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/host/host.h>
#include <root/vm/life.h>

#define KEY(name) "\x1d" name /* Ctrl-], and a key */

struct machine machine;
static struct plan plan;
static struct boot_info boot;
static char said[8192];
static const char *keys;
static uint32_t used, space, lists, stops, typed;
static char asked[96];

/* ---- the rest of root ---- */
void uart_put(const char *bytes, uint32_t n)
{
    assert_true(used + n < sizeof(said));
    memcpy(said + used, bytes, n);
    used += n;
    said[used] = 0;
}
uint32_t uart_space(void) { return space; }
int uart_get(void)
{
    if (*keys == 0)
        return -1;
    return (uint8_t)*keys++;
}
uint32_t output_type(const struct vm *vm, const char *bytes, uint32_t n)
{
    (void)vm, (void)bytes;
    return typed += n, n;
}
void report_list(void) { lists++; }
void host_report(void) { fail(); }
void life_stop(struct vm *vm, bool again) { (void)vm, (void)again, stops++; }
const char *control_answer(const struct vm *from, char *line)
{
    assert_null(from);
    strcpy(asked, line);
    return "ok";
}

/* ---- an operator ---- */
/* Two VMs that are off, and nobody in focus. */
static int begin(void **state)
{
    (void)state;
    command_set_focus(0);
    plan = (struct plan){.vms = 2};
    plan.vm[0] = (struct plan_vm){.name = "alpha", .vcpus = 1};
    plan.vm[1] = (struct plan_vm){.name = "beta", .vcpus = 1};
    machine = (struct machine){.plan = &plan, .info = &boot, .vms = 2};
    for (uint32_t i = 0; i < 2; i++)
        machine.vm[i] = (struct vm){.plan = &plan.vm[i], .index = i};
    used = lists = stops = 0;
    said[0] = asked[0] = 0;
    space = UART_SAY;
    return 0;
}

static void type(const char *text)
{
    keys = text;
    used = 0;
    said[0] = 0;
    (void)command_turn();
}

static void hear(struct vm *vm, const char *bytes)
{
    console_hear(vm->plan->name, &vm->line, bytes, (uint32_t)strlen(bytes));
}

/* What a VM had said of a line when it got the focus is shown then: the rest of the line passes as
   it is, and is no part of what the VM says after it. */
static void test_a_line_that_the_focus_cuts(void **state)
{
    (void)state;
    hear(&machine.vm[0], "progress 12\x1b[");
    hear(&machine.vm[1], "other");
    type(KEY("1"));
    assert_string_equal(said, "alpha| progress 12\nhairline| focus on alpha; Ctrl-] 0 ends it\n");
    console_raw("34\n", 3);
    type(KEY("0"));
    hear(&machine.vm[0], "56 more\n");
    assert_string_equal(said, "hairline| focus ends\nalpha| 56 more\n");
    hear(&machine.vm[1], "s\n");
    assert_non_null(strstr(said, "beta| others\n"));
}

static void test_keys_that_name_no_vm(void **state)
{
    (void)state;
    type(KEY("3"));
    assert_null(command_focus());
    assert_non_null(strstr(said, "list   "));
    type(KEY("2"));
    assert_ptr_equal(command_focus(), &machine.vm[1]);
    command_forget(&machine.vm[0]);
    assert_ptr_equal(command_focus(), &machine.vm[1]);
    command_forget(&machine.vm[1]);
    assert_null(command_focus());
}

static void test_a_line_is_edited(void **state)
{
    (void)state;
    type("lisx\x7ft\r");
    assert_int_equal(lists, 1);
    type("\x7f\b\x01stop alpha\n");
    assert_string_equal(asked, "stop alpha");
    static char line[130];
    memset(line, 'a', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    type(line);
    assert_int_equal(strlen(asked), 80);
}

/* Each word may say lines, for which there has to be room. */
static void test_no_key_is_taken_without_room(void **state)
{
    (void)state;
    space = UART_SAY - 1;
    type("list\n");
    assert_int_equal(lists, 0);
    assert_string_equal(keys, "list\n");
}

/* The last test: nothing takes it back. */
static void test_quit_stops_all(void **state)
{
    (void)state;
    assert_false(command_quitting());
    type("quit\n");
    assert_true(command_quitting());
    assert_int_equal(stops, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_line_that_the_focus_cuts, begin),
        cmocka_unit_test_setup(test_keys_that_name_no_vm, begin),
        cmocka_unit_test_setup(test_a_line_is_edited, begin),
        cmocka_unit_test_setup(test_no_key_is_taken_without_room, begin),
        cmocka_unit_test_setup(test_quit_stops_all, begin),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
