/*
 * Frame rings between a VMM and its LAN switch (abi/vm.h): free-running
 * indices, one writer, one reader. TOCTOU: either side may be hostile and write
 * at any time. An index is only used modulo the ring's size, so the other side can
 * spoil its own frames and nothing else. The MTU, which says how large a slot is,
 * comes from root.
 *
 * Lost wake-up: one side can add or take a frame after the other found nothing
 * to do (empty, full) and before that one sleeps. Each side stores its own word
 * (an index; the writer that finds no room, `waits`) before it loads the other's
 * index, all with full ordering: either the sleeper sees the new index, or the
 * other sees that the ring was empty, or that the writer waits, and rings.
 */
#ifndef LAN_LAN_RING_H
#define LAN_LAN_RING_H

#include <abi/vm.h>
#include <stdbool.h>
#include <stddef.h>

/* The two rings of the port at `at`. */
static inline struct lan_ring *lan_to_switch(void *at) { return (struct lan_ring *)at; }
static inline struct lan_ring *lan_to_vm(void *at, uint32_t mtu)
{
    return (struct lan_ring *)(void *)((uint8_t *)at + LAN_RING_BYTES(mtu));
}

/* The slot of a free-running index. */
static inline struct lan_frame *lan_ring_slot(struct lan_ring *r, uint32_t mtu, uint32_t index)
{
    return (struct lan_frame *)(void *)(r->slots + (uint64_t)(index % LAN_SLOTS) * LAN_SLOT(mtu));
}

/* Slots that a frame of `size` bytes takes, 0..LAN_FRAME_MAX: at most LAN_SLOTS. */
static inline uint32_t lan_frame_slots(uint32_t size, uint32_t mtu)
{
    uint32_t all = size + (uint32_t)sizeof(struct lan_frame), slot = LAN_SLOT(mtu);
    return all <= slot ? 1 : (all + slot - 1) / slot;
}

static inline bool lan_ring_has_room(const struct lan_ring *r, uint32_t mtu, uint32_t size)
{
    uint32_t used = r->head - __atomic_load_n(&r->tail, __ATOMIC_SEQ_CST);
    return used <= LAN_SLOTS - lan_frame_slots(size, mtu);
}

/* Writer: the frame to fill next, with room for `size` bytes, 0..LAN_FRAME_MAX; NULL while the ring
   has none: the reader then rings the bell when it has taken a frame. */
static inline struct lan_frame *lan_ring_free(struct lan_ring *r, uint32_t mtu, uint32_t size)
{
    bool room = lan_ring_has_room(r, mtu, size);
    if (room == r->waits) {
        __atomic_store_n(&r->waits, !room, __ATOMIC_SEQ_CST);
        room = lan_ring_has_room(r, mtu, size);
    }
    return room ? lan_ring_slot(r, mtu, r->head) : NULL;
}

/* Writer: hand the frame of lan_ring_free over, of `size` bytes. True: the ring was empty, ring the
 * reader's bell. */
static inline bool lan_ring_publish(struct lan_ring *r, uint32_t mtu, uint32_t size)
{
    uint32_t head = r->head;
    __atomic_store_n(&r->head, head + lan_frame_slots(size, mtu), __ATOMIC_SEQ_CST);
    return __atomic_load_n(&r->tail, __ATOMIC_SEQ_CST) == head;
}

/* Reader: the oldest frame; NULL if there is none. Impossible indices empty the ring. */
static inline const struct lan_frame *lan_ring_oldest(struct lan_ring *r, uint32_t mtu)
{
    uint32_t tail = r->tail, head = __atomic_load_n(&r->head, __ATOMIC_SEQ_CST);
    if (head - tail > LAN_SLOTS)
        __atomic_store_n(&r->tail, head, __ATOMIC_SEQ_CST);
    return head - tail - 1 < LAN_SLOTS ? lan_ring_slot(r, mtu, tail) : NULL;
}

/* Anybody: is there nothing to read? It changes nothing, so it needs no lock. Lost frames: a look
   that empties a ring of impossible indices would empty a good one whose reader goes on between the
   two loads. The tail is loaded first: an honest ring's never passes the head. */
static inline bool lan_ring_is_empty(const struct lan_ring *r)
{
    uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&r->head, __ATOMIC_SEQ_CST) == tail;
}

/* Reader: done with that frame, of `size` bytes as lan_frame_size told. True: the writer waits for
   room, ring its bell. */
static inline bool lan_ring_retire(struct lan_ring *r, uint32_t mtu, uint32_t size)
{
    __atomic_store_n(&r->tail, r->tail + lan_frame_slots(size, mtu), __ATOMIC_SEQ_CST);
    return __atomic_load_n(&r->waits, __ATOMIC_SEQ_CST);
}

/* Bytes of a frame, read once; 0 if out of range (LAN_FRAME_MIN..LAN_FRAME_MAX). */
static inline uint32_t lan_frame_size(const struct lan_frame *f)
{
    uint32_t size = __atomic_load_n(&f->size, __ATOMIC_RELAXED);
    return size >= LAN_FRAME_MIN && size <= LAN_FRAME_MAX ? size : 0;
}

#endif
