/*
 * User-mode programs (root, vmm, lan) are flat images linked at IMAGE_BASE:
 * this header, text, read-only data, then data with bss, each page aligned and
 * all of it in the file. Loading one is mapping three runs of pages.
 */
#ifndef ABI_IMAGE_H
#define ABI_IMAGE_H

#include <stdint.h>

#define IMAGE_MAGIC 0x6567616d696c68ull /* "hlimage" */
#define IMAGE_BASE  0x400000ull

struct image_header {
    uint64_t magic;
    uint64_t entry;              /* address                              */
    uint32_t text, rodata, data; /* pages; text includes this header     */
    uint32_t reserved;
};

/* Where the kernel puts things in root's space before it starts. Root's main
   thread starts at `entry` with rsp = 0: lib/start.S takes a stack of its own. */
#define ROOT_UTCB 0x10000000ull /* UTCB of root's first thread               */
#define ROOT_INFO 0x10001000ull /* struct boot_info, read-only               */

#endif
