/* Instructions that the kernel steps over, or has a guest step over. */
#include "rig_vcpu.h"

/* ---- A write to CR8 while a vector is on offer ---- */
#define OFFER_51   (0x51ull << 32 | 5 << 16 | VINTR_MASKING)
#define FLAGS_MINE (RFLAGS_FIXED | RFLAGS_IF)

/* 51h is on offer, and the guest is at its write to CR8. */
static void start_step(uint64_t mtd, uint64_t rflags)
{
    start_vcpu(mtd);
    x->inject = 0, x->intr = INTR_PENDING | 0x51;
    answer(MTD_INJECT);
    vmcb->rflags = rflags, vmcb->dr6 = 0xffff0ff0, vmcb->rip = 0x7000;
    vm_exit(vcpu, EXIT_CR8);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->vintr, OFFER_51);
    assert_int_equal(vmcb->intercept_cr, 0);
    assert_int_equal(vmcb->rflags, rflags | RFLAGS_TF);
    assert_int_equal(vmcb->rip, 0x7000);
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], 1);
}

/* It is done: its trap. */
static void end_step(void)
{
    vmcb->rip = 0x7004, vmcb->dr6 |= DR6_STEP;
    vm_exit(vcpu, EXIT_EXCEPTION + 1);
}

static void assert_offered(uint64_t vintr, uint64_t rflags)
{
    assert_int_equal(vmcb->vintr, vintr | VINTR_IRQ);
    assert_int_equal(vmcb->intercept_cr, CR8_WRITE);
    assert_int_equal(vmcb->rflags, rflags);
}

static void recalled_in_mid_step(void)
{
    vm_exit(vcpu, EXIT_INTR); /* the host's, before the write */
    assert_int_equal(vmcb->vintr & VINTR_IRQ, 0);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    machine.core->attention = 1;
    settle();
    assert_event(EVENT_RECALL);
    assert_int_equal(x->intr, INTR_PENDING | 0x51);
}

static void a_write_to_cr8_is_stepped_over(void **state)
{
    (void)state;
    start_step(0, FLAGS_MINE);
    end_step();
    assert_ptr_equal(current(), vcpu);
    assert_offered(OFFER_51, FLAGS_MINE);
    assert_int_equal(vmcb->dr6, 0xffff0ff0);
    assert_int_equal(vmcb->inject, 0);
    assert_int_equal(vmcb->rip, 0x7004);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], 2);
    assert_int_equal(vcpu->vcpu->counters->exits[EVENT_EXCEPTION], 0);
    vm_exit(vcpu, EXIT_EXCEPTION + 1); /* the next one is not the kernel's */
    assert_event(EVENT_EXCEPTION);
    answer(0);
    vm_exit(vcpu, EXIT_CR8); /* and once more */
    assert_int_equal(vmcb->vintr, OFFER_51);
    end_step();
    assert_offered(OFFER_51, FLAGS_MINE);
}

/* A guest that steps itself has the trap, and goes on stepping. */
static void a_guest_that_steps_has_its_trap(void **state)
{
    (void)state;
    start_step(MTD_INFO | MTD_INJECT | MTD_CONTROL, FLAGS_MINE | RFLAGS_TF);
    end_step();
    assert_event(EVENT_EXCEPTION);
    assert_int_equal(x->info.number, 1);
    assert_int_equal(x->intr, INTR_PENDING | 0x51);
    assert_int_equal(x->dr6, 0xffff0ff0 | DR6_STEP);
    assert_offered(OFFER_51, FLAGS_MINE | RFLAGS_TF);
    assert_int_equal(vcpu->vcpu->counters->exits[CAUSE_STEP], 1);
}

/* CR8 writes exit from the offer on, until the VMM is asked again. */
static void what_was_taken_is_not_offered_again(void **state)
{
    (void)state;
    start_vcpu(MTD_INJECT);
    x->inject = 0, x->intr = INTR_PENDING | 0x51;
    answer(MTD_INJECT);
    vmcb->vintr &= ~(uint64_t)VINTR_IRQ; /* delivered, and its handler writes CR8 */
    vmcb->rflags = RFLAGS_FIXED;
    vm_exit(vcpu, EXIT_CR8);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->vintr & VINTR_IRQ, 0);
    assert_int_equal(vmcb->intercept_cr, 0);
    assert_int_equal(vmcb->rflags, RFLAGS_FIXED);
    vm_exit(vcpu, EXIT_HLT);
    assert_int_equal(x->intr, 0);
    answer(0);
    vm_exit(vcpu, EXIT_EXCEPTION + 1); /* the guest's own */
    assert_event(EVENT_EXCEPTION);
    assert_int_equal(vmcb->vintr & VINTR_IRQ, 0);
}

/* What a VMM that is recalled in mid-step answers. The write exits again, if the vector is on offer
   still; what is injected does not find the kernel's RFLAGS.TF. */
static void a_vmm_speaks_in_mid_step(void **state)
{
    (void)state;
    const uint64_t nmi = INJECT_VALID | INJECT_NMI | 2, pending = INTR_PENDING | 0x51;
    static const struct {
        uint64_t mtd, intr, rflags, vintr, rflags_after;
    } row[] = {
        {MTD_INJECT, INTR_PENDING | 0x51, 0, OFFER_51 | VINTR_IRQ, FLAGS_MINE},
        {MTD_INJECT, 0, 0, VINTR_MASKING, FLAGS_MINE},
        {MTD_INJECT, INTR_PENDING | 0x62, 0, 0x62ull << 32 | 6 << 16 | VINTR_MASKING | VINTR_IRQ,
         FLAGS_MINE},
        {MTD_FLAGS, 0, RFLAGS_FIXED, OFFER_51 | VINTR_IRQ, RFLAGS_FIXED},
        {MTD_FLAGS, 0, RFLAGS_FIXED | RFLAGS_TF, OFFER_51 | VINTR_IRQ, RFLAGS_FIXED | RFLAGS_TF},
        {MTD_FLAGS | MTD_INJECT, 0, RFLAGS_FIXED, VINTR_MASKING, RFLAGS_FIXED},
    };
    uint64_t first = slot_new();
    for (unsigned i = 0; i < 2 * COUNT(row); i++) {
        start_step(MTD_INJECT | MTD_FLAGS, FLAGS_MINE);
        recalled_in_mid_step();
        assert_int_equal(x->rflags, FLAGS_MINE); /* without the kernel's */
        x->inject = i & 1 ? nmi : 0;
        x->intr = row[i / 2].intr, x->rflags = row[i / 2].rflags;
        answer(row[i / 2].mtd);
        assert_ptr_equal(current(), vcpu);
        assert_int_equal(vmcb->vintr, row[i / 2].vintr);
        assert_int_equal(vmcb->intercept_cr, row[i / 2].vintr & VINTR_IRQ ? CR8_WRITE : 0);
        assert_int_equal(vmcb->rflags, row[i / 2].rflags_after);
        assert_int_equal(vmcb->inject, i & 1 && row[i / 2].mtd & MTD_INJECT ? nmi : 0);
        vm_exit(vcpu, EXIT_EXCEPTION + 1); /* no step is under way */
        assert_event(EVENT_EXCEPTION);
        assert_int_equal(x->intr & INTR_PENDING, vmcb->vintr & VINTR_IRQ ? INTR_PENDING : 0);
        assert_int_equal(vmcb->rflags, row[i / 2].rflags_after);
        assert_int_equal(end(guest_pd), OK);
        assert_int_equal(end(vmm_pd), OK);
        slots_again(first);
    }
    start_step(MTD_INJECT | MTD_FLAGS, FLAGS_MINE);
    recalled_in_mid_step();
    answer(MTD_ACDB | MTD_CR8); /* none of its business */
    assert_int_equal(vmcb->rflags, FLAGS_MINE | RFLAGS_TF);
    vmcb->vintr = OFFER_51 | 4; /* the guest writes it */
    end_step();
    assert_offered(OFFER_51 | 4, FLAGS_MINE);
    vm_exit(vcpu, EXIT_HLT);
    assert_int_equal(x->intr, pending);
}

/* The guest's own RFLAGS.TF is in what a VMM sees, and stays. */
static void a_vmm_sees_that_its_guest_steps(void **state)
{
    (void)state;
    start_step(MTD_INJECT | MTD_FLAGS, FLAGS_MINE | RFLAGS_TF);
    recalled_in_mid_step();
    assert_int_equal(x->rflags, FLAGS_MINE | RFLAGS_TF);
    answer(MTD_INJECT);
    assert_offered(OFFER_51, FLAGS_MINE | RFLAGS_TF);
}

/* ---- A guest that steps through what exits: the trap comes behind it ---- */
#define TRAP (INJECT_VALID | INJECT_EXCEPTION | 1)

static void at_step(uint64_t code)
{
    vmcb->rip = 0x7000, vmcb->rflags = RFLAGS_FIXED | RFLAGS_TF;
    vmcb->dr6 = 0xffff0ff0, vmcb->inject = 0;
    vm_exit(vcpu, code);
}

static void assert_trap(bool comes)
{
    assert_int_equal(vmcb->inject, comes ? TRAP : 0);
    assert_int_equal(vmcb->dr6, comes ? 0xffff0ff0 | DR6_STEP : 0xffff0ff0);
}

static void a_stepped_instruction_traps(void **state)
{
    (void)state;
    static const uint64_t codes[] = {EXIT_MSR, EXIT_HLT, EXIT_VMMCALL, EXIT_XSETBV, EXIT_PORT};
    start_vcpu(MTD_RIP);
    answer(0);
    vmcb->info2 = 0x7005; /* of a port */
    for (unsigned i = 0; i < COUNT(codes); i++) {
        at_step(codes[i]);
        assert_true(x->next_rip > 0x7000);
        answer(0); /* it stays where it is */
        assert_trap(false);
        at_step(codes[i]);
        x->rip = 0x7000;
        answer(MTD_RIP);
        assert_trap(false);
        at_step(codes[i]);
        x->rip = x->next_rip + 1; /* elsewhere */
        answer(MTD_RIP);
        assert_trap(false);
        at_step(codes[i]);
        x->rip = x->next_rip;
        answer(MTD_RIP);
        assert_trap(true);
        assert_true(vmcb->rip > 0x7000);
        at_step(codes[i]);
        vmcb->rflags = RFLAGS_FIXED;
        x->rip = x->next_rip;
        answer(MTD_RIP);
        assert_trap(false);
    }
    at_step(EXIT_CPUID);
    assert_ptr_equal(current(), vcpu);
    assert_int_equal(vmcb->rip, 0x7002);
    assert_trap(true);
    vm_exit(vcpu, EXIT_HLT); /* it was delivered */
    assert_int_equal(vmcb->inject, 0);
}

/* Where no instruction ended, there is no end of it to go to. */
static void a_reply_to_address_zero_is_no_step(void **state)
{
    (void)state;
    start_vcpu(MTD_RIP);
    answer(0);
    at_step(EXIT_NPF);
    assert_int_equal(x->next_rip, 0);
    x->rip = 0;
    answer(MTD_RIP);
    assert_trap(false);
    at_step(EXIT_INTR);
    assert_int_equal(ec_recall(root, vcpu_slot), OK);
    machine.core->attention = 1;
    settle();
    assert_event(EVENT_RECALL);
    answer(MTD_RIP); /* where it is */
    assert_trap(false);
}

/* The VMM's own event goes before. */
static void what_a_vmm_injects_goes_before_the_trap(void **state)
{
    (void)state;
    start_vcpu(MTD_RIP | MTD_INJECT);
    answer(0);
    at_step(EXIT_MSR);
    x->rip = x->next_rip;
    x->inject = INJECT_VALID | INJECT_NMI | 2;
    answer(MTD_RIP | MTD_INJECT);
    assert_int_equal(vmcb->inject, INJECT_VALID | INJECT_NMI | 2);
    at_step(EXIT_MSR);
    x->rip = x->next_rip, x->inject = 0;
    answer(MTD_RIP | MTD_INJECT);
    assert_trap(true);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(a_write_to_cr8_is_stepped_over),
        RIG_TEST(a_guest_that_steps_has_its_trap),
        RIG_TEST(what_was_taken_is_not_offered_again),
        RIG_TEST(a_vmm_speaks_in_mid_step),
        RIG_TEST(a_vmm_sees_that_its_guest_steps),
        RIG_TEST(a_stepped_instruction_traps),
        RIG_TEST_GUESSING(a_stepped_instruction_traps),
        RIG_TEST(a_reply_to_address_zero_is_no_step),
        RIG_TEST_GUESSING(a_reply_to_address_zero_is_no_step),
        RIG_TEST(what_a_vmm_injects_goes_before_the_trap),
    };
    return RIG_RUN(all);
}
