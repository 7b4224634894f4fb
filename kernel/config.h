/* Sizes and fixed places. Nothing here is tuned to a plan. */
#ifndef KERNEL_CONFIG_H
#define KERNEL_CONFIG_H

#include <abi/utcb.h>

#define KERNEL_BASE 0xffffffff80000000ull /* physical 0 in the kernel's window */
#define USER_END                                                                                   \
    0x00007ffffffff000ull /* first address that is never user's: the last canonical page is left   \
                             out */

/* The pool is all memory the kernel ever uses beside its image. */
#ifndef POOL_FRAMES
#define POOL_FRAMES 8192u /* 32 MiB: what the image is linked with */
#endif
#define POOL_MOST (8 * POOL_FRAMES - 1) /* with what lies behind it (boot_info.more_frames) */
#ifndef OBJECTS
#define OBJECTS 8192u
#endif

/* Entries of a page table: 512 (APM2 5.3); proofs take a smaller machine. */
#ifndef TABLE_BITS
#define TABLE_BITS 9
#endif
#define TABLE_ENTRIES (1u << TABLE_BITS)

/* The kernel's own view of frames that it cleans, a few at a time. */
#define SCRUB_WINDOW 0xffffffffbfe00000ull
#define SCRUB_FRAMES 64u
/* Behind it, in the same page table: the registers of IOMMUs. */
#define IOMMU_WINDOW (SCRUB_WINDOW + SCRUB_FRAMES * PAGE_SIZE)
/* At that table's end: the local APIC's registers, where there is no x2APIC mode (APM2 16.3.1). */
#define APIC_WINDOW 0xffffffffbffff000ull
#define APIC_FRAME  0xfee00ull

enum vector { VECTOR_SX = 30, VECTOR_TIMER = 0xf0, VECTOR_IPI = 0xf1, VECTOR_SPURIOUS = 0xff };
enum selector {
    SEL_KERNEL_CODE = 0x08,
    SEL_KERNEL_DATA = 0x10,
    SEL_USER_DATA = 0x1b,
    SEL_USER_CODE = 0x23,
    SEL_TSS = 0x28
};

#endif
