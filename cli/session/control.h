/*
 * The way from another terminal to a run: a socket of the user's own, by which
 * `hairline stop|start|restart|list` has the run type a command of root's and
 * hears what root says to it.
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include <cli/session/console.h>

struct control {
    int door, client;   /* sockets; -1: none */
    const char *path;   /* of the door */
    const char *awaits; /* beginning of the line of root's that ends the answer */
    uint32_t lines;     /* ...and how many follow it */
    uint64_t deadline;  /* ms of `now` */
    uint64_t heard;     /* bytes of the console's record that were looked at */
};

/* Open the door of this run; without one (after a line on stderr) the run goes on. */
void control_open(struct control *control);
void control_close(struct control *control);

/* Somebody is at the door: take the request. NULL: it is answered; else what root is to be told. */
const char *control_accept(struct control *control, struct console *console, bool deaf,
                           uint64_t now);

/* Pass on what root has said since; hang up when that was all, or the time is over. */
void control_turn(struct control *control, struct console *console, uint64_t now);

#endif
