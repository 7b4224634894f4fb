/*
 * The state of one compilation, shared by the files that check a plan.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <cli/image.h>
#include <cli/job.h>
#include <cli/text.h>
#include <cli/value.h>

struct check {
    struct source source;
    const struct plan_text *text;
    struct job *job;
    const char *folder; /* the plan's: paths in it start here */
    const char *lan[PLAN_LANS];
    uint32_t lan_vm[PLAN_LANS];   /* the first on each */
    struct image image[PLAN_VMS]; /* of each VM's kernel */
    uint32_t vm;                  /* the one in hand     */
    bool batch;
};

struct limit {
    const struct unit *unit;
    uint64_t min, max, step;
    const char *form; /* the range, in the user's words */
};

/* A word and what it means; a list of them ends with {0}, and its first is the default. */
struct choice {
    const char *word;
    uint32_t value;
};

/* An error on the line of key `key` of the VM in hand. */
void check_error(struct check *check, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* `text` as a number within `limit`; an error at `path` and 0 otherwise. */
uint64_t check_number(struct check *check, const char *path, const char *text, const struct limit *limit);

/* The same for key `key` of the VM in hand; `fallback` when the plan does not give it. */
uint64_t check_vm_number(struct check *check, const char *key, const char *text, const struct limit *limit, uint64_t fallback);

/* The meaning of `text`; the default's for NULL; an error at `path` and 0 for an unknown word. */
uint32_t check_choice(struct check *check, const char *path, const char *text, const struct choice *choice);

/* The emulated machine (cli/hardware.c). */
void check_machine(struct check *check);

/* The devices of the VM in hand (cli/device.c). */
void check_devices(struct check *check);

/* Which VM runs on which cores (cli/cores.c); all VMs have their modes and vCPUs. */
void check_cores(struct check *check);

/* Files (cli/files.c): give the VM in hand its kernel, initrd and disks; make and measure packaged
   files, and find what kind of kernel each is; false after errors. */
void check_files(struct check *check);
bool check_packages(struct check *check);

/* What VMs have finds its places in the machine's RAM (cli/place.c); all sizes are known. */
void check_places(struct check *check);

/* A disk of the machine at `path` of the plan: a file, ext4:SIZE, or `debian`, the userland as a root file system. */
void check_image(struct check *check, const char *path, const char *text, const char *owner, struct job_file *file);

#endif
