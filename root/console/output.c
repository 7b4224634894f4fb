/* Fairness: of each ring a little in turn, so no VM can keep the others from being heard. */
#include <root/console/output.h>
#include <root/console/uart.h>
#include <lib/bell.h>
#include <lib/ring.h>

#define CHUNK  64u
#define ROUNDS 16u /* chunks of a VM in one turn            */
/* Space that a chunk may need: 64 empty lines, each with its speaker, and what is typed below them;
 * and UART_SAY for root itself. Bytes. */
#define NEEDED   (CHUNK * 144u + UART_SAY)
#define HEAR_US  50u  /* of a turn */
#define PAUSE_MS 400u /* then an unfinished line is shown; a guest writes faster */

static uint32_t unheard(const struct vm *vm)
{
    const struct vm_control *c = vm_control(vm);
    return c->out_head - c->out_tail;
}

/* For VMs that may read its console. */
static void keep(struct vm *vm, const char *bytes, uint32_t n)
{
    char *log = vm_piece(vm, PIECE_LOG);
    for (uint32_t i = 0; i < n && vm->plan->console; i++)
        log[vm->logged++ % CONSOLE_LOG] = bytes[i];
}

/* Take one chunk of a VM's output; false: there is none.

   Lost wake-up: a VMM that finds its ring full sleeps until root rings. From then on nobody fills
   the ring, so root's reads take it across the half once, and the chunk that does so rings. A VMM
   that is not asleep looks once more for nothing. */
static bool hear(struct vm *vm, bool raw)
{
    char bytes[CHUNK];
    struct vm_control *c = vm_control(vm);
    uint32_t before = unheard(vm);
    uint32_t n = ring_read(c->out, CONSOLE_OUT, &c->out_head, &c->out_tail, bytes, sizeof(bytes));
    if (n == 0)
        return false;
    keep(vm, bytes, n);
    if (raw)
        console_raw(bytes, n);
    else
        console_hear(vm->plan->name, &vm->line, bytes, n);
    if (before >= CONSOLE_OUT / 2 && before - n < CONSOLE_OUT / 2)
        bell_ring(vm_slot(vm, VM_BELL));
    return true;
}

/* May the VM's output be taken? While a VM is in focus, only its own; and that of a VM that has
 * ended, whose next life waits for it. */
static bool may_speak(const struct vm *vm, const struct vm *focus)
{
    return vm->life == LIFE_ENDING || ((!focus || vm == focus) && vm_lives(vm));
}

bool output_turn(const struct vm *focus)
{
    static uint32_t turn;
    uint64_t until = tsc() + clock_ticks(HEAR_US) / 1000;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bool any = false;
        for (uint32_t i = 0; i < machine.vms; i++) {
            struct vm *vm = &machine.vm[turn % machine.vms];
            if (uart_space() < NEEDED || tsc() >= until)
                return true;
            any |= may_speak(vm, focus) && hear(vm, vm == focus);
            turn++;
        }
        if (!any)
            return false;
    }
    return true;
}

uint32_t output_type(const struct vm *vm, const char *bytes, uint32_t n)
{
    struct vm_control *c = vm_control(vm);
    if (vm->life != LIFE_STARTING && vm->life != LIFE_RUNNING)
        return 0;
    n = ring_write(c->in, CONSOLE_IN, &c->in_head, &c->in_tail, bytes, n);
    bell_ring(vm_slot(vm, VM_BELL));
    return n;
}

bool output_done(const struct vm *vm) { return unheard(vm) == 0; }

void output_flush(uint64_t now, const struct vm *focus)
{
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (vm != focus && vm->line.used && now >= vm->line.changed + clock_ticks(PAUSE_MS))
            console_flush(vm->plan->name, &vm->line);
}
