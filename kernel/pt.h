/* Portals: calls, replies, and exits and faults as messages. Own core, no lock. */
#ifndef KERNEL_PT_H
#define KERNEL_PT_H

#include <object.h>

/* CALL_PT_CREATE; see docs/abi.md. Needs PD_CREATE to the payer, and EC_BIND to the handler. Graph
 * lock. */
uint64_t pt_create(struct pd *self, uint64_t who, uint64_t entry, uint64_t mtd, uint64_t id);
/* Take a portal that ends out of its handler's list. Graph lock, after core_sync. */
void pt_unlink(const struct pt *pt);

/* CALL_PT_CALL: needs PT_CALL. On success the handler, which is on this core, is current, and the
 * caller waits. */
uint64_t pt_call(struct ec *self, uint64_t slot, uint64_t words);
/* CALL_PT_REPLY: the caller goes on; `self` is idle until the next call. Without a caller `self`
 * just waits. */
void pt_reply(struct ec *self, uint64_t words);

/*
 * An exit of a vCPU, or a fault of a thread, goes to the portal in slot
 * `events` + event. With no portal there, or a handler that is on another core
 * or in a call, the EC stops for good: nobody can say how it goes on.
 */
void pt_event(struct ec *self, unsigned event);

#endif
