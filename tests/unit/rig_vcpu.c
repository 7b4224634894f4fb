#include "rig_vcpu.h"

uint64_t guest_pd, vmm_pd, vcpu_slot, handler_slot;
struct ec *vcpu, *handler;
struct vmcb *vmcb;
struct exit_state *x;

void make_vcpu(uint32_t core, uint64_t mtd)
{
    guest_pd = make_pd(PD_GUEST, 40, 40);
    vmm_pd = make_pd(PD_HOST, 16, 16);
    handler_slot = make_ec(vmm_pd, core, EC_HANDLER);
    vcpu_slot = make_ec(guest_pd, core, EC_VCPU);
    for (uint64_t event = 0; event < EVENT_COUNT; event++)
        give(make_pt(handler_slot, mtd, event), guest_pd, EVENTS + event, PT_CALL);
    vcpu = object_at(vcpu_slot);
    handler = object_at(handler_slot);
    vmcb = vcpu->vcpu->vmcb;
    x = &handler->utcb->exit;
}

void start_vcpu(uint64_t mtd)
{
    make_vcpu(0, mtd);
    make_sc(vcpu_slot, 5, SLICE, 0);
    if (current() != handler)
        pass(SLICE); /* another's turn first */
    assert_ptr_equal(current(), handler);
    assert_int_equal(handler->regs.rdi, EVENT_START);
}

void answer(uint64_t mtd)
{
    handler->utcb->mtd = mtd;
    reply(handler, 0);
}

void assert_event(unsigned event)
{
    assert_ptr_equal(current(), handler);
    assert_int_equal(handler->regs.rdi, event);
}
