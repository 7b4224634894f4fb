/*
 * A fuzz target is one function that looks at one input; a run of it calls it
 * again and again. What must hold whatever the input is, it says by fuzz_must;
 * the sanitizers say the rest. One target is one program: driver.c is its main
 * part for libFuzzer, tests/fuzz/run runs them all.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The target. What an input leaves behind must not change what the next one does. */
void fuzz_one(const uint8_t *data, size_t size);
/* Once, before the first input. */
void fuzz_begin(void);

/* End the run, with the sentence and the input kept, unless `holds`. */
void fuzz_must(bool holds, const char *sentence);

/* The bytes of an input, taken from its front; past its end they are zero. */
struct feed {
    const uint8_t *at;
    size_t left;
};

static inline void feed_bytes(struct feed *f, void *to, size_t size)
{
    size_t n = size < f->left ? size : f->left;
    memset(to, 0, size);
    if (n)
        memcpy(to, f->at, n);
    f->at += n;
    f->left -= n;
}

static inline uint64_t feed_number(struct feed *f, size_t bytes)
{
    uint64_t value = 0;
    feed_bytes(f, &value, bytes);
    return value;
}

static inline uint8_t feed_8(struct feed *f) { return (uint8_t)feed_number(f, 1); }
static inline uint16_t feed_16(struct feed *f) { return (uint16_t)feed_number(f, 2); }
static inline uint32_t feed_32(struct feed *f) { return (uint32_t)feed_number(f, 4); }

/* A number of up to 64 bits, often one at which something ends. */
uint64_t feed_value(struct feed *f);

#endif
