/*
 * The stand-in for a processor that Hairline keeps. The firmware knows that processor, and waits
 * for it when the system that it started takes over the machine (UEFI's MP services move all
 * processors to memory that stays). So it goes on as a vCPU that shares core 0, with a local APIC
 * that has nothing but an ID: the kernel carries out INIT and start-up IPIs, and here is the rest.
 * The system itself is not told of the processor (hide.c).
 */
#include <root/host/host.h>
#include <root/vm/fault.h>
#include <abi/image.h>
#include <lib/string.h>

#define MSR_EFER      0xc0000080u
#define MSR_APIC_BASE 0x1bu
#define MSR_APIC_ID   0x802u
#define APIC_ON       0xfee00c00ull /* at its place, in x2APIC mode */
#define NAP_MS        5u
#define SEEN          (MTD_ACDB | MTD_RIP | MTD_INFO)

static const struct boot_cpu *state[MAX_CORES];

static uint64_t on_msr(uint32_t i, struct exit_state *x)
{
    uint64_t value = x->info.number == MSR_APIC_BASE ? APIC_ON : 0;
    x->rip = x->next_rip;
    if (!(x->info.flags & EXIT_READ)) {
        x->efer = x->rdx << 32 | (uint32_t)x->rax;
        return x->info.number == MSR_EFER ? MTD_RIP | MTD_EFER : MTD_RIP;
    }
    if (x->info.number == MSR_APIC_ID)
        value = state[i]->apic_id;
    x->rax = (uint32_t)value;
    x->rdx = value >> 32;
    return MTD_RIP | MTD_ACDB;
}

static uint64_t on_port(struct exit_state *x)
{
    x->rip = x->next_rip;
    if (x->info.flags & EXIT_READ)
        x->rax |= 0xffffffffu >> (32 - 8 * x->info.size);
    return MTD_RIP | MTD_ACDB;
}

/* Firmware's processors may wait by MONITOR and MWAIT, too: then for memory that others write,
   which is looked at again and again. */
static uint64_t nap(struct exit_state *x)
{
    x->rip = x->next_rip;
    x->deadline = tsc() + clock_ticks(NAP_MS);
    return x->rip ? MTD_RIP | MTD_HALT | MTD_TIMER : MTD_HALT;
}

/* Any event of ghost `id` >> 8, on its time. What no firmware's waiting loop does halts it: INIT
   and a start-up IPI bring it back. */
static void __attribute__((noreturn)) serve(uint64_t id, struct utcb *u)
{
    struct exit_state *x = &u->exit;
    uint32_t i = (uint32_t)(id >> 8);
    switch (id & 0xff) {
    case EVENT_START:
        memcpy(x, &state[i]->state, sizeof(*x));
        u->mtd = HOST_STATE;
        break;
    case EVENT_RECALL: u->mtd = 0; break;
    case EVENT_MSR: u->mtd = on_msr(i, x); break;
    case EVENT_PORT: u->mtd = on_port(x); break;
    case EVENT_HLT:
        x->rip = x->next_rip;
        x->deadline = 0;
        u->mtd = MTD_RIP | MTD_HALT | MTD_TIMER;
        break;
    case EVENT_OPCODE: u->mtd = nap(x); break;
    default: u->mtd = MTD_HALT;
    }
    pt_reply(0);
}

uint64_t ghost_start(uint32_t i, const struct boot_cpu *cpu, uint64_t pd)
{
    uint64_t status = fault_prepare(FAULT_GHOST + i, 1);
    state[i] = cpu;
    for (uint32_t event = 0; event < EVENT_COUNT && status == OK; event++)
        status = fault_serve_on(FAULT_GHOST + i, 0, pd, serve, GUEST_EVENTS(i) + event, SEEN,
                                (uint64_t)i << 8 | event);
    return status;
}
