/* Portals: calls, replies, and exits and faults as messages. Own core, no lock. */
#ifndef KERNEL_IPC_H
#define KERNEL_IPC_H

#include <object.h>

/* CALL_PT_CREATE. Graph lock. */
/* A portal that ends is none of its handler's any more. Graph lock, after core_sync. */
void pt_unlink(const struct pt *pt);
uint64_t pt_create(struct pd *self, uint64_t who, uint64_t entry, uint64_t mtd, uint64_t id);

/* CALL_PT_CALL: on success the handler is current and the caller waits. */
uint64_t ipc_call(struct ec *self, uint64_t slot, uint64_t words);
/* CALL_PT_REPLY: the caller goes on; `self` is idle until the next call. Without a caller `self` just waits. */
void ipc_reply(struct ec *self, uint64_t words);

/*
 * An exit of a vCPU, or a fault of a thread, goes to the portal in slot
 * `events` + event. With no portal there, or a handler that is on another core
 * or in a call, the EC stops for good: nobody can say how it goes on.
 */
void ipc_event(struct ec *self, unsigned event);

#endif
