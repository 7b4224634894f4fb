/*
 * `probe --here`: a look at the machine on which the tool runs, through its
 * Linux, without starting anything. What Hairline asks of a machine is told
 * line by line, and a plan is made of what was found. All paths start at a
 * folder, so that a recorded machine can be looked at, too.
 */
#ifndef CLI_HERE_H
#define CLI_HERE_H

#include <abi/call.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HERE_DEVICES 3 /* functions that the plan gives to VMs, at most */

enum verdict {
    FITS,
    WITHOUT, /* Hairline starts, but has no use of a part, or does not give something */
    MISSING, /* Hairline does not start there, as it is */
    UNKNOWN, /* Linux does not say */
};

struct here {
    const char *root; /* stands before each path */
    struct json_object *lines;
    uint32_t count[4]; /* lines by verdict */

    /* For the plan. */
    bool dedicated;   /* VMs of that mode run here */
    bool small_pages; /* there, machine.small_pages is true whatever a plan says */
    uint32_t cores;   /* of those online that Hairline uses, at least 1 */
    uint64_t memory;  /* RAM, bytes; 0: unknown */
    enum iommu_kind iommu;
    const char *device[HERE_DEVICES], *device_name[HERE_DEVICES];
    uint32_t devices;
};

/* One line on stdout, and in here->lines. */
void here_say(struct here *here, enum verdict verdict, const char *item, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The first `max` bytes of a file; 0: it cannot be read. */
size_t here_read(const struct here *here, const char *path, void *bytes, size_t max);

/* The first line of a file, without its end; NULL: it cannot be read. Lives as long as the tool. */
const char *here_line(const struct here *here, const char *path);

/* The number there, decimal, or hexadecimal behind 0x; `fallback`: it cannot be read. */
uint64_t here_number(const struct here *here, const char *path, uint64_t fallback);

bool here_exists(const struct here *here, const char *path);

/* A model-specific register of processor 0 (/dev/cpu/0/msr: root, module msr); false: it cannot be
   read. */
bool here_msr(const struct here *here, uint32_t number, uint64_t *value);

/* The first `max` bytes of one of the firmware's ACPI tables; 0: it cannot be read. Is it there at
   all? */
size_t here_table(const struct here *here, const char *name, void *bytes, size_t max);
bool here_has_table(const struct here *here, const char *name);

/* The parts, one after the other: processor and cores (cli/here/here_processor.c); memory, firmware
   and console (cli/here/here_platform.c); IOMMUs and PCI functions (cli/here/here_devices.c). */
void here_processor(struct here *here);
void here_platform(struct here *here);
void here_devices(struct here *here);

#endif
