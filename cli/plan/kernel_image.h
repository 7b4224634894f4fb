/*
 * What the tool finds out about a kernel image.
 */
#ifndef CLI_KERNEL_IMAGE_H
#define CLI_KERNEL_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct kernel_image {
    uint32_t kind; /* enum plan_kernel                                               */
    bool is_linux;
    uint64_t end; /* of the memory that it takes when it starts, from 0; 0: not known */
};

/* Look into the kernel image `path`; NULL, or what is wrong with it as a guest, as the end of a
 * sentence. */
const char *kernel_image_look(const char *path, struct kernel_image *image);

#endif
