/*
 * A plan's check, and its compilation: what the files check*.c share.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <cli/job.h>
#include <cli/plan/kernel_image.h>
#include <cli/plan/source.h>

#include <stdio.h>

#define MEBI 0x100000ul

/* ---- the plan as libcyaml loads it: its structure, with every value still text ----- */

struct forward_text {
    char **forward;
    uint32_t forward_count;
};

struct device_text { /* one of the two is not NULL */
    struct forward_text *igb;
    char *nvme;
};

struct host_text {
    char *disk, *launch;
};

struct machine_text {
    struct host_text *host;
    char *cores, *memory, *iommu, *firmware, *iscsi, *share_siblings, *small_pages, *kernel_memory;
    struct device_text *devices;
    uint32_t devices_count;
};

struct disk_text {
    char *file, *mode, *volume, *from, *upload; /* a file, a volume, or a size */
};

#define CHECK_VOLUMES (PLAN_VMS * PLAN_DISKS) /* of a service VM */
struct volume_text {
    char *name, *size;
};

#define CHECK_FORWARDS 64u /* of a gateway */
struct port_text {
    char *port, *to, *to_port, *proto;
};
struct gateway_text {
    struct port_text *forward;
    uint32_t forward_count;
};

struct spare_text {
    char *memory; /* `cores` is a list: see the marks */
};

struct lan_text {
    char *name, *mtu;
};

struct vm_text {
    char *name, *mode, *kernel, *initrd, *cmdline, *memory, *vcpus;
    char *priority, *budget, *period, *on_exit, *exit_port, *control, *console, *start;
    char *disengage, *after, *sealed, *tpm; /* `cores` is a number or a list, `lan` a word or a
                                         struct lan_text: see the marks */
    char **devices;
    struct disk_text *disks;
    struct volume_text *volumes;
    struct gateway_text *gateway;
    uint32_t devices_count, disks_count, volumes_count;
};

struct plan_text {
    struct machine_text machine;
    struct spare_text spare;
    struct vm_text *vms;
    uint32_t vms_count;
};

/* Check the structure of the plan (cli/plan/check_yaml.c: YAML syntax, keys, kinds of values) and
 * load it; NULL after messages. */
struct plan_text *check_yaml(struct source *source);
void check_yaml_free(struct plan_text *text);

/* ---- its values, given their meaning ------------------------------------------------ */

/* What VMs that are created later may have, as root tells it (docs/abi.md section 14). */
struct later {
    uint32_t first;      /* number, from 0, of the first VM */
    uint32_t cores;      /* of the machine */
    uint64_t spare;      /* of these, a bit each */
    uint32_t lan, mtu;   /* of the VM that creates them; 0: none */
    const char *gateway; /* NAME:ADDRESS of that LAN's; "": none */
};

/* The state of one check. */
struct check {
    struct source source;
    const struct plan_text *text;
    struct job *job;
    const char *folder; /* the plan's: paths in it start here */
    const char *lan[PLAN_LANS];
    uint32_t lan_vm[PLAN_LANS];          /* the first on each */
    struct kernel_image image[PLAN_VMS]; /* of each VM's kernel */
    uint32_t vm;                         /* the one in hand     */
    uint64_t cores;                      /* that VMs may have, a bit each */
    const struct later *later;           /* NULL: it is a plan to boot */
    bool batch;
};

/* The number, from 0, that the plan's first VM has in the machine. */
static inline uint32_t check_first(const struct check *check)
{
    return check->later ? check->later->first : 0;
}

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
void check_error(struct check *check, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `text` as a number within `limit`; an error at `path` and 0 otherwise. */
uint64_t check_number(struct check *check, const char *path, const char *text,
                      const struct limit *limit);

/* The same for key `key` of the VM in hand; `fallback` when the plan does not give it. */
uint64_t check_vm_number(struct check *check, const char *key, const char *text,
                         const struct limit *limit, uint64_t fallback);

/* The meaning of `text`; the default's for NULL; an error at `path` and 0 for an unknown word. */
uint32_t check_choice(struct check *check, const char *path, const char *text,
                      const struct choice *choice);

/* What the VM in hand has at `key`; NULL: nothing, or more than one word. */
const char *check_vm_word(const struct check *check, const char *key);

/* The emulated machine, and the devices that the VM in hand gets of it (cli/plan/check_machine.c).
 */
void check_machine(struct check *check);
void check_devices(struct check *check);

/* A disk of the machine at `path` of the plan (cli/plan/check_files.c): a file, ext4:SIZE, or
 * `debian`, the userland as a root file system. */
void check_image(struct check *check, const char *path, const char *text, const char *owner,
                 struct job_file *file);

/* A device as a plan names it. */
#define CHECK_DEVICE 32
void check_device_text(char text[static CHECK_DEVICE], const struct plan_device *device);

/* Files (cli/plan/check_files.c): give the VM in hand its kernel, initrd and disks; make and
   measure packaged files, and find what kind of kernel each is; false after errors. */
void check_files(struct check *check);
bool check_packages(struct check *check);

/* Volumes (cli/plan/check_volumes.c): who serves whose disks, by which LAN; all VMs are compiled.
 * And the words that tell a service VM of them. */
void check_volumes(struct check *check);
void check_volume_words(const struct check *check, FILE *out);

/* Gateways (cli/plan/check_gateway.c): who leads out of which LAN, and where ports lead. And the
 * words that tell the VM in hand of it. */
void check_gateways(struct check *check);
bool check_is_gateway(const struct check *check, const struct plan_vm *vm);
void check_gateway_words(const struct check *check, FILE *out);

/* Is it 1 to 31 of a-z, 0-9 and -, which is not the first: a command's name is no option? */
bool check_is_name(const char *name);

/* The command line of the VM in hand (cli/plan/check_files.c): words with which no Linux comes up
 * are errors; the tool's words. */
void check_words(struct check *check);
void check_cmdline(struct check *check);
extern const struct choice disengages[];
extern const struct choice check_bools[]; /* false, true */

/* Which VM runs on which cores (cli/plan/check_cores.c); all VMs have their modes and vCPUs. A line
   for each VM on stdout: what it is promised of the time of those cores. */
void check_cores(struct check *check);
void check_promises(const struct job *job);

/* What the plan has to spare, and the disk by which VMs come that are created
   (cli/plan/check_spare.c); the machine's cores are known. Then the VMs of a plan to create: LANs
   and keys, with the VMs compiled. */
void check_spare(struct check *check);
void check_upload(struct check *check, const char *text, uint32_t disk);
void check_later(struct check *check);

/* The VM of `mode: host` (cli/plan/check_host.c): its record, when it is in hand; what others
   beside it cannot have; and, all VMs having their cores, those that Hairline keeps. */
void check_host_machine(struct check *check);
void check_host_vm(struct check *check);
void check_host(struct check *check);

/* Key `i` of a VM in a plan, in the order in which messages list them; NULL: there are no more. */
const char *check_vm_key(uint32_t i);

/* The kernel of the VM in hand and its initrd fit its memory (cli/plan/check_memory.c). */
void check_fits(struct check *check);

/* Kernel and initrd fit their VM; all VMs, files and copies fit into the machine
   (cli/plan/check_memory.c); all files have their sizes. */
void check_sizes(struct check *check);

#endif
