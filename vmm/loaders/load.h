/*
 * Loaders: each puts a kernel image into guest RAM and says how it starts.
 * Image files are input: every number in them is checked before it is used.
 */
#ifndef VMM_LOAD_H
#define VMM_LOAD_H

#include <vmm/vcpu/vcpu.h>

/* Guest-physical addresses of what a kernel is handed, from `boot.gdt` on; the GDT has the first
 * page. */
#define BOOT_TABLES  (boot.gdt + 0x1000) /* PML4, PDPT, four page directories: 4 GiB one to one */
#define BOOT_INFO    (boot.gdt + 0x7000) /* zero page, start info or multiboot info             */
#define BOOT_MODULES (boot.gdt + 0x8000) /* PVH, multiboot: module list                         */
#define BOOT_MEMORY  (boot.gdt + 0x9000) /* PVH, multiboot: memory map                          */
#define BOOT_CMDLINE (boot.gdt + 0xa000)
#define BOOT_SIZE    0xb000u
#define BOOT_USUAL   0x8000u
#define ROMS         0xa0000u /* of a PC, to HIGH_MEMORY; here RAM with the ACPI tables */
#define HEADERS                                                                                    \
    0xff000u /* the last page below HIGH_MEMORY: linkers put a file's headers there, if its text   \
                begins at HIGH_MEMORY */
#define HIGH_MEMORY 0x100000u

/* One run of the memory map, bytes. */
struct memory_range {
    uint64_t base, size;
    uint32_t type; /* as E820: 1 RAM, 2 reserved (ACPI 15.1) */
};
#define MEMORY_RANGES 4u
uint32_t load_ranges(void);                 /* how many there are, MEMORY_RANGES at most */
struct memory_range load_range(uint32_t i); /* i < load_ranges() */

/* `size` bytes at `offset` of the image; NULL if not all of them are in it. */
const void *load_image_at(uint64_t offset, uint64_t size);

/* Copy the initrd to the highest page-aligned place above `kernel_end` and below `limit`, both
   guest-physical; `*at`: where it is, 0 if there is none. False: no room. */
bool load_place_initrd(uint64_t kernel_end, uint64_t limit, uint64_t *at);

/* An ELF image, of either class (System V ABI, chapters 4 and 5). */
struct elf {
    bool wide; /* 64-bit */
    uint64_t entry, headers;
    uint32_t count, stride;
};
struct elf_segment {
    uint32_t type;
    uint64_t offset, address, file_size,
        size; /* `address`: physical; bytes of the file are in the image */
};
#define ELF_LOAD 1u
#define ELF_NOTE 4u
bool elf_open(struct elf *e);
bool elf_segment(const struct elf *e, uint32_t i, struct elf_segment *s); /* i < e->count */
const char *elf_load(const struct elf *e, uint64_t *end); /* *end: highest address used */
bool elf_uses(const struct elf *e, uint64_t base,
              uint64_t end); /* a segment overlaps [base, end) */

/* Choose boot.gdt, so that BOOT_SIZE bytes from it on meet no segment of the image. NULL, or what
 * is wrong. */
const char *load_place_boot(const struct elf *e);

/* Load the image of each kind and set `boot`, whose `gdt` is BOOT_USUAL before. NULL, or what is
 * wrong with the image, for the operator. */
const char *load_bzimage(void);
const char *load_pvh(void);
const char *load_multiboot(void);

#endif
