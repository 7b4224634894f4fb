/*
 * RAM and device memory: who has which frames is decided once, before anything
 * is mapped, because a region can be split only then. What is taken is nobody
 * else's: each piece is a region of its own, with one slot. RAM that is never
 * taken holds the boot modules. All sizes are bytes, all addresses physical.
 */
#ifndef ROOT_MEMORY_H
#define ROOT_MEMORY_H

#include <abi/boot.h>
#include <root/slots.h>
#include <stdbool.h>

struct region {
    uint64_t slot, base, size; /* bytes, page aligned */
};

/* Learn the ranges and modules of the boot information, which stays. First of all here. */
void memory_init(const struct boot_info *info);

/* Copy `size` physical bytes from anywhere; before memory_open. BAD_ARG: some of them are in no
 * range. */
uint64_t memory_read(uint64_t base, void *to, uint64_t size) WARN_UNUSED;

/* Cut `size` bytes (a multiple of the page size) of RAM, aligned to `align` (a power of two), out
   for good, away from all modules. NO_MEMORY: there is no such run. */
uint64_t memory_take(uint64_t size, uint64_t align, struct region *taken) WARN_UNUSED;
/* The largest run of free RAM that memory_take() could give out now, in whole 2 MiB. */
uint64_t memory_largest(void);

/* Cut [base, base + size), whole pages, out of the device memory for good, before any of that is
   mapped. BAD_ARG: it is not all device memory. */
uint64_t memory_take_device(uint64_t base, uint64_t size, struct region *taken) WARN_UNUSED;

/* Is [base, base + size) device memory of one range that nobody has taken? */
bool memory_is_device(uint64_t base, uint64_t size);

/* Beside the rights: in leaves of 4 KiB only, for which there must be nothing at `va` yet. */
enum { MEMORY_SMALL = 8 };

/* The highest run of `size` bytes in [base, end), aligned to `align` (a power of two), in which
   nothing lies. `begins`: where something begins that meets [at, at + size), ~0: nothing does. 0:
   there is no such run. */
static inline uint64_t memory_run(uint64_t base, uint64_t end, uint64_t size, uint64_t align,
                                  uint64_t (*begins)(uint64_t at, uint64_t size))
{
    while (end >= size && ((end - size) & ~(align - 1)) >= base) {
        uint64_t at = (end - size) & ~(align - 1), next = begins(at, size);
        if (next == ~0ull)
            return at;
        end = next;
    }
    return 0;
}

/* Map bytes [base, base + size), widened to whole pages, at `va` of the PD in slot `pd`, which
   pays. `perm`: MR_READ | MR_WRITE | MR_EXEC | MEMORY_SMALL. All of it must be in one region: what
   a region holds is one owner's, and this does not ask whose. It is the caller who keeps VMs apart.
   BAD_ARG: it is not in one region; else the status of CALL_MR_MAP. */
uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm,
                    uint64_t va) WARN_UNUSED;

/* All that is the installed system's, below `end`, into the PD in slot `pd`, where it is. */
uint64_t memory_map_host(uint64_t end, uint64_t pd) WARN_UNUSED;

/* The same for root itself, for good, at ROOT_PHYS + `base`. The address; NULL: it is not mapped.
 */
void *memory_open(uint64_t base, uint64_t size, uint64_t perm) WARN_UNUSED;

/* Take bytes [base, base + size) of the device memory, widened to whole pages, and map them for
 * root itself, both for good. The address; NULL: they are not device memory, or not mapped. */
static inline WARN_UNUSED void *memory_open_device(uint64_t base, uint64_t size, uint64_t perm)
{
    struct region taken;
    uint64_t first = base & ~(uint64_t)(PAGE_SIZE - 1);
    uint64_t status = memory_take_device(first, pages(base - first + size) << PAGE_SHIFT, &taken);
    return status == OK ? memory_open(base, size, perm) : 0;
}

/* Map all boot modules into root, read-only, for good. BAD_ARG: one could not be mapped. */
uint64_t memory_open_modules(void) WARN_UNUSED;

#endif
