/*
 * A compiled plan and what goes with it into the machine: the job that `run`
 * starts and `build` writes to a folder.
 */
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include <abi/boot.h>
#include <abi/call.h>
#include <abi/plan.h>
#include <stdbool.h>

#define JOB_IMAGES  4 /* root, vmm, lan, plan */
#define JOB_FILES   (BOOT_MODULES - JOB_IMAGES)
#define JOB_DEVICES 8

enum file_kind {
    FILE_PLAIN,    /* the user's                                           */
    FILE_PACKAGED, /* made by guest/rules.mk: a packaged kernel, its initrd or its root file system
                    */
    FILE_EXT4,     /* a fresh ext4 image with a README that names the VM   */
};

struct job_file {
    enum file_kind kind;
    const char *path; /* absolute; FILE_EXT4: a name of its own */
    uint64_t size;    /* bytes */
    const char *vm;
};

enum job_device_kind { DEVICE_IGB, DEVICE_NVME };

/* A device of the emulated machine, on a root port of its own. */
struct job_device {
    enum job_device_kind kind;
    const char *forward;  /* DEVICE_IGB: QEMU's hostfwd options, each after a comma */
    struct job_file disk; /* DEVICE_NVME                                           */
};

/* Where the emulated machine has Hairline's own serial line beneath a host: no firmware or system
   takes it for its console there (COM3). */
#define HOST_SERIAL 0x3e8u

struct job {
    struct plan plan;
    struct job_file file[JOB_FILES]; /* plan.files of them: modules f0, f1, ... */
    uint32_t cores;
    uint64_t memory;      /* of the machine, bytes */
    uint32_t more_frames; /* of the kernel's pool: struct boot_info */
    enum iommu_kind iommu;
    bool uefi; /* it boots by UEFI firmware, else by the emulator's own loader */
    uint32_t devices;
    struct job_device device[JOB_DEVICES];
    /* Of a plan with a VM of MODE_HOST: cores and bytes that Hairline keeps (boot/uefi/handover.h),
       cores 0: it has none; and the disk that the emulated machine starts, path NULL: none. */
    uint32_t kept_cores;
    uint64_t kept_memory;
    struct job_file host_disk;
    bool host_late;            /* the installed system puts Hairline beneath itself, not firmware */
    struct job_file host_tool; /* for a packaged one, `hairline`; path NULL: none */
    struct job_file host_module; /* and hairline.ko for its kernel; likewise                */
    struct job_file iscsi;       /* the disk of the target beside the machine; path NULL: none */
    uint16_t iscsi_port;         /* on the host; set by the caller, 0: the usual one           */
};

/* Check the plan in file `name` and compile it (cli/plan/check.c); false after one line on stderr
   for each error. `batch`: its VMs are told to end by themselves. Packaged kernels are fetched if
   they are not there. */
bool check_plan(struct job *job, const char *name, bool batch);

/* The same for a plan of VMs that are created while the machine runs (cli/plan/check.h). */
struct later;
bool check_plan_later(struct job *job, const char *name, const struct later *later);

/* Only the machine of that plan. */
bool check_plans_machine(struct job *job, const char *name);

/* Make the disk of the emulated machine's installed system, if it is a packaged one that is not
   there, and the module for it (cli/plan/check_files.c); false after one line on stderr. It takes
   minutes, so only `run` does. */
bool check_make_disk(const struct job *job);

/* The disks of the machine's devices (cli/image/build.c): d0, d1, ..., and a private copy of the
 * iSCSI disk, `iscsi`. */
bool build_stage_devices(const struct job *job, const char *folder);

/* Fill `folder` (cli/image/build.c) with hairline.elf, the images, plan.bin and f0..fn: copies, or
 * links for a run on this machine. */
bool build_stage(const struct job *job, const char *folder, bool copy);

#endif
