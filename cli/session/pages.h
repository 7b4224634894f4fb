/*
 * The line of an installed system beneath which Hairline is: pages that the system's root shares
 * with Hairline's (docs/abi.md section 14). After a launch the module has them; since power-on
 * firmware's table of processors says where they are.
 */
#ifndef CLI_PAGES_H
#define CLI_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pages {
    const char *device;    /* by which they come */
    int fd;                /* for a lock, and of a VM's device; -1: it is not open */
    struct vm_control *at; /* NULL: they are not mapped */
};

/* Is Hairline beneath, with a line that this user may see? Then they are mapped, or errno says why
 * they cannot be. */
bool pages_open(struct pages *pages);
void pages_close(struct pages *pages);

/* What an earlier user did not read is dropped. */
void pages_drop(const struct pages *pages);
/* Up to `size` bytes, until the time `until` (host_now_ms); 0: none came. */
size_t pages_read(const struct pages *pages, char *to, size_t size, uint64_t until);
/* False: root did not take all of `text` until then. */
bool pages_write(const struct pages *pages, const char *text, uint64_t until);

#endif
