/*
 * The machine's console, as root speaks on it: every line starts with its
 * speaker, `NAME| text` for a VM and `hairline| text` for the hypervisor, whose
 * lines `ready`, `vm` and `end` are records of key=value pairs. Before root
 * runs, boot and kernel say `hairline: text` only when they give up. A host
 * system (`mode: host`) has a console of its own (cli/session/host_line.h).
 */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <cli/job.h>
#include <json-c/json.h>
#include <stdio.h>

struct console {
    const struct job *job;
    FILE *log[PLAN_VMS + 1]; /* one for each VM, then the hypervisor's; NULL: not asked for */
    char line[8192];
    uint32_t used;
    struct json_object *report;
    struct heard {
        char *line;  /* its last line that is not empty; NULL: none */
        uint64_t ms; /* of the clock of console_feed         */
    } last[PLAN_VMS];
    uint32_t ends[PLAN_VMS]; /* records of its end */
    char *heard; /* what the hypervisor said since console_listen(true), a line each; NULL: nobody
                    listens */
    size_t heard_size;
    FILE *ear;
    bool spoke, ended, gave_up;
    bool up;       /* root has spoken */
    bool refused;  /* root has started nothing */
    bool host_off; /* the host system has powered the machine off */
};

/* `logs`: folder for NAME.log and hairline.log, made if it is not there; NULL: none. */
bool console_open(struct console *console, const struct job *job, const char *logs);

/* Take the next `size` bytes from the machine, at time `ms`. */
void console_feed(struct console *console, const char *bytes, size_t size, uint64_t ms);

/* Take a line of the host system's own console. */
void console_hear_host(struct console *console, const char *text, uint64_t ms);

/* The number of the VM `name`; PLAN_VMS: none is called so. */
uint32_t console_vm(const struct console *console, const char *name);

/* Keep what the hypervisor says from now on, or no longer. What it has said since then: "" or whole
 * lines. */
void console_listen(struct console *console, bool on);
const char *console_heard(struct console *console);

/* The exit code of the tool by what the machine said: 0 or EXIT_DIED, and one line on stderr for
   each reason to fail. `batch`: every VM had to end by itself. */
int console_verdict(struct console *console, bool batch);

/* A line on stderr for each VM: what became of it so far, and what it said last; at `ms`. */
void console_status(struct console *console, uint64_t ms);

/* Close the logs; false after one line on stderr: they are not whole. */
bool console_close_logs(struct console *console);

void console_close(struct console *console);

#endif
