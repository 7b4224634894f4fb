/* What root answers to requests, of VMs by their control lines and of the operator. */
#include "test.h"
#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/life.h>
#include <root/vm/store.h>

#define BUSY_WORDS "the console is busy: try again"
#define NOT_WHOLE                                                                                  \
    "error gamma has not all of its files: wait while it is copying, else destroy it and create "  \
    "it again"

struct machine machine;
static struct plan plan;
static uint8_t log_bytes[CONSOLE_LOG];
static uint32_t space, starts, stops, creates, destroys, focuses;
static char typed[80];
static uint32_t typed_size, takes = 80;

/* ---- the rest of root ---- */
uint32_t uart_space(void) { return space; }
void life_start(struct vm *vm) { starts++, vm->life = LIFE_COPYING; }
void life_stop(struct vm *vm, bool again) { (void)vm, (void)again, stops++; }
void command_set_focus(struct vm *vm) { focuses += vm != NULL; }
void report_made(const struct vm *vm, const char *what) { (void)vm, (void)what; }
void report_counters(const struct vm *vm, char *text, uint32_t size)
{
    (void)vm, (void)text, (void)size;
}
const char *report_mark(const struct vm *vm) { return (void)vm, ""; }
struct vm *create_vm(const struct vm *by, const char **wrong)
{
    return (void)by, (void)wrong, creates++, &machine.vm[1];
}
const char *create_refuses(const struct vm *vm) { return vm->created ? NULL : "is of the plan"; }
void create_destroy(struct vm *vm) { (void)vm, destroys++; }
uint32_t plan_next(void) { return 0; }
uint32_t output_type(const struct vm *vm, const char *bytes, uint32_t n)
{
    assert_ptr_equal(vm, &machine.vm[1]);
    memcpy(typed, bytes, n);
    return typed_size = n, takes < n ? takes : n;
}

/* ---- requests ---- */
static const char *say(const struct vm *from, const char *request)
{
    static char text[81];
    strcpy(text, request);
    return control_answer(from, text);
}

/* A VM that has been created and is off, and the one that commands all. */
static int begin(void **state)
{
    (void)state;
    plan = (struct plan){.vms = 2};
    plan.vm[0] = (struct plan_vm){.name = "service", .vcpus = 1, .control = CONTROL_ALL};
    plan.vm[1] = (struct plan_vm){.name = "gamma", .vcpus = 1};
    machine = (struct machine){.plan = &plan, .vms = 2};
    for (uint32_t i = 0; i < 2; i++)
        machine.vm[i] = (struct vm){.plan = &plan.vm[i], .index = i};
    machine.vm[1].created = true;
    machine.vm[1].store.base = (uintptr_t)log_bytes - ROOT_PHYS;
    space = 2 * UART_SAY;
    starts = stops = creates = destroys = focuses = 0;
    return 0;
}

static void it_starts_once_it_is_off_and_whole(void **state)
{
    struct vm *gamma = &machine.vm[1];
    (void)state;
    assert_string_equal(say(NULL, "start gamma"), "ok");
    assert_string_equal(say(NULL, "start gamma"), "error gamma is not off");
    assert_int_equal(starts, 1);
    gamma->life = LIFE_OFF;
    gamma->file[FILE_KERNEL] = (struct file){.source = 1, .base = 2, .size = 1};
    assert_string_equal(say(NULL, "start gamma"), NOT_WHOLE);
    assert_string_equal(say(&machine.vm[0], "restart gamma"), NOT_WHOLE);
    gamma->life = LIFE_COPYING;
    assert_string_equal(say(NULL, "restart gamma"), NOT_WHOLE);
    assert_int_equal(starts + stops, 1);
    gamma->file[FILE_KERNEL].source = 2;
    assert_string_equal(say(NULL, "restart gamma"), "ok");
    assert_int_equal(stops, 1);
}

static void nobody_is_created_while_the_console_has_no_room(void **state)
{
    const struct vm *by = &machine.vm[0];
    (void)state;
    space--;
    assert_string_equal(say(by, "create"), "error no VM is created: " BUSY_WORDS);
    assert_string_equal(say(by, "destroy gamma"), "error gamma is not destroyed: " BUSY_WORDS);
    assert_int_equal(creates + destroys, 0);
    space++;
    assert_string_equal(say(by, "create"), "ok name=gamma");
    assert_string_equal(say(by, "destroy gamma"), "ok");
    assert_string_equal(say(by, "destroy service"), "error service is of the plan");
    assert_int_equal(creates, 1);
    assert_int_equal(destroys, 1);
}

static void the_operator_has_no_line_and_a_line_no_focus(void **state)
{
    static const char *const of_a_line[] = {"machine", "create", "events on", "sync 1"};
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        assert_memory_equal(say(NULL, of_a_line[i]), "error unknown command '", 23);
    assert_string_equal(say(&machine.vm[0], "focus gamma"), "error unknown command 'focus'");
    assert_int_equal(focuses + creates, 0);
    assert_string_equal(say(NULL, "focus gamma"), "ok");
    assert_string_equal(say(NULL, "focus nobody"), "error no VM is called 'nobody'");
    assert_int_equal(focuses, 1);
}

static void a_console_is_read_if_its_plan_shows_it(void **state)
{
    const struct vm *by = &machine.vm[0];
    const char *answer;
    (void)state;
    memcpy(log_bytes, "A\n\x1b", 3);
    machine.vm[1].logged = 3;
    assert_string_equal(say(by, "log gamma 0"), "error gamma keeps its console private: its plan "
                                                "does not say `console: shown`");
    plan.vm[1].console = CONSOLE_SHOWN;
    assert_string_equal(say(by, "log gamma 0"), "ok at=0 end=3 hex=410a1b");
    assert_string_equal(say(by, "log gamma 2"), "ok at=2 end=3 hex=1b");
    assert_string_equal(say(by, "log gamma 3"), "ok at=3 end=3 hex=");
    assert_string_equal(say(by, "log gamma 4"), "ok at=0 end=3 hex=410a1b"); /* of one before it */
    machine.vm[1].logged = CONSOLE_LOG + 2;
    log_bytes[CONSOLE_LOG - 1] = 0x7f;
    answer = say(by, "log gamma 0");
    assert_memory_equal(answer, "ok at=2 end=16386 hex=1b", 24);
    assert_in_range(strlen(answer), 1500, 1535);
    assert_string_equal(say(by, "log gamma 16383"), "ok at=16383 end=16386 hex=7f410a");
}

static void a_console_is_typed_on_if_its_plan_opens_it(void **state)
{
    static const char longest[] =
        "type gamma "
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212";
    const struct vm *by = &machine.vm[0];
    (void)state;
    assert_string_equal(say(by, "type gamma 41"),
                        "error gamma lets nobody type on its console: its "
                        "plan does not say `console: open`");
    plan.vm[1].console = CONSOLE_SHOWN;
    assert_memory_equal(say(by, "type gamma 41"), "error gamma lets nobody type", 28);
    plan.vm[1].console = CONSOLE_OPEN;
    assert_int_equal(typed_size, 0);
    assert_string_equal(say(by, "type gamma 410dff"), "ok taken=3");
    assert_memory_equal(typed, "A\r\xff", 3);
    assert_string_equal(say(by, "type gamma 41 42"), "ok taken=1"); /* up to what is no digit */
    assert_string_equal(say(by, "type gamma 4"), "ok taken=0");
    assert_string_equal(say(by, "type gamma 4g"), "ok taken=0");
    assert_string_equal(say(by, "type gamma 4A"), "ok taken=0");
    assert_string_equal(say(by, "type gamma"), "ok taken=0");
    takes = 2;
    assert_string_equal(say(by, "type gamma 414243"), "ok taken=2");
    takes = 80;
    assert_int_equal(strlen(longest), 80);
    assert_string_equal(say(by, longest), "ok taken=34");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_starts_once_it_is_off_and_whole, begin),
        cmocka_unit_test_setup(nobody_is_created_while_the_console_has_no_room, begin),
        cmocka_unit_test_setup(the_operator_has_no_line_and_a_line_no_focus, begin),
        cmocka_unit_test_setup(a_console_is_read_if_its_plan_shows_it, begin),
        cmocka_unit_test_setup(a_console_is_typed_on_if_its_plan_opens_it, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
