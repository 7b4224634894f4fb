/* The VMM of a sealed guest: what it sees at an event, and what of its answer counts. */
#include "rig_vcpu.h"
#include <icr.h>

enum {
    ALL = MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_INFO | MTD_INJECT | MTD_TIMER |
          MTD_CONTROL | MTD_SEGS | MTD_SYSCALL | MTD_EFER | MTD_APIC | MTD_TSC | MTD_CR8,
    EFER = 0xc0000080,
};
#define FAULT(vector) (INJECT_VALID | INJECT_EXCEPTION | (vector))
#define GP            (INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13)
#define UD            FAULT(6)
#define AC            (FAULT(17) | INJECT_ERROR)

/* Registers of the guest, all different; the upper halves are nobody's business. */
#define RAX 0xa1a2a3a4a5a6a7a8ull
#define RCX 0xc1c2c3c4c5c6c7c8ull
#define RDX 0xd1d2d3d4d5d6d7d8ull
#define OWN 0x1234567890abcdefull /* what the VMM would like there */

static const struct row {
    uint64_t code, info1, rcx;
    struct exit_info info;        /* what it sees, */
    uint64_t rax, shown_rcx, rdx; /* and of registers */
    uint64_t rax_after, rdx_after;
    uint64_t raises;
    bool goes_on; /* the instruction can be finished */
} rows[] = {
#define PORT(bytes, flags)                                                                         \
    {                                                                                              \
        0x3f8, 0, bytes, flags, {0}, 0                                                             \
    }
#define MSR(flags)                                                                                 \
    {                                                                                              \
        (uint32_t) RCX, 0, 0, flags, {0}, 0                                                        \
    }
#define RAISED(vector, flags)                                                                      \
    {                                                                                              \
        vector, 0, 0, flags, {0}, 0                                                                \
    }
#define MEMORY                                                                                     \
    {                                                                                              \
        0, 0, 0, EXIT_READ, {0}, 0xbeef                                                            \
    }
#define NOTHING                                                                                    \
    {                                                                                              \
        0                                                                                          \
    }
    {EXIT_PORT, 0x3f80010, RCX, PORT(1, EXIT_WRITE), 0xa8, 0, 0, RAX, RDX, GP, true},
    {EXIT_PORT, 0x3f80040, RCX, PORT(4, EXIT_WRITE), 0xa5a6a7a8, 0, 0, RAX, RDX, GP, true},
    {EXIT_PORT, 0x3f80011, RCX, PORT(1, EXIT_READ), 0, 0, 0, (RAX & ~0xffull) | 0xef, RDX, GP,
     true},
    {EXIT_PORT, 0x3f80021, RCX, PORT(2, EXIT_READ), 0, 0, 0, (RAX & ~0xffffull) | 0xcdef, RDX, GP,
     true},
    {EXIT_PORT, 0x3f80041, RCX, PORT(4, EXIT_READ), 0, 0, 0, 0x90abcdef, RDX, GP,
     true}, /* the upper half becomes 0 */
    {EXIT_PORT, 0x3f80014, RCX, PORT(1, EXIT_WRITE | EXIT_STRING), 0, 0, 0, RAX, RDX, GP,
     false}, /* OUTS: memory */
    {EXIT_PORT, 0x3f80015, RCX, PORT(1, EXIT_READ | EXIT_STRING), 0, 0, 0, RAX, RDX, GP,
     false}, /* INS */
    {EXIT_MSR, 0, RCX, MSR(EXIT_READ), 0, 0xc5c6c7c8, 0, 0x90abcdef, 0x90abcdef, GP, true},
    {EXIT_MSR, 1, RCX, MSR(EXIT_WRITE), 0xa5a6a7a8, 0xc5c6c7c8, 0xd5d6d7d8, RAX, RDX, GP, true},
    {EXIT_VMMCALL, 0, RCX, NOTHING, 0, 0, 0, OWN, RDX, 0, true}, /* only an answer */
    {EXIT_XSETBV, 0, RCX, NOTHING, 0, 0, 0, RAX, RDX, 0,
     true}, /* of a shared core: it has no effect */
    {EXIT_HLT, 0, RCX, NOTHING, 0, 0, 0, RAX, RDX, 0, true}, /* nothing */
    {0x76, 0, RCX, NOTHING, 0, 0, 0, RAX, RDX, UD, false},   /* INVD */
    {EXIT_EXCEPTION + 1, 0, RCX, RAISED(1, 0), 0, 0, 0, RAX, RDX, FAULT(1), false},
    {EXIT_EXCEPTION + 17, 0, RCX, RAISED(17, EXIT_ERROR), 0, 0, 0, RAX, RDX, AC, false},
    {EXIT_EXCEPTION + 18, 0, RCX, RAISED(18, 0), 0, 0, 0, RAX, RDX, FAULT(18), false},
    {EXIT_SHUTDOWN, 0, RCX, NOTHING, 0, 0, 0, RAX, RDX, 0, false},
    {EXIT_NPF, 5, RCX, MEMORY, 0, 0, 0, RAX, RDX, 0, false},
};

static void start_sealed(void)
{
    start_vcpu(ALL);
    ((struct pd *)object_at(guest_pd))->sealed = 1;
    x->rip = 0x7000;
    answer(MTD_RIP); /* the state at the start is taken */
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->rip, 0x7000);
}

static void exits(const struct row *r)
{
    vmcb->rax = RAX;
    vcpu->regs.rcx = r->rcx, vcpu->regs.rdx = RDX, vcpu->regs.rbx = 0xb0b0, vcpu->regs.rsi = 0x5151;
    vmcb->rip = 0x7000, vmcb->cr3 = 0x9000, vmcb->rsp = 0x8888, vmcb->inject = 0;
    vmcb->info1 = r->info1, vmcb->info2 = r->code == EXIT_PORT ? 0x7002 : 0xbeef;
    vmcb->shadow = 1, vmcb->rflags = RFLAGS_FIXED;
    machine.wild_next_rip = 0x7002;
    vm_exit(vcpu, r->code);
    assert_ptr_equal(current(), handler);
}

/* Whatever the VMM would like: gadgets, tables, modes, other events. */
static void demand_all(void)
{
    uint64_t *word = (uint64_t *)x;
    for (unsigned i = 0; i < sizeof *x / 8; i++)
        word[i] = OWN;
    x->inject = INJECT_VALID | INJECT_EXCEPTION | 14;
}

static void sees_operands(void **state)
{
    (void)state;
    start_sealed();
    for (unsigned i = 0; i < COUNT(rows); i++) {
        const struct row *r = &rows[i];
        exits(r);
        const struct exit_state want = {
            .rax = r->rax, .rcx = r->shown_rcx, .rdx = r->rdx, .info = r->info};
        assert_memory_equal(x, &want, sizeof want);
        answer(0);
    }
}

static void sets_results(void **state)
{
    (void)state;
    start_sealed();
    for (unsigned i = 0; i < COUNT(rows); i++) {
        const struct row *r = &rows[i];
        exits(r);
        struct vmcb before = *vmcb;
        struct regs regs = vcpu->regs;
        demand_all();
        answer(ALL);
        before.rax = r->rax_after;
        regs.rdx = r->rdx_after;
        if (r->goes_on)
            before.rip = vmcb->next_rip, before.shadow = 0;
        assert_memory_equal(vmcb, &before, sizeof before);
        assert_memory_equal(&vcpu->regs, &regs, sizeof regs);
        assert_true(!r->goes_on || (vmcb->rip > 0x7000 && vmcb->rip < 0x7004));
        assert_int_equal(vmcb->rip != 0x7000, r->goes_on);
    }
}

/* A guest that steps has the trap behind what was finished, and behind nothing else. */
static void a_finished_instruction_is_a_step(void **state)
{
    (void)state;
    start_sealed();
    for (unsigned i = 0; i < COUNT(rows); i++) {
        exits(&rows[i]);
        vmcb->rflags = RFLAGS_FIXED | RFLAGS_TF;
        demand_all();
        answer(ALL);
        assert_int_equal(vmcb->inject, rows[i].goes_on ? FAULT(1) : 0);
        exits(&rows[i]);
        answer(0);
        assert_int_equal(vmcb->inject, 0);
    }
}

static void raises_what_the_exit_raised(void **state)
{
    (void)state;
    start_sealed();
    for (unsigned i = 0; i < COUNT(rows); i++) {
        const struct row *r = &rows[i];
        for (uint64_t vector = 0; vector < 1024; vector++) { /* with and without an error code */
            exits(r);
            uint64_t inject = INJECT_VALID | INJECT_EXCEPTION | (vector & 0xff) |
                              (vector & 256 ? INJECT_ERROR : 0) | (vector & 512 ? 1ull << 32 : 0);
            demand_all();
            x->inject = inject;
            answer(MTD_INJECT);
            bool own =
                r->raises &&
                inject == (r->code == EXIT_EXCEPTION + 17 ? r->raises | r->info1 << 32 : r->raises);
            assert_int_equal(vmcb->inject, own ? inject : 0);
            assert_int_equal(vmcb->rip, 0x7000);
        }
        exits(r);
        x->inject = INJECT_VALID | INJECT_NMI | 2;
        answer(MTD_INJECT);
        assert_int_equal(vmcb->inject, 0);
    }
}

/* EFER is set to what the guest wrote, or not at all; LMA and SVME are as they are. */
static void efer_is_what_was_written(void **state)
{
    (void)state;
    start_sealed();
    vmcb->efer = EFER_SVME | EFER_LMA | EFER_LME;
    exits(&(struct row){.code = EXIT_MSR, .info1 = 1, .rcx = EFER});
    assert_int_equal(x->efer, EFER_LMA | EFER_LME);
    vmcb->rax = EFER_LME | EFER_NXE | EFER_SCE, vcpu->regs.rdx = 0;
    demand_all();
    answer(ALL);
    assert_int_equal(vmcb->efer, EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE);
    exits(&(struct row){.code = EXIT_MSR, .info1 = 1, .rcx = EFER});
    x->inject = GP;
    answer(MTD_INJECT | MTD_EFER);
    assert_int_equal(vmcb->efer, EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE);
}

static void a_recall_shows_and_takes_nothing(void **state)
{
    (void)state;
    start_sealed();
    exits(&(struct row){
        .code = EXIT_MSR, .info1 = 1, .rcx = RCX}); /* an exit whose traces are still there */
    answer(MTD_RIP);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    deliver();
    machine.core->attention = 1;
    settle();
    assert_event(EVENT_RECALL);
    static const struct exit_state nothing;
    assert_memory_equal(x, &nothing, sizeof nothing);
    struct vmcb before = *vmcb;
    struct regs regs = vcpu->regs;
    demand_all();
    answer(ALL);
    assert_memory_equal(vmcb, &before, sizeof before);
    assert_memory_equal(&vcpu->regs, &regs, sizeof regs);
}

/* A processor that waits begins where its guest said, when the guest said it, and not otherwise. */
static void a_start_is_where_the_guest_said(void **state)
{
    (void)state;
    start_vcpu(ALL);
    struct pd *pd = object_at(guest_pd);
    pd->sealed = 1;
    answer(MTD_HALT);
    assert_null(current());
    static const uint64_t answers[] = {0, MTD_SEGS, ALL, MTD_RIP | MTD_INJECT};
    for (unsigned i = 0; i < COUNT(answers); i++) { /* nobody asked yet */
        assert_int_equal(ec_recall(root, vcpu_slot), OK);
        settle();
        assert_event(EVENT_RECALL);
        demand_all();
        answer(answers[i] & ~(uint64_t)MTD_HALT);
        assert_null(current());
        assert_int_equal(vcpu->state, STATE_HALTED);
    }
    icr_write(vcpu, 6 << 8 | 0x9a);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(ec_recall(root, vcpu_slot), OK);
        settle();
        assert_event(EVENT_RECALL);
        demand_all();
        answer(i < 2 ? MTD_RIP : ALL & ~(uint64_t)MTD_HALT);
        assert_true(i < 2 ? !current() : current() == vcpu);
    }
    assert_int_equal(vmcb->seg[SEG_CS].selector, 0x9a00);
    assert_int_equal(vmcb->seg[SEG_CS].base, 0x9a000);
    assert_int_equal(vmcb->rip, 0);
    assert_int_equal(vmcb->cr3, 0);
    assert_int_equal(ec_recall(root, vcpu_slot), OK); /* it runs: no second time */
    machine.core->attention = 1;
    settle();
    assert_event(EVENT_RECALL);
    icr_write(vcpu, 6 << 8 | 0x55);
    answer(MTD_SEGS);
    assert_int_equal(vmcb->seg[SEG_CS].selector, 0x9a00);
}

/* A recall before the first state does not let it run either. */
static void a_recall_before_the_start_starts_nothing(void **state)
{
    (void)state;
    start_vcpu(ALL);
    ((struct pd *)object_at(guest_pd))->sealed = 1;
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    answer(MTD_HALT);
    assert_event(EVENT_RECALL);
    answer(MTD_SEGS);
    assert_null(current());
    assert_int_equal(vcpu->state, STATE_HALTED);
}

/* Who was there first stays: no portal of its table is taken out, and no vCPU comes in. */
static void its_domain_is_closed(void **state)
{
    (void)state;
    start_sealed();
    assert_int_equal(
        graph(CALL_REVOKE, guest_pd | (uint64_t)(EVENTS + EVENT_START) << 16, 0, 0, 0, 0),
        bad(BUSY, 1));
    assert_int_equal(graph(CALL_EC_CREATE, slot_new() | guest_pd << 16 | (uint64_t)EC_VCPU << 48, 0,
                           EVENTS, 0, 0),
                     bad(BUSY, 1));
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(sees_operands),
        RIG_TEST(sets_results),
        RIG_TEST_GUESSING(sets_results),
        RIG_TEST(a_finished_instruction_is_a_step),
        RIG_TEST_GUESSING(a_finished_instruction_is_a_step),
        RIG_TEST(raises_what_the_exit_raised),
        RIG_TEST(efer_is_what_was_written),
        RIG_TEST(a_recall_shows_and_takes_nothing),
        RIG_TEST(a_start_is_where_the_guest_said),
        RIG_TEST(a_recall_before_the_start_starts_nothing),
        RIG_TEST(its_domain_is_closed),
    };
    return RIG_RUN(all);
}
