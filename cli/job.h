/*
 * A compiled plan and what goes with it into the machine: the job that `run`
 * starts and `build` writes to a folder.
 */
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include <abi/boot.h>
#include <abi/plan.h>
#include <stdbool.h>

#define JOB_IMAGES 4 /* root, vmm, lan, plan */
#define JOB_FILES  (BOOT_MODULES - JOB_IMAGES)

enum file_kind {
    FILE_PLAIN,    /* the user's                                           */
    FILE_PACKAGED, /* made by guest/rules.mk: a packaged kernel or its initrd */
    FILE_EXT4,     /* a fresh ext4 image with a README that names the VM   */
};

struct job_file {
    enum file_kind kind;
    const char *path; /* absolute; FILE_EXT4: a name of its own */
    uint64_t size;    /* bytes */
    const char *vm;
};

struct job {
    struct plan plan;
    struct job_file file[JOB_FILES]; /* plan.files of them: modules f0, f1, ... */
    uint32_t cores;
    uint64_t memory; /* of the machine, bytes */
};

/* Check the plan in file `name` and compile it; false after one line on stderr for each error.
   `batch`: its VMs are told to end by themselves. Packaged kernels are fetched if they are not there. */
bool job_compile(struct job *job, const char *name, bool batch);

/* Fill `folder` with hairline.elf, the images, plan.bin and f0..fn: copies, or links for a run on this machine. */
bool job_stage(const struct job *job, const char *folder, bool copy);

#endif
