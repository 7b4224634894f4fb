/* Programs that came as boot modules (abi/image.h): "vmm" and "lan". */
#ifndef ROOT_IMAGE_H
#define ROOT_IMAGE_H

#include <abi/boot.h>
#include <lib/call.h>

struct image {
    uint64_t base;               /* physical */
    uint64_t entry;              /* address in its own space */
    uint64_t text, rodata, data; /* bytes, page multiples */
};

/* Check the header of the module `name`. BAD_ARG: missing, or not an image; the console says so. */
uint64_t image_read(const struct boot_info *info, const char *name,
                    struct image *image) WARN_UNUSED;

/* Copy the image's data to `to`, image->data bytes; the module must be open (memory_open_modules).
 */
void image_copy_data(const struct image *image, void *to);

/* Map it into the PD in slot `pd`: text and rodata from the module, which all its users share and
 * none can write; data at physical `data_base`, read and write. W^X: no page is both writable and
 * executable. */
uint64_t image_map(const struct image *image, uint64_t pd, uint64_t data_base) WARN_UNUSED;

#endif
