/* Execution contexts: threads, portal handlers and vCPUs. */
#ifndef KERNEL_EC_H
#define KERNEL_EC_H

#include <object.h>

/* CALL_EC_CREATE; see docs/abi.md. Needs PD_CREATE to the PD that it runs in and that pays; a vCPU
   only in a guest that is neither sealed nor disengaged. On a core that the PD may use. The value,
   a vCPU's index of counters, goes to *value. Graph lock. */
uint64_t ec_create(struct pd *self, uint64_t who, uint64_t utcb, uint64_t events, uint64_t entry,
                   uint64_t sp, uint64_t *value);

/* A thread or handler with its UTCB mapped. NO_MEMORY, or BUSY with argument 2: something is mapped
 * there. Graph lock. */
uint64_t ec_new_thread(struct pd *pd, uint8_t core, enum ec_kind kind, uint64_t utcb_va,
                       uint64_t entry, uint64_t sp, struct ec **out) WARN_UNUSED;

/* CALL_EC_RECALL: needs EC_RECALL to a vCPU, which takes EVENT_RECALL before it next runs guest
 * code. Any core, no lock. */
uint64_t ec_recall(struct pd *self, uint64_t slot);

/* Take its UTCB out of a PD that lives on. The flush mask of the core_sync() that is due; 0: none.
 * Graph lock. */
uint64_t ec_unmap(struct ec *ec);
/* Give back its frames while its PD lives (with the PD they go anyway). Graph lock, after
 * core_sync. */
void ec_release(struct ec *ec);

#endif
