/*
 * The emulated machine: QEMU with the job's files, its console on two pipes.
 */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <cli/job.h>

#include <sys/types.h>

struct machine {
    char folder[64]; /* its private folder: links to the files, QEMU's own messages */
    pid_t pid;       /* 0: not running */
    pid_t target;    /* the iSCSI target's, 0: there is none */
    int input, output;
};

/* Prepare the folder and start QEMU with `args` (ended by NULL) after its own arguments; false after one line
   on stderr. QEMU ends when the tool does, however it ends. */
bool machine_start(struct machine *machine, const struct job *job, char *const args[]);

/* End QEMU if it still runs and take it away; its exit code. */
int machine_stop(struct machine *machine, bool kill_it);

/* Show what QEMU said on its stderr; end the iSCSI target and remove the folder. */
void machine_show_errors(const struct machine *machine);
void machine_remove(struct machine *machine);

#endif
