/* The commands of a tool that runs in one of the machine's own VMs. */
#ifndef CLI_INSIDE_H
#define CLI_INSIDE_H

#include <cli/options.h>

/* list, top, events, logs, console, stop, start, restart, by the VM's control line. The tool's exit
 * code. */
int inside(const struct options *options);

#endif
