#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/host/host.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/life.h>
#include <root/vm/store.h>
#include <lib/bell.h>
#include <lib/format.h>
#include <lib/ring.h>
#include <lib/string.h>

#define REQUEST 80u   /* bytes of a line, without its end */
#define ANSWER  1536u /* of an answer, with its end */
_Static_assert(ANSWER <= CONTROL_ANSWER, "an empty ring holds an answer");
_Static_assert(REQUEST == 80, "as the words below say");

/* What root knows of each VM's line. */
static struct line {
    char text[REQUEST + 2]; /* of the request that has begun */
    uint32_t used;          /* more than REQUEST: it is too long, and the rest is dropped */
    bool events;
    uint64_t lost; /* answers and events */
} lines[PLAN_VMS];

static struct line *line_of(const struct vm *vm) { return &lines[vm->index]; }

/* Behind the last that may have a line: the VMs, and the installed system. */
static struct vm *lines_end(void) { return machine.vm + machine.vms + host_is_there(); }

/* May `from`, a VM or the operator (NULL), see and command `other`? */
static bool may_command(const struct vm *from, const struct vm *other)
{
    return plan_is_vm(other->plan) && (!from || from->plan->control == CONTROL_ALL ||
                                       (from->plan->control == CONTROL_OWN && from == other));
}

/* Bytes that the guest has not read: 0..CONTROL_ANSWER; all, if its VMM broke the ring. */
static uint32_t unread(const struct vm_control *c)
{
    uint32_t used = c->answer_head - c->answer_tail;
    return used > CONTROL_ANSWER ? CONTROL_ANSWER : used;
}

/* One line. */
static void control_send(const struct vm *vm, const char *text)
{
    struct vm_control *c = vm_control(vm);
    ring_write(c->answer, CONTROL_ANSWER, &c->answer_head, &c->answer_tail, text,
               (uint32_t)strlen(text));
    ring_write(c->answer, CONTROL_ANSWER, &c->answer_head, &c->answer_tail, "\n", 1);
    bell_ring(vm_slot(vm, VM_BELL));
}

/* ---- the requests ----------------------------------------------------------------- */

struct request {
    const struct vm *from;
    struct vm *vm;     /* the one that it names; NULL: none that `from` may see */
    const char *words; /* the one that follows the verb, */
    const char *more;  /* and what follows that */
    char *answer;      /* `ok`, to which it may add up to ANSWER bytes in all */
};

/* Each returns why it did nothing; NULL: it did it. */

static const char *ask_machine(const struct request *r)
{
    const struct kernel_stat *s = kernel_stat();
    uint32_t seen = 0;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        seen += may_command(r->from, vm);
    format(r->answer, ANSWER,
           "ok self=%s vms=%u cores=%u tsc_hz=%lu tsc=%lu pool_frames=%u pool_free=%u "
           "objects=%u objects_free=%u lost=%lu upload=%u spare_cores=0x%lx next=%u lan=%u mtu=%u",
           r->from->plan->name, seen, machine.cores, machine.clock.tsc_hz, tsc(), s->frames,
           s->frames_free, s->objects, s->objects_free, line_of(r->from)->lost,
           plan_upload_disk(r->from->plan), machine.plan->spare_cores, plan_next(),
           r->from->plan->lan, r->from->plan->mtu);
    return 0;
}

static const char *ask_vm(const struct request *r)
{
    report_counters(r->vm, r->answer, ANSWER);
    return 0;
}

#define NOT_WHOLE                                                                                  \
    "has not all of its files: wait while it is copying, else destroy it and create it again"

static const char *ask_start(const struct request *r)
{
    if (r->vm->life != LIFE_OFF && r->vm->life != LIFE_WAITING)
        return "is not off";
    if (!store_is_whole(r->vm))
        return NOT_WHOLE;
    r->vm->quick = 0;
    life_start(r->vm);
    return 0;
}

static const char *ask_restart(const struct request *r)
{
    if (!store_is_whole(r->vm))
        return NOT_WHOLE;
    life_stop(r->vm, true);
    return 0;
}

static const char *ask_ask(const struct request *r)
{
    if (r->vm->life != LIFE_RUNNING || !plan_has_virtual(r->vm->plan))
        return "cannot be asked to end: it does not run, or has no virtual devices";
    r->vm->wish = WISH_OFF;
    vm_control(r->vm)->presses++;
    bell_ring(vm_slot(r->vm, VM_BELL));
    return 0;
}

static const char *ask_stop(const struct request *r)
{
    if (r->vm->life == LIFE_OFF)
        return "is off";
    life_stop(r->vm, false);
    return 0;
}

static const char *ask_focus(const struct request *r)
{
    command_set_focus(r->vm);
    return 0;
}

/* Some of what the VM said on its console, from byte `more` on, which it counts in all its lives.
 * As hexadecimal digits: a guest may say anything, and an answer is one line of text. */
static const char *ask_log(const struct request *r)
{
    const char *log = vm_piece(r->vm, PIECE_LOG);
    uint64_t end = r->vm->logged, at = 0, oldest = end > CONSOLE_LOG ? end - CONSOLE_LOG : 0;
    if (!r->vm->plan->console)
        return "keeps its console private: its plan does not say `console: shown`";
    for (const char *c = r->more; *c >= '0' && *c <= '9'; c++)
        at = at * 10 + (uint64_t)(*c - '0');
    at = at < oldest || at > end ? oldest : at;
    uint32_t used = format(r->answer, ANSWER, "ok at=%lu end=%lu hex=", at, end);
    for (; at < end && used + 3 <= ANSWER; at++)
        used += format(r->answer + used, 3, "%02x", (uint8_t)log[at % CONSOLE_LOG]);
    return 0;
}

/* Of a hexadecimal digit; 16: it is none. */
static uint32_t digit(char c)
{
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

/* The bytes `more`, as such digits, as if they were typed on its console. */
static const char *ask_type(const struct request *r)
{
    char bytes[REQUEST / 2];
    uint32_t n = 0;
    if (r->vm->plan->console != CONSOLE_OPEN)
        return "lets nobody type on its console: its plan does not say `console: open`";
    for (const char *c = r->more; digit(c[0]) < 16 && digit(c[1]) < 16; c += 2)
        bytes[n++] = (char)(digit(c[0]) << 4 | digit(c[1]));
    format(r->answer, ANSWER, "ok taken=%u", output_type(r->vm, bytes, n));
    return 0;
}

/* Each says a line on the console, which must not keep root waiting, nor the operator out. */
#define CONSOLE_BUSY "the console is busy: try again"

static const char *ask_create(const struct request *r)
{
    const char *wrong = CONSOLE_BUSY;
    const struct vm *vm = uart_space() < 2 * UART_SAY ? 0 : create_vm(r->from, &wrong);
    if (!vm)
        return wrong;
    report_made(vm, "state=created");
    format(r->answer, ANSWER, "ok name=%s", vm->plan->name);
    return 0;
}

static const char *ask_destroy(const struct request *r)
{
    const char *wrong = create_refuses(r->vm);
    if (wrong || uart_space() < 2 * UART_SAY)
        return wrong ? wrong : "is not destroyed: " CONSOLE_BUSY;
    report_made(r->vm, "state=destroyed");
    create_destroy(r->vm);
    return 0;
}

static const char *ask_events(const struct request *r)
{
    line_of(r->from)->events = strcmp(r->words, "on") == 0;
    return 0;
}

/* So that a tool can tell this answer from those of one before it. */
static const char *ask_sync(const struct request *r)
{
    format(r->answer, ANSWER, "ok %s", r->words);
    return 0;
}

/* About the line that a VM asks on, or about the VM that is named; that by the operator only. */
enum kind { OF_LINE, OF_VM, OF_OPERATOR };
static const struct verb {
    const char *word;
    enum kind kind;
    const char *(*ask)(const struct request *r);
} verbs[] = {
    {"machine", OF_LINE, ask_machine}, {"vm", OF_VM, ask_vm},
    {"start", OF_VM, ask_start},       {"ask", OF_VM, ask_ask},
    {"stop", OF_VM, ask_stop},         {"restart", OF_VM, ask_restart},
    {"destroy", OF_VM, ask_destroy},   {"focus", OF_OPERATOR, ask_focus},
    {"create", OF_LINE, ask_create},   {"events", OF_LINE, ask_events},
    {"sync", OF_LINE, ask_sync},       {"log", OF_VM, ask_log},
    {"type", OF_VM, ask_type},
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

/* Cut the first word off, in place; what follows it, "" if nothing does. */
static char *split(char *text)
{
    while (*text && *text != ' ')
        text++;
    if (!*text)
        return text;
    *text = 0;
    return text + 1;
}

const char *control_answer(const struct vm *from, char *text)
{
    static char answer[ANSWER]; /* root has one thread */
    char *words = split(text);
    const char *more = split(words), *wrong = 0;
    const struct verb *v = verbs, *end = verbs + sizeof(verbs) / sizeof(verbs[0]);
    struct request r = {from, named(from, words), words, more, answer};
    while (v < end && (strcmp(v->word, text) != 0 || v->kind == (from ? OF_OPERATOR : OF_LINE)))
        v++;
    format(answer, ANSWER, "ok");
    if (v == end)
        format(answer, ANSWER, "error unknown command '%s'", text);
    else if (v->kind != OF_LINE && !r.vm)
        format(answer, ANSWER, "error no VM is called '%s'", words);
    else
        wrong = v->ask(&r);
    if (wrong)
        format(answer, ANSWER, "error %s %s", r.vm ? words : "no VM is created:", wrong);
    return answer;
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
        if (line->used <= REQUEST)
            line->text[line->used++] = byte;
    }
    return false;
}

/* Is it a line of root's own? A terminal that echoes sends them back, and would get an answer to
 * each without end. */
static bool is_echo(const char *text)
{
    return memcmp(text, "ok", 2) == 0 || memcmp(text, "error", 5) == 0 ||
           memcmp(text, "event ", 6) == 0;
}

/* Serve what has come of a request. It is taken even if there is no room for its answer, and then
   it is lost: Linux spins with interrupts off until the device has taken what it writes. */
static void control_serve(const struct vm *vm)
{
    struct line *line = line_of(vm);
    bool whole = take_line(vm, line);
    bell_ring(vm_slot(vm, VM_BELL)); /* its worker may wait for room in the ring */
    if (!whole)
        return;
    line->text[line->used] = 0;
    const char *answer = 0;
    if (is_echo(line->text))
        ;
    else if (CONTROL_ANSWER - unread(vm_control(vm)) < ANSWER)
        line->lost++;
    else if (line->used > REQUEST)
        answer = "error a request has at most 80 bytes";
    else if (line->used)
        answer = control_answer(vm, line->text);
    line->used = 0;
    if (answer && vm_lives(vm)) /* it may have ended itself */
        control_send(vm, answer);
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
    uint32_t count = (uint32_t)(lines_end() - machine.vm);
    for (uint32_t i = 0; i < count && !turn_heavy() && !(served && turn_over()); i++) {
        const struct vm *vm = &machine.vm[next];
        next = (next + 1) % count;
        if (!control_waits(vm))
            continue;
        control_serve(vm);
        served = true;
    }
    for (const struct vm *vm = machine.vm; vm < lines_end(); vm++)
        if (control_waits(vm))
            return true;
    return false;
}

void control_event(const struct vm *about, const char *what)
{
    char text[CONTROL_EVENT];
    uint32_t size = 1 + format(text, sizeof(text), "event name=%s %s%s", about->plan->name, what,
                               report_mark(about));
    for (const struct vm *vm = machine.vm; vm < lines_end(); vm++) {
        struct line *line = line_of(vm);
        if (!line->events || !vm_lives(vm) || !may_command(vm, about))
            continue;
        if (CONTROL_ANSWER - unread(vm_control(vm)) < size)
            line->lost++;
        else
            control_send(vm, text);
    }
}

void control_reset(const struct vm *vm) { *line_of(vm) = (struct line){0}; }
