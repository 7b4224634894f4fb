/*
 * `hairline stop`: ask a guest to end, by its power button; kill it if it does not. Root has the
 * two verbs, `ask` and `stop`; how long to wait, and what then, is decided here, once for both ways
 * to root.
 */
#ifndef CLI_STOP_H
#define CLI_STOP_H

#include <stdbool.h>
#include <stdint.h>

#define STOP_LOOK_MS 100

enum stop_state {
    STOP_RUNS,
    STOP_OFF,
    STOP_LOST, /* it cannot be told, after one line on stderr */
};

/* A way to root: the control line of the VM that this runs in, or a run in another terminal. */
struct stop_way {
    void *way; /* what the functions know it by */
    /* Have root carry out `verb` for the VM `name`. False after one line on stderr. */
    bool (*tell)(void *way, const char *verb, const char *name);
    /* After STOP_LOOK_MS, in which others may use the way to root. */
    enum stop_state (*look)(void *way, const char *name);
};

/* Ask, wait for `seconds` (0: the default), kill; the tool's exit code, 0 once the VM is off. */
int stop_vm(const struct stop_way *by, const char *name, uint64_t seconds);

#endif
