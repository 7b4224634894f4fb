/*
 * What the packer (cli/image/efi.c) writes for the UEFI stub, and what the stub writes for
 * boot/uefi.c.
 *
 * The file is a PE image. Its sections whose names do not begin with a dot are measured, in file
 * order: "kernel", then the modules root, vmm, lan, plan, f0, f1, ...
 */
#ifndef BOOT_UEFI_HANDOVER_H
#define BOOT_UEFI_HANDOVER_H

#include <abi/boot.h>

#define UEFI_MAGIC  0x21494655u /* "UFI!": in place of a multiboot loader's magic */
#define UEFI_KERNEL "kernel"
#define UEFI_WIDE   0x80000000u
#define UEFI_LIMIT  (1022ull << 20) /* the image ends below it: kernel/config.h */

/* Section "kernel": this, `moves` words, `bytes` of image. The image may lie at any physical
       page below UEFI_LIMIT: the distance from `base` is added to each number that `move` names. */
struct uefi_kernel {
    uint64_t base;  /* physical address for which it is linked             */
    uint64_t size;  /* of memory that it takes; zeros from `bytes` on      */
    uint64_t bytes; /* of it in the file                                   */
    uint32_t entry; /* offset of its entry for multiboot loaders           */
    uint32_t moves;
    uint32_t move[]; /* offset of 4 bytes; with UEFI_WIDE: of 8             */
};

struct uefi_module {
    uint64_t base, size; /* bytes */
    char name[8];        /* zero-terminated if shorter */
};

struct uefi_handover {
    uint64_t rsdp; /* physical address, 0: none                      */
    struct boot_screen screen;
    uint64_t map, map_size, map_step; /* firmware's memory map: address, bytes, a line's */
    uint32_t modules;
    struct uefi_module module[BOOT_MODULES];
};

/* A line of firmware's memory map (UEFI 2.10, 7.2.3). */
struct uefi_line {
    uint32_t type, reserved;
    uint64_t base, virtual, pages, attribute; /* pages of 4 KiB */
};

enum uefi_type {
    UEFI_LOADER_CODE = 1,
    UEFI_LOADER_DATA,
    UEFI_BOOT_CODE,
    UEFI_BOOT_DATA,
    UEFI_CONVENTIONAL = 7
};

#endif
