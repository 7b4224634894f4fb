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
/* Start a VM that is off; start it anew, ending it first. False: it is not off. */
bool command_start(struct vm *vm);
bool command_restart(struct vm *vm);
/* Press its power button: the guest is to end itself, and stays off then. False: NOT_ASKED says
 * why.
 */
bool command_ask(struct vm *vm);
#define ASKED     "is asked to end"
#define NOT_ASKED "cannot be asked to end: it does not run, or has no virtual devices"
/* It is no more: the operator's focus ends with it. */
void command_forget(const struct vm *vm);
/* The first help line. */
void command_greet(void);

#endif
