/* Included before every file of root's for the target create: semaphores are the target's. */
#ifndef FUZZ_CREATE_HOOKS_H
#define FUZZ_CREATE_HOOKS_H

#include <lib/call.h>

uint64_t fuzz_bell(uint64_t slot, bool made);
#define sm_create(dst, payer, count) ((void)(payer), (void)(count), fuzz_bell(dst, true))
#define destroy(slot)                fuzz_bell(slot, false)

#endif
