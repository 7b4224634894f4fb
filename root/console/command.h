/* The operator's keys and commands; see `help` on the console. */
#ifndef ROOT_COMMAND_H
#define ROOT_COMMAND_H

#include <root/vm/vm.h>

/* Take what was typed. True: something was, so look again soon. */
bool command_turn(void);
/* The VM whose console is in focus, or NULL. */
const struct vm *command_focus(void);
/* True: end the machine as soon as all VMs are off. */
bool command_quitting(void);
/* Start a VM that is off; start it anew, ending it first. False: it is not off, or cycling. */
bool command_start(struct vm *vm);
bool command_restart(struct vm *vm);
/* The first help line. */
void command_greet(void);

#endif
