/*
 * Byte rings between two domains (abi/vm.h): free-running 32-bit indices, one
 * writer, one reader. TOCTOU: the other side may write anything into the shared
 * page at any time, so each index is read once, and only the copy is used,
 * masked. The other side can spoil its own bytes and nothing else.
 *
 * Lost wake-up: the writer rings only if the ring was empty before. It can add
 * bytes after the reader saw the ring empty and before the reader sleeps. The
 * tail is stored with full ordering, before the reader looks at the head again:
 * either that look finds the bytes, or the writer finds the ring empty and rings.
 */
#ifndef LIB_RING_H
#define LIB_RING_H

#include <stdint.h>

/* Both return the bytes moved, 0..max, which may be fewer than there are. `size`: of the ring,
 * bytes, a power of two. `head` is the writer's, `tail` the reader's. An impossible index of the
 * other side: 0, and a reader drops all. */
static inline uint32_t ring_read(const char *ring, uint32_t size, const volatile uint32_t *head,
                                 volatile uint32_t *tail, char *to, uint32_t max)
{
    uint32_t from = *tail, used = __atomic_load_n(head, __ATOMIC_ACQUIRE) - from;
    uint32_t n = used < max ? used : max;
    if (used > size)
        n = 0;
    for (uint32_t i = 0; i < n; i++)
        to[i] = ((const volatile char *)ring)[(from + i) & (size - 1)];
    __atomic_store_n(tail, used > size ? from + used : from + n, __ATOMIC_SEQ_CST);
    return n;
}

static inline uint32_t ring_write(char *ring, uint32_t size, volatile uint32_t *head,
                                  const volatile uint32_t *tail, const char *data, uint32_t max)
{
    uint32_t at = *head, used = at - __atomic_load_n(tail, __ATOMIC_ACQUIRE);
    uint32_t space = used > size ? 0 : size - used;
    uint32_t n = max < space ? max : space;
    for (uint32_t i = 0; i < n; i++)
        ring[(at + i) & (size - 1)] = data[i];
    __atomic_store_n(head, at + n, __ATOMIC_RELEASE);
    return n;
}

#endif
