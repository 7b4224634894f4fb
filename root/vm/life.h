/* From start to end and perhaps again: the states of enum life (vm.h). */
#ifndef ROOT_LIFE_H
#define ROOT_LIFE_H

#include <root/vm/vm.h>

/* Begin a life; the VM is LIFE_OFF or LIFE_WAITING. */
void life_start(struct vm *vm);
/* By command: end it, also if it is about to restart; with `again` start it anew, also if it is
 * off. */
void life_stop(struct vm *vm, bool again);
/* Look at every VM; returns the TSC at which to look again, 0: only when the bell rings. */
uint64_t life_turn(uint64_t now);
bool life_all_off(void);

#endif
