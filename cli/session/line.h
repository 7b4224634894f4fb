/*
 * The control line of a VM or an installed system (docs/abi.md section 14): the tool inside the
 * machine that it commands. A request is a line; the answer is a line that begins with `ok` or
 * `error`; lines that begin with `event` come between answers, once asked for.
 */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include <json-c/json.h>
#include <stdbool.h>

/* Does this run in a VM of Hairline's (CPUID leaf 4000001Fh), or as root of a system beneath which
 * it is? */
bool line_is_inside(void);

struct line; /* to root */

/* Open it and drop what an earlier user left there; NULL after one line on stderr: there is none,
 * or somebody else has had it for 5 s. */
struct line *line_open(void);
void line_close(struct line *line);

/* Leave the line to others for `ms` milliseconds, then take it back; false after one line on
 * stderr. Events that come meanwhile are lost. */
bool line_rest(struct line *line, unsigned ms);

/* Ask; what follows `ok `. NULL after one line on stderr: refused, or no answer in 10 s. */
const char *line_ask(struct line *line, const char *request);

/* Ask; is it done? Nothing is said. */
bool line_takes(struct line *line, const char *request);

/* The state of VM `name`, as root calls it; NULL after one line on stderr. */
const char *line_state(struct line *line, const char *name);

/* Wait until VM `name`, which is to end, has ended and said its last words; false after one line on
 * stderr. */
bool line_ended(struct line *line, const char *name);

/* Wait until VM `name` is not in `state` any more, `ms` milliseconds at most; false after one line
 * on stderr. */
bool line_leaves(struct line *line, const char *name, const char *state, unsigned ms);

/* The next event, without `event `; NULL: none in `ms` milliseconds. */
const char *line_event(struct line *line, int ms);

/* All that root tells of the machine and of the VMs that this line may see, as JSON; NULL after one
 * line on stderr. */
struct json_object *line_look(struct line *line);

#endif
