/*
 * What a sender leaves to its network card: the checksum of a frame, and to cut a TCP segment of up
 * to 64 KiB in ones that the LAN's MTU bears (virtio 1.2, 5.1.6.2). Between VMs there is no wire:
 * most frames go as they are to a driver that takes them so. For one that does not, the switch does
 * the work. The sender is not trusted: a receiver gets only what a card could have told it.
 */
#ifndef LIB_OFFLOAD_H
#define LIB_OFFLOAD_H

#include <abi/vm.h>
#include <stdbool.h>

/* Features by which a driver says what it takes (virtio 1.2, 5.1.3): open checksums; segments to be
 * cut, of IPv4, of IPv6, with ECN. */
enum {
    OFFLOAD_CSUM = 1 << 1,
    OFFLOAD_TSO4 = 1 << 7,
    OFFLOAD_TSO6 = 1 << 8,
    OFFLOAD_ECN = 1 << 9,
    OFFLOAD_TSO = OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN
};

/* Headers of a frame to be cut, bytes at most: Ethernet with a tag, IPv4 and TCP with options. */
#define LAN_HEADERS 138u

/* Is that a frame of `size` bytes, the first of them, up to LAN_HEADERS, in `headers`, of which a
 * card could make frames for an MTU of `mtu`? `*o` is then what a driver may be told of it. */
bool offload_check(struct lan_offload *o, const uint8_t *headers, uint32_t size, uint32_t mtu);

/* May a driver that accepted the features `takes` have it as it is? */
bool offload_is_taken(const struct lan_offload *o, uint32_t takes);

/* Finish the checksum of the `size` bytes at `data`, of which `*o` says where. */
void offload_sum(const struct lan_offload *o, uint8_t *data, uint32_t size);

/* Bytes, with its headers, of the segment whose payload is at byte `at` of a frame of `size`. */
uint32_t offload_segment_size(const struct lan_offload *o, uint32_t at, uint32_t size);

/* Make the `size` bytes at `data`, the headers of a frame and the payload from its byte `at` on, a
 * segment of its own; `last`: it is the frame's last one. */
void offload_segment(const struct lan_offload *o, uint8_t *data, uint32_t size, uint32_t at,
                     bool last);

#endif
