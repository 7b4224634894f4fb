/* What another VM says on its console, in a VM that commands it, if its plan has `console: shown`;
 * or `console: open`, and then what is typed there. */
#ifndef CLI_LOGS_H
#define CLI_LOGS_H

#include <cli/options.h>
#include <cli/session/line.h>

/* `hairline logs VM`: what root has of it. The tool's exit code. */
int logs_show(struct line *line, const struct options *options);
/* `hairline console VM`: that, and what follows, and what is typed here goes there if it may; until
 * a signal or for --timeout seconds. */
int logs_follow(struct line *line, const struct options *options);
/* Go on no longer; from a signal handler. */
void logs_stop(void);

#endif
