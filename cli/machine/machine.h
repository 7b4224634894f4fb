/*
 * An emulated machine: an emulator's process, its private folder, and the
 * machine's console. Its life, the same for each emulator (cli/machine/qemu.h,
 * cli/machine/bochs.h), which start it each in its own way.
 */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <stdbool.h>
#include <sys/types.h>

struct machine {
    const char *emulator; /* its name, for messages */
    char folder[64];      /* its private folder: links to the files, the emulator's own messages */
    pid_t pid;            /* 0: not running */
    pid_t target;         /* the iSCSI target's, 0: there is none */
    pid_t tpm;            /* that of its TPM, 0: it has none */
    int input, output;    /* of its console; input -1: it has none */
    int host;             /* the console of its host system, both ways; -1: it has none */
    bool begins_anew;     /* where it should end, which its last line tells */
};

/* What the emulator gets as its descriptors 0, 1 and 3; -1: nothing there. */
struct machine_wires {
    int in, out, serial;
};

/* Make the private folder; false after one line on stderr. From now on the tool has to remove it:
   signals are caught (host_catch_signals). */
bool machine_folder(struct machine *machine);

/* Start `argv` (ended by NULL) with these descriptors, which are closed here, and its stderr in the
   folder; false after one line on stderr. It ends when the tool does, however that ends. */
bool machine_spawn(struct machine *machine, const char *const argv[],
                   const struct machine_wires *wires);

/* End the emulator if it still runs and take it away; its exit code. */
int machine_stop(struct machine *machine, bool kill_it);

/* Show what the emulator said on its stderr; end the iSCSI target and remove the folder. */
void machine_show_errors(const struct machine *machine);
void machine_remove(struct machine *machine);

#endif
