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
/* Have it in focus; NULL: no VM. */
void command_set_focus(struct vm *vm);
/* It is no more: the operator's focus ends with it. */
void command_forget(const struct vm *vm);
/* The first help line. */
void command_greet(void);

#endif
