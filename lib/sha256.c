#include <lib/sha256.h>
#include <lib/string.h>

static uint32_t ror(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

/* Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64
 * primes. */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void schedule(uint32_t w[64], const uint8_t *block)
{
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] +
               (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
}

/* Round `n` modulo 8. The working variables are not moved: each round finds them one place further
 * down in `v`. */
static inline __attribute__((always_inline)) void turn(uint32_t v[8], unsigned n, uint32_t kw)
{
    uint32_t a = v[-n & 7], b = v[(1 - n) & 7], c = v[(2 - n) & 7], *d = &v[(3 - n) & 7];
    uint32_t e = v[(4 - n) & 7], f = v[(5 - n) & 7], g = v[(6 - n) & 7], *h = &v[(7 - n) & 7];
    uint32_t t1 = *h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + kw;
    *d += t1;
    *h = t1 + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
}

static void compress(struct sha256 *s, const uint8_t *block)
{
    uint32_t w[64], v[8]; /* v: a to h */
    schedule(w, block);
    memcpy(v, s->state, sizeof(v));
    for (unsigned i = 0; i < 64; i += 8) { /* eight rounds, after which each word is where it was */
        turn(v, 0, k[i] + w[i]);
        turn(v, 1, k[i + 1] + w[i + 1]);
        turn(v, 2, k[i + 2] + w[i + 2]);
        turn(v, 3, k[i + 3] + w[i + 3]);
        turn(v, 4, k[i + 4] + w[i + 4]);
        turn(v, 5, k[i + 5] + w[i + 5]);
        turn(v, 6, k[i + 6] + w[i + 6]);
        turn(v, 7, k[i + 7] + w[i + 7]);
    }
    for (unsigned i = 0; i < 8; i++)
        s->state[i] += v[i];
}

void sha256_begin(struct sha256 *s)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->state, first, sizeof(first));
    s->bytes = 0;
}

void sha256_add(struct sha256 *s, const void *bytes, uint64_t size)
{
    const uint8_t *from = bytes;
    while (size > 0) {
        uint64_t at = s->bytes % 64, part = size < 64 - at ? size : 64 - at;
        memcpy(s->block + at, from, part);
        s->bytes += part;
        from += part;
        size -= part;
        if (s->bytes % 64 == 0)
            compress(s, s->block);
    }
}

void sha256_end(struct sha256 *s, uint8_t digest[static 32])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = s->bytes * 8;
    uint8_t size[8];
    for (unsigned i = 0; i < 8; i++)
        size[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(s, padding, (s->bytes % 64 < 56 ? 56 : 120) - s->bytes % 64);
    sha256_add(s, size, sizeof(size));
    for (unsigned i = 0; i < 32; i++)
        digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}
