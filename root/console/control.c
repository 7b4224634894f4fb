#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/life.h>
#include <lib/bell.h>
#include <lib/format.h>
#include <lib/ring.h>
#include <lib/string.h>

#define REQUEST 80u   /* bytes of a line, without its end */
#define ANSWER  1536u /* of an answer, with its end */
_Static_assert(ANSWER <= CONTROL_ANSWER, "an empty ring holds an answer");

/* What root knows of each VM's line. */
static struct line {
    char text[REQUEST + 1]; /* of the request that has begun */
    uint32_t used;
    bool too_long; /* and it has no room for the rest */
    bool events;
    uint64_t lost; /* answers and events */
} lines[PLAN_VMS];

static struct line *line_of(const struct vm *vm) { return &lines[vm->index]; }

/* May `vm` see and command `other`? */
static bool may_command(const struct vm *vm, const struct vm *other)
{
    return plan_is_vm(other->plan) &&
           (vm->plan->control == CONTROL_ALL || (vm->plan->control == CONTROL_OWN && vm == other));
}

/* Bytes that the guest has not read: 0..CONTROL_ANSWER; all, if its VMM broke the ring. */
static uint32_t unread(const struct vm_control *c)
{
    uint32_t used = c->answer_head - c->answer_tail;
    return used > CONTROL_ANSWER ? CONTROL_ANSWER : used;
}

static void control_send(const struct vm *vm, const char *text, uint32_t size)
{
    struct vm_control *c = vm_control(vm);
    ring_write(c->answer, CONTROL_ANSWER, &c->answer_head, &c->answer_tail, text, size);
    bell_ring(vm_slot(vm, VM_BELL));
}

/* ---- the requests; each writes its answer of at most ANSWER bytes and returns their number ----
 */

struct request {
    const struct vm *from;
    struct vm *vm;     /* the one that it names; NULL: none that `from` may see */
    const char *words; /* what follows the verb */
    char *answer;
};

static uint32_t answer_machine(const struct request *r)
{
    const struct kernel_stat *s = kernel_stat();
    uint32_t seen = 0;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        seen += may_command(r->from, vm);
    return format(r->answer, ANSWER,
                  "ok self=%s vms=%u cores=%u tsc_hz=%lu tsc=%lu pool_frames=%u pool_free=%u "
                  "objects=%u objects_free=%u lost=%lu upload=%u room=%lu spare_cores=0x%lx "
                  "next=%u lan=%u mtu=%u\n",
                  r->from->plan->name, seen, machine.cores, machine.clock.tsc_hz, tsc(), s->frames,
                  s->frames_free, s->objects, s->objects_free, line_of(r->from)->lost,
                  plan_upload_disk(r->from->plan), create_room(), machine.plan->spare_cores,
                  plan_next(), r->from->plan->lan, r->from->plan->mtu);
}

static uint32_t answer_vm(const struct request *r)
{
    uint32_t used = format(r->answer, ANSWER, "ok ");
    used += report_counters(r->vm, r->answer + used, ANSWER - used - 1);
    r->answer[used++] = '\n';
    return used;
}

static uint32_t answer_done(const struct request *r, bool done)
{
    return done ? format(r->answer, ANSWER, "ok\n")
                : format(r->answer, ANSWER, "error %s is not off\n", r->vm->plan->name);
}

static uint32_t answer_start(const struct request *r)
{
    return answer_done(r, command_start(r->vm));
}

static uint32_t answer_restart(const struct request *r)
{
    return answer_done(r, command_restart(r->vm));
}

static uint32_t answer_ask(const struct request *r)
{
    if (command_ask(r->vm))
        return answer_done(r, true);
    return format(r->answer, ANSWER, "error %s " NOT_ASKED "\n", r->vm->plan->name);
}

static uint32_t answer_stop(const struct request *r)
{
    if (r->vm->life == LIFE_OFF)
        return format(r->answer, ANSWER, "error %s is off\n", r->vm->plan->name);
    life_stop(r->vm, false);
    return answer_done(r, true);
}

/* Each says a line on the console, which must not keep root waiting, nor the operator out. */
#define BUSY_CONSOLE "error the console is busy: try again\n"

static uint32_t answer_create(const struct request *r)
{
    const char *wrong;
    if (uart_space() < 2 * UART_SAY)
        return format(r->answer, ANSWER, BUSY_CONSOLE);
    const struct vm *vm = create_vm(r->from, &wrong);
    if (!vm)
        return format(r->answer, ANSWER, "error no VM is created: %s\n", wrong);
    report_made(vm, "created");
    return format(r->answer, ANSWER, "ok name=%s\n", vm->plan->name);
}

static uint32_t answer_destroy(const struct request *r)
{
    const char *wrong = create_refuses(r->vm);
    if (uart_space() < 2 * UART_SAY)
        return format(r->answer, ANSWER, BUSY_CONSOLE);
    if (wrong)
        return format(r->answer, ANSWER, "error %s is not destroyed: %s\n", r->vm->plan->name,
                      wrong);
    report_made(r->vm, "destroyed");
    create_destroy(r->vm);
    return format(r->answer, ANSWER, "ok\n");
}

static uint32_t answer_events(const struct request *r)
{
    line_of(r->from)->events = strcmp(r->words, "on") == 0;
    return format(r->answer, ANSWER, "ok\n");
}

/* So that a tool can tell this answer from those of one before it. */
static uint32_t answer_sync(const struct request *r)
{
    return format(r->answer, ANSWER, "ok %s\n", r->words);
}

static const struct verb {
    const char *word;
    bool names_vm;
    uint32_t (*answer)(const struct request *r);
} verbs[] = {
    {"machine", false, answer_machine}, {"vm", true, answer_vm},
    {"start", true, answer_start},      {"ask", true, answer_ask},
    {"stop", true, answer_stop},        {"restart", true, answer_restart},
    {"events", false, answer_events},   {"sync", false, answer_sync},
    {"create", false, answer_create},   {"destroy", true, answer_destroy},
};

/* The VM that `word` names, by its name or, as `#N`, the N-th of those that `from` may see; NULL:
 * none. No name has a `#`. */
static struct vm *named(const struct vm *from, const char *word)
{
    char number[12];
    uint32_t n = 0;
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        if (!may_command(from, vm))
            continue;
        format(number, sizeof(number), "#%u", ++n);
        if (strcmp(word, vm->plan->name) == 0 || strcmp(word, number) == 0)
            return vm;
    }
    return 0;
}

/* Split "VERB WORDS" in place; the words, "" if there are none. */
static char *split(char *text)
{
    while (*text && *text != ' ')
        text++;
    if (!*text)
        return text;
    *text = 0;
    return text + 1;
}

static uint32_t answer(const struct vm *from, char *text, char *to)
{
    const char *words = split(text);
    for (const struct verb *v = verbs; v < verbs + sizeof(verbs) / sizeof(verbs[0]); v++) {
        if (strcmp(v->word, text) != 0)
            continue;
        struct request r = {from, v->names_vm ? named(from, words) : 0, words, to};
        if (v->names_vm && !r.vm)
            return format(to, ANSWER, "error no VM is called '%s'\n", words);
        return v->answer(&r);
    }
    return format(to, ANSWER, "error unknown request\n");
}

/* ---- lines ---------------------------------------------------------------------- */

/* Take the bytes of the VM's next request, REQUEST at most in one turn. True: it is whole. Other
   bytes than printable ones are left out, as is what exceeds a line. */
static bool take_line(const struct vm *vm, struct line *line)
{
    struct vm_control *c = vm_control(vm);
    char byte;
    for (uint32_t i = 0; i < REQUEST; i++) {
        if (!ring_read(c->ask, CONTROL_ASK, &c->ask_head, &c->ask_tail, &byte, 1))
            break;
        if (byte == '\n' || byte == '\r')
            return true;
        if (byte < 0x20 || byte > 0x7e)
            continue;
        line->too_long |= line->used == REQUEST;
        if (!line->too_long)
            line->text[line->used++] = byte;
    }
    return false;
}

/* Is it a line of root's own? A terminal that echoes sends them back, and would get an answer to
 * each without end. */
static bool is_echo(const char *text)
{
    static const char *const ours[] = {"ok", "error", "event"};
    for (uint32_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        uint32_t size = (uint32_t)strlen(ours[i]);
        if (memcmp(text, ours[i], size) == 0 && (text[size] == ' ' || !text[size]))
            return true;
    }
    return false;
}

/* Serve what has come of a request. It is taken even if there is no room for its answer, and then
   it is lost: Linux spins with interrupts off until the device has taken what it writes. */
static void control_serve(const struct vm *vm)
{
    static char text[ANSWER]; /* root has one thread */
    struct line *line = line_of(vm);
    bool whole = take_line(vm, line);
    bell_ring(vm_slot(vm, VM_BELL)); /* its worker may wait for room in the ring */
    if (!whole)
        return;
    line->text[line->used] = 0;
    uint32_t size = 0;
    if (is_echo(line->text))
        ;
    else if (CONTROL_ANSWER - unread(vm_control(vm)) < ANSWER)
        line->lost++;
    else if (line->too_long)
        size = format(text, ANSWER, "error a request has at most %u bytes\n", REQUEST);
    else if (line->used)
        size = answer(vm, line->text, text);
    line->used = 0;
    line->too_long = false;
    if (vm_lives(vm)) /* it may have ended itself */
        control_send(vm, text, size);
}

static bool control_waits(const struct vm *vm)
{
    const struct vm_control *c = vm_control(vm);
    return vm->plan->control && vm_lives(vm) && c->ask_head != c->ask_tail;
}

bool control_turn(void)
{
    static uint32_t next; /* fairness: the next turn goes on where this one ends */
    bool served = false;  /* one in any case: copying and measuring take all of a turn */
    for (uint32_t i = 0; i < machine.vms && !turn_heavy() && !(served && turn_over()); i++) {
        const struct vm *vm = &machine.vm[next];
        next = (next + 1) % machine.vms;
        if (!control_waits(vm))
            continue;
        control_serve(vm);
        served = true;
    }
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (control_waits(vm))
            return true;
    return false;
}

void control_event(const struct vm *about, const char *fmt, ...)
{
    char text[CONTROL_EVENT];
    va_list args;
    va_start(args, fmt);
    uint32_t size = format_va(text, sizeof(text) - 1, fmt, args);
    va_end(args);
    text[size++] = '\n';
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        struct line *line = line_of(vm);
        if (!line->events || !vm_lives(vm) || !may_command(vm, about))
            continue;
        if (CONTROL_ANSWER - unread(vm_control(vm)) < size)
            line->lost++;
        else
            control_send(vm, text, size);
    }
}

void control_reset(const struct vm *vm) { *line_of(vm) = (struct line){0}; }
