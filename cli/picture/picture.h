/*
 * Pictures of a machine: which VM has which cores, memory and devices, and how it is held apart.
 * From a plan, or from what root tells on a control line. All text in them is escaped; a file is
 * written whole or not at all.
 */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

#include <cli/plan/check.h>
#include <json-c/json.h>
#include <stdio.h>

#define PICTURE_TEXT 200 /* bytes of a line */

struct picture {
    char title[PICTURE_TEXT], note[PICTURE_TEXT];
    uint32_t cores, vms;
    uint64_t memory; /* of the machine, bytes; 0: unknown */
    struct picture_vm {
        char name[PICTURE_TEXT], how[PICTURE_TEXT];  /* mode, state, seal */
        char place[PICTURE_TEXT], has[PICTURE_TEXT]; /* cores and memory; LAN, disks */
        char device[PLAN_DEVICES][CHECK_DEVICE];     /* "": none */
        uint64_t cores, memory;                      /* a mask; bytes */
        bool off;
    } vm[PLAN_VMS];
};

/* ---- picture.c ---------------------------------------------------------------- */
/* `plan`: its file's name. */
void picture_of_job(struct picture *p, const struct job *job, const char *plan);
/* `look`: as line_look() gives it. */
void picture_of_look(struct picture *p, struct json_object *look);

/* ---- svg.c -------------------------------------------------------------------- */
/* Text as XML has it, `most` characters at most; what is not printable ASCII becomes `?`. */
void svg_text(FILE *out, const char *text, size_t most);
void svg_draw(FILE *out, const struct picture *p);

/* ---- page.c: the picture and the table of `hairline top` ------------------------- */
struct picture_page {
    struct json_object *look, *before; /* before: NULL: no rates */
    bool live;                         /* it loads itself anew each second */
};

/* The file `path` (`-`: standard output), with the picture, or the page if there is one. A reader
 * of the file never sees a part of it. False after one line on stderr. */
bool page_write(const char *path, const struct picture *p, const struct picture_page *page);

#endif
