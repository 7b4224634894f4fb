/*
 * Byte rings between two domains (abi/vm.h): free-running 32-bit indices, one
 * writer, one reader. The other side may write anything anywhere in the shared
 * page at any time: indices are read once and masked, so the worst it can do
 * is to spoil its own bytes.
 *
 * The tail is stored with full ordering: a reader that then finds the ring empty
 * cannot miss the bell of a writer who rings when the ring was empty.
 */
#ifndef LIB_RING_H
#define LIB_RING_H

#include <stdint.h>

/* Both return the bytes moved, 0..max; `size` is a power of two. */
static inline uint32_t ring_read(const char *ring, uint32_t size, const volatile uint32_t *head, volatile uint32_t *tail, char *to,
                                 uint32_t max)
{
    uint32_t from = *tail, used = __atomic_load_n(head, __ATOMIC_ACQUIRE) - from;
    uint32_t n = used > size ? 0 : used < max ? used : max;
    for (uint32_t i = 0; i < n; i++)
        to[i] = ((const volatile char *)ring)[(from + i) & (size - 1)];
    __atomic_store_n(tail, used > size ? from + used : from + n, __ATOMIC_SEQ_CST);
    return n;
}

static inline uint32_t ring_write(char *ring, uint32_t size, volatile uint32_t *head, const volatile uint32_t *tail, const char *data,
                                  uint32_t max)
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
