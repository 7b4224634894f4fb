/* SHA-256 (FIPS 180-4). */
#ifndef LIB_SHA256_H
#define LIB_SHA256_H

#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t bytes; /* taken so far */
    uint8_t block[64];
};

/* Begin; add `size` bytes, any number of times; end: the digest. */
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *bytes, uint64_t size);
void sha256_end(struct sha256 *s, uint8_t digest[static 32]);

#endif
