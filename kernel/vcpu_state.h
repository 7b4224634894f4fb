/* A vCPU's state as its VMM sees it: of a sealed guest, the operands of an instruction. Own core.
 */
#ifndef KERNEL_VCPU_STATE_H
#define KERNEL_VCPU_STATE_H

#include <apic.h>

/*
 * A sealed guest's VMM is a doorman. It sees what an instruction gives to the platform, says what
 * the instruction gets, or that it faults, and has no other hand in the registers: who has those
 * has the memory, by any load or store that the guest's own code holds. How a vCPU starts is said
 * by the portal that was there before the VMM.
 */
enum { A = 1, C = 2, D = 4 }; /* rax, rcx, rdx */

static const struct operands {
    uint8_t gives[2], gets[2]; /* of what reads, of what writes */
    uint64_t raises;           /* the fault of the instruction, as exit_state.inject */
} operands[EVENT_COUNT] = {
    [EVENT_PORT] = {{0, A}, {A, 0}, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13},
    [EVENT_MSR] = {{C, A | C | D}, {A | D, 0}, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13},
    [EVENT_VMCALL] = {{0, 0}, {A, A}, 0},
    [EVENT_OPCODE] = {{0, 0}, {0, 0}, INJECT_VALID | INJECT_EXCEPTION | 6},
};

/* INS and OUTS have their operand in memory. */
static unsigned operand(const uint8_t by_flags[2], const struct exit_info *i)
{
    bool writes = (i->flags & EXIT_WRITE) != 0;
    return i->flags & EXIT_STRING ? 0 : by_flags[writes];
}

/* The bits of a register that are an operand. */
static uint64_t operand_bits(const struct ec *ec, const struct exit_info *i)
{
    if (ec->event == EVENT_VMCALL)
        return ~0ull;
    return ec->event == EVENT_PORT && i->size < 4 ? (1u << 8 * i->size) - 1 : 0xffffffff;
}

static bool names_efer(const struct ec *ec, const struct exit_info *i)
{
    return ec->event == EVENT_MSR && i->number == MSR_EFER;
}

static RARE void store_sealed(struct ec *ec, struct exit_state *x)
{
    struct exit_info *i = &x->info;
    *x = (struct exit_state){0};
    if (ec->event == EVENT_START || ec->event == EVENT_RECALL)
        return;
    guest_info(ec, ec->event, i);
    unsigned given = operand(operands[ec->event].gives, i);
    uint64_t bits = operand_bits(ec, i);
    x->efer = names_efer(ec, i) ? guest_efer(ec) : 0;
    x->rax = given & A ? *guest_rax(ec, guest_control(ec)) & bits : 0;
    x->rcx = given & C ? ec->regs.rcx & bits : 0;
    x->rdx = given & D ? ec->regs.rdx & bits : 0;
}

static inline void guest_show(struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    if (ec->pd->sealed)
        store_sealed(ec, x);
    else
        guest_store(ec, x, mtd);
}

/* A write has only the value that the guest wrote. */
static void finish_msr_write(struct ec *ec, const struct exit_info *i, uint64_t mtd)
{
    uint64_t value = ec->regs.rdx << 32 | (uint32_t)*guest_rax(ec, guest_control(ec));
    if (mtd & MTD_APIC && ec->core_mode)
        apic_write_for_guest(i->number - MSR_X2APIC(0), value);
    if (names_efer(ec, i))
        guest_write_efer(ec, value);
}

static void finish_instruction(struct ec *ec, const struct exit_info *i, const struct exit_state *x,
                               uint64_t mtd)
{
    unsigned got = operand(operands[ec->event].gets, i);
    uint64_t *rax = guest_rax(ec, guest_control(ec)), bits = operand_bits(ec, i);
    if (ec->event == EVENT_MSR && i->flags & EXIT_WRITE)
        finish_msr_write(ec, i, mtd);
    if (got & A) /* 32 bits clear the upper half (APM1 3.1.2) */
        *rax = (x->rax & bits) | (bits < 0xffffffff ? *rax & ~bits : 0);
    if (got & D)
        ec->regs.rdx = x->rdx & bits;
    guest_skip(guest_control(ec));
}

/* Is there one that its VMM may say is done? */
static bool is_instruction(const struct ec *ec, const struct exit_info *i)
{
    return vcpu_is_instruction(ec) && !(i->flags & EXIT_STRING);
}

static RARE uint64_t load_sealed(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    if (ec->event == EVENT_START) {
        ec->waits = (mtd & MTD_HALT) != 0;
        return guest_load(ec, x, mtd);
    }
    struct exit_info info;
    guest_info(ec, ec->event, &info);
    uint64_t raises =
        ec->event == EVENT_EXCEPTION ? exit_exception(&info) : operands[ec->event].raises;
    if (ec->waits) { /* for a start-up IPI: the rest of real mode is there since EVENT_START */
        if (!(mtd & MTD_SEGS) || !ec->pd->sipi)
            return mtd | MTD_HALT;
        guest_start_at(ec, (uint8_t)ec->pd->sipi);
        ec->waits = 0;
    } else if (mtd & MTD_INJECT && raises && once(x->inject) == raises) {
        guest_inject(guest_control(ec), raises);
    } else if (mtd & MTD_RIP && is_instruction(ec, &info)) {
        finish_instruction(ec, &info, x, mtd);
    }
    return mtd;
}

static inline uint64_t guest_take(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    return ec->pd->sealed ? load_sealed(ec, x, mtd) : guest_load(ec, x, mtd);
}

#endif
