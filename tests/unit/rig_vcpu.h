/* A VM with one vCPU, and the handler that gets all its events. */
#ifndef TESTS_RIG_VCPU_H
#define TESTS_RIG_VCPU_H

#include "rig.h"

extern uint64_t guest_pd, vmm_pd, vcpu_slot, handler_slot;
extern struct ec *vcpu, *handler;
extern struct vmcb *vmcb;
extern struct exit_state *x; /* in the handler's UTCB */

/* Make it on a core, without time; its portals ask for `mtd`. */
void make_vcpu(uint32_t core, uint64_t mtd);
/* On core 0, and with time: the handler is at EVENT_START. */
void start_vcpu(uint64_t mtd);
/* The handler answers with `mtd`. */
void answer(uint64_t mtd);
/* The handler is current, with this event. */
void assert_event(unsigned event);

#endif
