/* The VMs' console rings, a little of each in turn: none can keep the others from being heard. */
#include <root/uart.h>
#include <root/vm.h>
#include <lib/call.h>
#include <lib/ring.h>

#define CHUNK  64u
#define ROUNDS 16u /* chunks of a VM in one turn            */
/* What a chunk of empty lines can become, each with a speaker, and what is typed below it; and room for root. */
#define NEEDED   (CHUNK * 144u + UART_SAY)
#define HEAR_US  50u /* of a turn */
#define PAUSE_MS 100u

static uint32_t unheard(const struct vm *vm)
{
    const struct vm_control *c = vm_control(vm);
    return c->out_head - c->out_tail;
}

/* One chunk, if there is one. A VMM that waits because its ring was full is woken once, when half of it is free:
   a ring that was full once stays at least half full until we take the chunk that makes it less. */
static bool hear(struct vm *vm, bool raw)
{
    char bytes[CHUNK];
    struct vm_control *c = vm_control(vm);
    uint32_t before = unheard(vm);
    uint32_t n = ring_read(c->out, CONSOLE_OUT, &c->out_head, &c->out_tail, bytes, sizeof(bytes));
    if (n == 0)
        return false;
    if (raw)
        console_raw(bytes, n);
    else
        console_hear(vm->plan->name, &vm->line, bytes, n);
    if (before >= CONSOLE_OUT / 2 && before - n < CONSOLE_OUT / 2)
        sm_up(vm_slot(vm, VM_BELL));
    return true;
}

/* In focus the others are held back, but an ended VM must get rid of its last words. */
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

bool output_done(const struct vm *vm) { return unheard(vm) == 0; }

void output_flush(uint64_t now, const struct vm *focus)
{
    for (struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (vm != focus && vm->line.used && now >= vm->line.changed + clock_ticks(PAUSE_MS))
            console_flush(vm->plan->name, &vm->line);
}
