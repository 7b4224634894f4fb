/*
 * The command line of one command, taken apart.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *verb;                        /* the command itself */
    const char *plan, *logs, *json, *output; /* output: build's folder, probe's
                                                plan, map's picture, top's page */
    const char *efi, *usb, *key, *cert;      /* build: the file for UEFI, an image, what signs */
    const char *esp;                         /* update: where the slots are */
    bool batch, iso, keep, help;
    enum { FIRMWARE_OF_PLAN, FIRMWARE_BIOS, FIRMWARE_UEFI } firmware;
    bool intel;        /* the machine is Intel's, else AMD's */
    bool here;         /* probe: the machine that this runs on */
    const char *root;  /* probe: whose files are looked at; NULL: that machine's */
    uint64_t timeout;  /* seconds, 0: none */
    char *const *args; /* what follows `--`, ended by NULL */
};

/* The commands; each returns the tool's exit code. */
int run(const struct options *options);
int build(const struct options *options);
int update(const struct options *options);
int check(const struct options *options);
int map(const struct options *options); /* `output`: the picture's file */
int probe(const struct options *options);
int here_probe(const struct options *options); /* probe --here */
int launch(const struct options *options);
int launch_leave(const struct options *options);
int control(const struct options *options); /* stop, kill, start, ..., list: `plan` is the VM */

extern const char launch_help[], check_help[], update_help[], map_help[], control_help[],
    create_help[];

#endif
