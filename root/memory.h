/*
 * RAM: who has which frames is decided once, before anything is mapped, because
 * a region can be split only then. What is never taken holds the boot modules.
 */
#ifndef ROOT_MEMORY_H
#define ROOT_MEMORY_H

#include <abi/boot.h>
#include <root/slots.h>
#include <stdbool.h>

struct region {
    uint64_t slot, base, size; /* bytes, page aligned */
};

/* Learn the ranges and modules of the boot information. */
void memory_init(const struct boot_info *info);

/* Copy `size` physical bytes from anywhere; before memory_open. False: some of them are in no range. */
bool memory_read(uint64_t base, void *to, uint64_t size);

/* Cut `size` bytes (a multiple of the page size) of RAM, aligned to `align` (a power of two), out for good,
   away from all modules. False: there is no such run. */
bool memory_take(uint64_t size, uint64_t align, struct region *taken);
/* The largest run of free RAM that memory_take() could give out now, in whole 2 MiB. */
uint64_t memory_largest(void);

/* Cut [base, base + size), whole pages, out of the device memory for good, before any of that is mapped. False: it is
   not all device memory. */
bool memory_take_device(uint64_t base, uint64_t size, struct region *taken);

/* Is [base, base + size) device memory that nobody has taken? */
bool memory_is_device(uint64_t base, uint64_t size);

/* Map bytes [base, base + size), widened to pages, at `va` of the PD in slot `pd`; a raw status. */
uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va);

/* The same for root itself, for good; NULL: not mapped. */
void *memory_open(uint64_t base, uint64_t size, uint64_t perm);

/* All boot modules, read-only. False: the kernel refused. */
bool memory_open_modules(void);

#endif
