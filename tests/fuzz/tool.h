/*
 * The two readers of a plan in one program: the host tool's check of its text,
 * and root's of the compiled records. The files that plans name are in a folder
 * beside the program: bzimage, pvh, multiboot, disk (two sectors), odd (of no
 * whole sectors), all of them kernel images; empty; and the packaged kernel's.
 */
#ifndef FUZZ_TOOL_H
#define FUZZ_TOOL_H

#include <cli/job.h>

#include <stddef.h>

/* Make the folder; plans in it name files in it. */
void tool_begin(void);
/* `hairline check` of this text; what it says is in tool_said until the next call. What `job` names
 * lives as long. */
bool tool_checks(const char *text, size_t size, struct job *job);
extern char *tool_said;

/* Is the last of its VMs the system that Hairline is beneath? */
bool has_host(const struct plan *plan);

/* The records `plan`, on a machine with `cores` and the files of `job`, as root takes them, beneath
 * an installed system if `job` has one; NULL: it refuses. */
const struct plan *root_takes(const struct plan *plan, const struct job *job, uint32_t cores);

#endif
