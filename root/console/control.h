/*
 * The control lines: what a VM whose plan says `control: own` or `all` asks of root, a line each,
 * and root's answers (docs/abi.md section 14). Nothing that a VM writes there is trusted: a request
 * names a VM that this one may see, or it is refused.
 */
#ifndef ROOT_CONTROL_H
#define ROOT_CONTROL_H

#include <root/vm/vm.h>

/* Answer requests: of each VM one at most, as long as the turn lasts. True: there are more, so look
 * again soon. */
bool control_turn(void);
/* Answer the request `text`, which is changed, of VM `from`, or of the operator (NULL), who has all
 * verbs but those about a line: one line, `ok...` or `error...`, which stays until the next. */
const char *control_answer(const struct vm *from, char *text);
/* Tell every VM that may see `about`, and asked for it, `what` became of it: `state=...`, in a
 * line of at most CONTROL_EVENT bytes. A line that has no room for it has it counted as lost. */
#define CONTROL_EVENT 160u
void control_event(const struct vm *about, const char *what);
/* Forget what the VM had asked for: it starts anew. */
void control_reset(const struct vm *vm);

#endif
