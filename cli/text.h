/*
 * The plan as libcyaml loads it: its structure, with every value still text.
 * cli/compile.c gives the values their meaning.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <cli/source.h>

struct forward_text {
    char **forward;
    uint32_t forward_count;
};

struct device_text { /* one of them is not NULL */
    struct forward_text *igb;
    char *nvme;
};

struct machine_text {
    char *cores, *memory, *iommu, *iscsi;
    struct device_text *devices;
    uint32_t devices_count;
};

struct disk_text {
    char *file, *mode;
};

struct lan_text {
    char *name, *mtu;
};

struct vm_text {
    char *name, *mode, *kernel, *initrd, *cmdline, *memory, *vcpus;
    char *priority, *budget, *period, *on_exit, *exit_port;
    char *disengage, *after, *sealed; /* `cores` is a number or a list, `lan` a word or a struct lan_text: see the marks */
    char **devices;
    struct disk_text *disks;
    uint32_t devices_count, disks_count;
};

struct plan_text {
    struct machine_text machine;
    struct vm_text *vms;
    uint32_t vms_count;
};

/* Check the structure of the plan (YAML syntax, keys, kinds of values) and load it; NULL after messages. */
struct plan_text *text_load(struct source *source);
void text_free(struct plan_text *text);

#endif
