/*
 * Control pages as root reads them: the input is what two hostile VMMs, and an
 * installed system, write there, and when root looks. No line of the console is another's than its
 * speaker's, root's own records have one form whatever a VMM says, and each turn
 * ends. A control line of `own` says and does nothing about the other VM.
 */
#include "fuzz.h"
#include <root/console/command.h>
#include <root/console/control.h>
#include <root/console/output.h>
#include <root/console/report.h>
#include <root/console/uart.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/life.h>
#include <root/vm/seal.h>
#include <root/vm/store.h>
#include <lib/string.h>

#include <stdlib.h>
#include <sys/mman.h>

#define VMS       2u
#define PAGES     (VMS + 1) /* the installed system's, too */
#define SAID      0x20000u
#define MILLI     1000000ull /* ticks */
#define TURN_PUTS 100000u    /* calls of uart_put in a turn, far more than there can be */

uint64_t fuzz_now;
struct machine machine;
static struct plan_vm plans[PAGES] = {
    {.name = "evil", .vcpus = 1, .on_exit = EXIT_RESTART, .control = CONTROL_OWN},
    {.name = "worse", .vcpus = 1, .control = CONTROL_ALL},
    {.name = "host", .mode = MODE_HOST, .control = CONTROL_ALL}};
static uint8_t *store[PAGES];
static char said[SAID + 1];
static uint32_t said_size, puts_left;
static bool build_fails, has_left;
static struct vcpu_stat ended;
static bool faults;

void fuzz_begin(void)
{
    for (uint32_t i = 0; i < PAGES; i++)
        store[i] = malloc(sizeof(struct vm_control) + CONSOLE_LOG);
    void *stat = mmap((void *)ROOT_STAT, sizeof(struct kernel_stat), PROT_READ,
                      MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fuzz_must(stat == (void *)ROOT_STAT, "the kernel's counters are where root has them");
}

/* ---- the rest of root ------------------------------------------------------- */
void uart_put(const char *bytes, uint32_t n)
{
    fuzz_must(puts_left-- > 0, "a turn ends");
    n = n < SAID - said_size ? n : SAID - said_size;
    memcpy(said + said_size, bytes, n);
    said_size += n;
}
uint32_t uart_space(void) { return 65536; }
void uart_finish(void) {}
uint64_t clock_ticks(uint64_t ms) { return ms * MILLI; }
bool store_copy_files(struct vm *vm) { return vm->life == LIFE_COPYING; }
void store_lost(const struct vm *vm, uint64_t *sent, uint64_t *received)
{
    *sent = *received = vm->index;
}
bool seal_turn(struct vm *vm) { return vm; }
bool device_ready(const struct vm *vm) { return vm->plan; }
void device_tell(const struct vm *vm) { (void)vm; }
bool device_stop(const struct vm *vm) { return vm->plan; }
uint64_t vm_build(struct vm *vm)
{
    memset(store[vm->index], 0, sizeof(struct vm_control));
    vm->failed = build_fails ? "a step" : NULL;
    vm->failed_status = build_fails ? NO_MEMORY : OK;
    return vm->failed_status;
}
uint64_t vm_run(struct vm *vm) { return vm->failed_status; }
void vm_destroy(struct vm *vm) { (void)vm; }
void vm_drop_vmm(struct vm *vm) { (void)vm; }
void vm_count(const struct vm *vm, struct end *sums)
{
    (void)vm;
    memset(sums->exits, 1, sizeof(sums->exits));
    sums->left = 1;
}
void command_set_focus(struct vm *vm) { fuzz_must(!vm, "the focus is the operator's"); }
struct vm *create_vm(const struct vm *by, const char **wrong)
{
    (void)by;
    *wrong = "words";
    return NULL;
}
const char *create_refuses(const struct vm *vm) { return vm->index ? "words" : NULL; }
void create_destroy(struct vm *vm)
{
    fuzz_must(vm->index == 0, "what root refuses is not destroyed");
}
uint32_t plan_next(void) { return VMS; }
uint64_t vm_disengage(struct vm *vm) { return vm->index ? BUSY : OK; }
bool vm_has_left(const struct vm *vm) { return vm && has_left; }
const struct vcpu_stat *vm_ended(const struct vm *vm)
{
    return vm->life >= LIFE_LEAVING && ended.end_event ? &ended : NULL;
}
bool fault_seen(uint32_t domain, struct fault *f)
{
    *f = (struct fault){14, 2, 3, 4};
    return domain == 0 && faults;
}

/* ---- what root says --------------------------------------------------------- */
/* A record of root's about a VM: the message is quoted, and nothing follows it. */
static void check_record(const char *line, const char *end)
{
    const char *message = strstr(line, " message=\"");
    if (!message || message > end)
        return;
    fuzz_must(end[-1] == '"', "a record ends with its message");
    for (const char *c = message + 10; c < end - 1; c++)
        fuzz_must(*c != '"' && *c != '\\', "a message does not end its own quotes");
}

static bool starts(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

static void check_said(void)
{
    said[said_size] = 0;
    for (char *line = said, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            end = line + strlen(line);
        for (const char *c = line; c < end; c++)
            fuzz_must((*c >= ' ' && *c < 0x7f) || *c == '\t', "the console is printable text");
        bool own = starts(line, "hairline| vm name=") || starts(line, "hairline| # name") ||
                   starts(line, "hairline| 1 ") || starts(line, "hairline| 2 ");
        fuzz_must(own || starts(line, "evil| ") || starts(line, "worse| "),
                  "a line begins with its speaker");
        if (own)
            check_record(line, end);
        if (!*end)
            break;
    }
    said_size = 0;
}

/* ---- what VMMs do ------------------------------------------------------------ */
static void begin(void)
{
    static const struct plan none;
    static const struct boot_info info = {.flags = BOOT_HOST};
    memset(&machine, 0, sizeof(machine));
    machine.info = &info;
    machine.plan = &none;
    machine.vms = VMS;
    machine.clock.tsc_hz = 1000 * MILLI;
    fuzz_now = 1000 * MILLI;
    plans[0].mode = MODE_SHARED;
    plans[1].control = plans[VMS].control = CONTROL_ALL;
    plans[0].console = plans[1].console = CONSOLE_SHOWN;
    build_fails = has_left = faults = false;
    memset(&ended, 0, sizeof(ended));
    for (uint32_t i = 0; i < PAGES; i++) {
        memset(store[i], 0, sizeof(struct vm_control));
        machine.vm[i] = (struct vm){.plan = &plans[i],
                                    .index = i,
                                    .store.base = (uintptr_t)store[i] - ROOT_PHYS,
                                    .offset[PIECE_LOG] = sizeof(struct vm_control)};
        if (i < VMS)
            life_start(&machine.vm[i]);
    }
    machine.vm[VMS].life = LIFE_RUNNING;
    control_reset(&machine.vm[VMS]);
}

/* A request, or a part of one, in the ring of the control line. */
static void ask(struct feed *f, struct vm_control *c)
{
    static const char *const words[] = {
        "machine",     "vm ",   "start ",     "stop ",        "restart ", "events on",
        "events off",  "sync ", "vm worse\n", "stop worse\n", "\n",       "evil",
        "#2",          "#1\n",  "ask ",       "worse",        "create\n", "destroy ",
        "focus ",      "log ",  "log evil ",  "4294967297",   "type ",    "type evil 410d",
        "type worse ", "0f"};
    const char *word = words[feed_8(f) % (sizeof(words) / sizeof(words[0]))];
    char noise[8];
    feed_bytes(f, noise, sizeof(noise));
    for (; *word; word++)
        c->ask[c->ask_head++ % CONTROL_ASK] = *word;
    for (uint32_t i = 0; i < (uint8_t)noise[0] % 8u; i++)
        c->ask[c->ask_head++ % CONTROL_ASK] = noise[i];
}

/* Root serves the control lines. */
static void serve(void)
{
    const struct vm_control *c = (const void *)store[0];
    uint32_t from = c->answer_head;
    enum life before = machine.vm[1].life;
    uint32_t typed[VMS];
    for (uint32_t i = 0; i < VMS; i++)
        typed[i] = ((const struct vm_control *)(const void *)store[i])->in_head;
    control_turn();
    for (uint32_t i = 0; i < VMS; i++)
        fuzz_must(plans[i].console == CONSOLE_OPEN ||
                      typed[i] == ((const struct vm_control *)(const void *)store[i])->in_head,
                  "nothing is typed on a console that is not open");
    fuzz_must(plans[1].control || plans[VMS].control || machine.vm[1].life == before,
              "a line of `own` ends no other VM");
    for (uint32_t i = from; i != c->answer_head; i++) {
        const char *at = &c->answer[i % CONTROL_ANSWER];
        fuzz_must(*at == '\n' || (*at >= ' ' && *at < 0x7f), "an answer is printable text");
        fuzz_must(i % CONTROL_ANSWER > CONTROL_ANSWER - 10 || !starts(at, "name=worse"),
                  "and of no other VM");
        fuzz_must(i % CONTROL_ANSWER > CONTROL_ANSWER - 4 || !starts(at, "hex=") ||
                      plans[0].console,
                  "a private console is not read");
    }
}

static void write_control(struct feed *f, uint32_t who)
{
    struct vm_control *c = (void *)store[who];
    uint8_t what = feed_8(f);
    uint32_t at = c->out_head % CONSOLE_OUT, n = feed_8(f);
    switch (what % 10) {
    case 8:
    case 9: ask(f, c); break;
    case 0: c->state = what & 0x80 ? feed_32(f) : what >> 4 & 3; break;
    case 1: c->reason = feed_8(f) & 1 ? what >> 4 : (uint32_t)feed_value(f); break;
    case 2: c->out_head = (uint32_t)feed_value(f); break;
    case 3: c->leave = 1; break;
    case 4: feed_bytes(f, c->message, sizeof(c->message)); break;
    case 5: store[who][feed_32(f) % sizeof(*c)] = (uint8_t)n; break;
    default: /* it says something */
        n = n < CONSOLE_OUT - at ? n : CONSOLE_OUT - at;
        feed_bytes(f, c->out + at, n);
        c->out_head += n;
    }
}

static void look(struct feed *f)
{
    uint8_t what = feed_8(f);
    puts_left = TURN_PUTS;
    fuzz_now += MILLI << what % 16;
    machine.turn_began = fuzz_now;
    machine.heavy = false;
    output_turn(NULL);
    serve();
    life_turn(fuzz_now);
    output_flush(fuzz_now, NULL);
    if (what & 0x40)
        report_list();
}

/* Any record, but with a size of an access that the kernel tells. */
static void how_it_ended(struct feed *f)
{
    feed_bytes(f, &ended.end_event,
               sizeof(ended) - __builtin_offsetof(struct vcpu_stat, end_event));
    ended.end_info.size = (uint8_t)(1 << ended.end_info.size % 3);
}

static void happens(struct feed *f)
{
    uint8_t what = feed_8(f);
    switch (what % 8) {
    case 5:
        plans[1].control = what & 0x80 ? CONTROL_ALL : CONTROL_NONE;
        plans[VMS].control = what & 0x10 ? CONTROL_ALL : CONTROL_NONE;
        plans[what >> 6 & 1].console = what & 0xf ? what % 3 : CONSOLE_PRIVATE;
        break;
    case 6: ((struct vm_control *)(void *)store[what >> 7])->answer_tail += what & 0x70; break;
    case 0: life_stop(&machine.vm[what >> 7], what & 0x40); break;
    case 1: build_fails = what & 0x80; break;
    case 2: has_left = what & 0x80; break;
    case 3: faults = what & 0x80; break;
    case 4: plans[0].mode = what & 0x80 ? MODE_DEDICATED : MODE_SHARED; break;
    default: how_it_ended(f);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    begin();
    while (f.left) {
        uint8_t what = feed_8(&f);
        puts_left = TURN_PUTS;
        if (what < 128)
            write_control(&f, what % PAGES);
        else if (what < 224)
            look(&f);
        else
            happens(&f);
        check_said();
    }
}
