/* Checksums (RFC 1071) and TCP segments (RFC 9293) for drivers that leave them to no card. */
#include <lib/offload.h>

enum { NEEDS_CSUM = 1 };                               /* flags */
enum { GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80 }; /* gso_type */
enum { TAG = 4, TAGGED = 0x8100, TAGGED_AD = 0x88a8 }; /* IEEE 802.1Q, 802.1ad */
enum { ETHERTYPE = 12, IPV4 = 0x0800, IPV6 = 0x86dd, TCP = 6 };
enum { V4_LENGTH = 2, V4_ID = 4, V4_PROTOCOL = 9, V4_SUM = 10, V4_FROM = 12, V4_MIN = 20 };
enum { V6_LENGTH = 4, V6_NEXT = 6, V6_FROM = 8, V6_SIZE = 40 };
enum { TCP_SEQUENCE = 4, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_SUM = 16, TCP_MIN = 20 };
enum { TCP_FIN = 1, TCP_PUSH = 8, TCP_CWR = 0x80 };
#define SEGMENT_MIN 64u /* bytes of payload: a frame is not cut in thousands */

static uint32_t get16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

/* Add to a sum, of less than 64 KiB in all. */
static uint32_t sum_add(uint32_t sum, const uint8_t *p, uint32_t size)
{
    for (; size > 1; size -= 2, p += 2)
        sum += get16(p);
    return size ? sum + ((uint32_t)*p << 8) : sum;
}

static uint32_t sum_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* Where IP begins. */
static uint32_t ip_at(const uint8_t *headers)
{
    uint32_t type = get16(headers + ETHERTYPE);
    return ETHERTYPE + 2 + (type == TAGGED || type == TAGGED_AD ? TAG : 0);
}

/* Where TCP begins in a frame of at least LAN_FRAME_MIN bytes; 0: there is none. */
static uint32_t tcp_at(const uint8_t *headers, uint32_t size, uint32_t type)
{
    uint32_t ip = ip_at(headers);
    const uint8_t *h = headers + ip;
    if (size < ip + V4_MIN)
        return 0;
    if (type == GSO_TCPV4 && get16(h - 2) == IPV4 && h[0] >> 4 == 4 && h[V4_PROTOCOL] == TCP)
        return ip + 4u * (h[0] & 15);
    if (type == GSO_TCPV6 && get16(h - 2) == IPV6 && h[0] >> 4 == 6 && h[V6_NEXT] == TCP)
        return ip + V6_SIZE;
    return 0;
}

/* `*o` is about a TCP segment to be cut: do its headers agree? */
static bool segment_check(struct lan_offload *o, const uint8_t *headers, uint32_t size,
                          uint32_t mtu)
{
    uint32_t ip = ip_at(headers), tcp = tcp_at(headers, size, o->gso_type & ~(uint32_t)GSO_ECN);
    if (tcp < ip + V4_MIN || size < tcp + TCP_MIN || o->csum_start != tcp ||
        o->csum_offset != TCP_SUM)
        return false;
    uint32_t end = tcp + 4u * (headers[tcp + TCP_OFFSET] >> 4);
    o->hdr_len = (uint16_t)end;
    return end >= tcp + TCP_MIN && end < size && o->gso_size >= SEGMENT_MIN &&
           end - ip + o->gso_size <= mtu;
}

bool offload_check(struct lan_offload *o, const uint8_t *headers, uint32_t size, uint32_t mtu)
{
    bool whole = o->gso_type == 0;
    if (size < LAN_FRAME_MIN || (whole && size > LAN_FRAME(mtu)))
        return false;
    if (whole && !(o->flags & NEEDS_CSUM)) {
        *o = (struct lan_offload){.flags = 0};
        return true;
    }
    o->flags &= NEEDS_CSUM;
    o->buffers = 0;
    if (!o->flags || o->csum_start < LAN_FRAME_MIN ||
        (uint32_t)o->csum_start + o->csum_offset + 2 > size)
        return false;
    if (!whole)
        return segment_check(o, headers, size, mtu);
    o->hdr_len = o->gso_size = 0;
    return true;
}

bool offload_is_taken(const struct lan_offload *o, uint32_t takes)
{
    uint32_t needs = o->flags ? OFFLOAD_CSUM : 0;
    if (o->gso_type)
        needs |= (o->gso_type & GSO_TCPV4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6) |
                 (o->gso_type & GSO_ECN ? OFFLOAD_ECN : 0);
    return (needs & ~takes) == 0;
}

void offload_sum(const struct lan_offload *o, uint8_t *data, uint32_t size)
{
    uint32_t sum = sum_fold(sum_add(0, data + o->csum_start, size - o->csum_start));
    put16(data + o->csum_start + o->csum_offset, sum ? sum : 0xffff); /* UDP: 0 is "none" */
}

uint32_t offload_segment_size(const struct lan_offload *o, uint32_t at, uint32_t size)
{
    return o->hdr_len + (size - at < o->gso_size ? size - at : o->gso_size);
}

/* The headers of IP for a segment; returns its part of TCP's checksum (RFC 9293, 3.1). */
static uint32_t segment_ip(const struct lan_offload *o, uint8_t *data, uint32_t size, uint32_t at)
{
    uint32_t tcp = o->csum_start, number = (at - o->hdr_len) / o->gso_size;
    uint8_t *ip = data + ip_at(data);
    if (!(o->gso_type & GSO_TCPV4)) {
        put16(ip + V6_LENGTH, size - tcp);
        return sum_add(TCP + size - tcp, ip + V6_FROM, 32);
    }
    put16(ip + V4_LENGTH, (uint32_t)(data + size - ip));
    put16(ip + V4_ID, get16(ip + V4_ID) + number);
    put16(ip + V4_SUM, 0);
    put16(ip + V4_SUM, sum_fold(sum_add(0, ip, (uint32_t)(data + tcp - ip))));
    return sum_add(TCP + size - tcp, ip + V4_FROM, 8);
}

void offload_segment(const struct lan_offload *o, uint8_t *data, uint32_t size, uint32_t at,
                     bool last)
{
    uint8_t *tcp = data + o->csum_start;
    uint32_t done = at - o->hdr_len, low = get16(tcp + TCP_SEQUENCE + 2) + (done & 0xffff);
    put16(tcp + TCP_SEQUENCE, get16(tcp + TCP_SEQUENCE) + (done >> 16) + (low >> 16));
    put16(tcp + TCP_SEQUENCE + 2, low);
    if (!last)
        tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PUSH);
    if (done)
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
    uint32_t sum = segment_ip(o, data, size, at);
    put16(tcp + TCP_SUM, 0);
    put16(tcp + TCP_SUM, sum_fold(sum_add(sum, tcp, size - o->csum_start)));
}
