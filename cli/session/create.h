/* `hairline create`, in a VM that has a control line and a disk for uploads. */
#ifndef CLI_CREATE_H
#define CLI_CREATE_H

#include <cli/options.h>
#include <cli/session/line.h>

/* Create and start the VMs of options->plan: all of them, or none. The tool's exit code. */
int create_vms(struct line *line, const struct options *options);

#endif
