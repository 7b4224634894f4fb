#ifndef BOOT_UEFI_STATE_H
#define BOOT_UEFI_STATE_H

#include <abi/utcb.h>

/* Of this processor, all but the general registers, RIP and RSP, which the caller knows; RFLAGS
 * become 2. */
void state_leave(struct exit_state *x) __attribute__((visibility("hidden")));

#endif
