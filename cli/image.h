/*
 * Which kind of kernel a file is.
 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

/* Looks at the file `path`. Returns NULL and the enum plan_kernel, or why it cannot be booted. */
const char *image_kind(const char *path, unsigned *kind);

#endif
