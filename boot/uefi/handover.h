/*
 * What the packer (cli/image/efi.c) writes for the UEFI stub, and what the stub writes for
 * boot/uefi.c.
 *
 * The file is a PE image. Its sections whose names do not begin with a dot are measured, in file
 * order: "kernel", then the modules root, vmm, lan, plan, f0, f1, ... Of a plan with a VM of
 * MODE_HOST the image is a boot service driver, which returns to the firmware, and it has the
 * section ".host": a struct uefi_host.
 */
#ifndef BOOT_UEFI_HANDOVER_H
#define BOOT_UEFI_HANDOVER_H

#include <abi/boot.h>

#define UEFI_MAGIC  0x21494655u /* "UFI!": in place of a multiboot loader's magic */
#define UEFI_KERNEL "kernel"
#define UEFI_HOST   ".host"
#define UEFI_WIDE   0x80000000u
#define UEFI_LIMIT  (1022ull << 20) /* the image ends below it: kernel/config.h */

/* Section "kernel": this, `moves` words, `bytes` of image. The image may lie at any physical
       page below UEFI_LIMIT: the distance from `base` is added to each number that `move` names. */
struct uefi_kernel {
    uint64_t base;          /* physical address for which it is linked             */
    uint64_t size, bytes;   /* of memory that it takes; of it in the file, the rest is zeros */
    uint32_t entry;         /* offset of its entry for multiboot loaders           */
    uint32_t moves, move[]; /* offset of 4 bytes; with UEFI_WIDE: of 8             */
};

/* What Hairline keeps of the machine for itself and all VMs but the host: cores 0 to `cores` - 1,
   and `memory` bytes beside its image and modules, a multiple of 2 MiB. `serial`: the I/O port of a
   16550 that the host does not use, for Hairline's own console; 0: it has none. */
struct uefi_host {
    uint32_t cores, serial;
    uint64_t memory;
};

struct uefi_module {
    uint64_t base, size; /* bytes */
    char name[8];        /* zero-terminated if shorter */
};

/* As a guest: the firmware; or a system that runs already (linux/). */
enum uefi_goes_on { UEFI_FIRMWARE = 1, UEFI_LATE };

struct uefi_handover {
    uint64_t rsdp; /* physical address, 0: none                      */
    struct boot_screen screen;
    uint64_t map, map_size, map_step; /* firmware's memory map: address, bytes, a line's */
    uint32_t modules;
    uint32_t host, serial; /* host: enum uefi_goes_on, and the map is Hairline's own; serial: as in
                              struct uefi_host */
    struct uefi_module module[BOOT_MODULES];
};

/* A line of firmware's memory map (UEFI 2.10, 7.2.3). */
struct uefi_line {
    uint32_t type, reserved;
    uint64_t base, virtual, pages, attribute; /* pages of 4 KiB */
};

enum uefi_type {
    UEFI_RESERVED,
    UEFI_LOADER_CODE = 1,
    UEFI_LOADER_DATA,
    UEFI_BOOT_CODE,
    UEFI_BOOT_DATA,
    UEFI_CONVENTIONAL = 7
};

#endif
