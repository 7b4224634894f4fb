/* What senders leave to a network card: checksums, and segments to be cut. Each frame that a driver
 * gets who takes less is checked as a receiver does it, by code that shares nothing with lan/. */
#include "lan_ports.h"

#define FLAG_CSUM  1u
#define TSO4       1u
#define TSO6       4u
#define ECN        0x80u
#define TAKES_CSUM (1u << 1)
#define TAKES_ALL  (TAKES_CSUM | 7u << 7)
#define TAKES_TSO4 (TAKES_CSUM | 1u << 7)
#define TAKES_TSO6 (TAKES_CSUM | 1u << 8)
#define PAYLOAD    10000u
#define MSS        1400u
#define SEQUENCE   0xfffffa00u /* goes past its end within the frame */
enum { FIN = 1, PUSH = 8, ACK = 0x10, CWR = 0x80 };

/* A frame of one IP packet. */
struct packet {
    bool six, udp, tagged;
    uint32_t options, payload; /* bytes */
    uint8_t flags;             /* TCP's */
};

static uint32_t ip_size(const struct packet *p) { return p->six ? 40 : 20; }
static uint32_t ip_offset(const struct packet *p) { return p->tagged ? 18 : 14; }
static uint32_t l4_offset(const struct packet *p) { return ip_offset(p) + ip_size(p); }
static uint32_t l4_size(const struct packet *p) { return p->udp ? 8 : 20 + p->options; }
static uint32_t headers_size(const struct packet *p) { return l4_offset(p) + l4_size(p); }
static uint32_t sum_offset(const struct packet *p) { return p->udp ? 6 : 16; }

static void big(uint8_t *at, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> 8 * (size - 1 - i));
}
static uint32_t word(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static uint32_t long_word(const uint8_t *at) { return word(at) << 16 | word(at + 2); }

/* One's complement sum of bytes, the carry at once put back. */
static uint32_t ones_sum(uint32_t sum, const uint8_t *at, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* The pseudo header's sum for `size` bytes from TCP or UDP on. */
static uint32_t pseudo(const struct packet *p, const uint8_t *data, uint32_t size)
{
    uint8_t rest[4];
    const uint8_t *ip = data + ip_offset(p);
    big(rest, size, 2);
    big(rest + 2, p->udp ? 17 : 6, 2);
    return ones_sum(ones_sum(0, ip + (p->six ? 8 : 12), p->six ? 32 : 8), rest, 4);
}

/* Put the packet from A to B into A's ring as Linux hands it to a card: TCP's checksum is the
 * pseudo header's alone. Returns the frame. */
static struct lan_frame *send(const struct packet *p, uint8_t gso)
{
    struct lan_frame *f = slot(to_lan(A), to_lan(A)->head);
    uint8_t *data = f->data, *ip = data + ip_offset(p), *l4 = data + l4_offset(p);
    memset(data, 0, headers_size(p));
    mac(data, MAC_B);
    mac(data + 6, MAC_A);
    if (p->tagged)
        big(data + 12, 0x81000007, 4);
    big(ip - 2, p->six ? 0x86dd : 0x0800, 2);
    f->size = headers_size(p) + p->payload;
    uint32_t packet = f->size - ip_offset(p), segment = f->size - l4_offset(p);
    if (p->six) {
        big(ip, 0x60000000, 4);
        big(ip + 4, segment, 2);
        ip[6] = p->udp ? 17 : 6;
        memset(ip + 8, 0xfd, 32);
    } else {
        big(ip, 0x45000000 | (packet & 0xffff), 4);
        big(ip + 4, 0xfffe4000, 4); /* an ID that goes past its end */
        ip[8] = 64;
        ip[9] = p->udp ? 17 : 6;
        big(ip + 12, 0x0a0000010a000002, 8);
        big(ip + 10, ~ones_sum(0, ip, 20) & 0xffff, 2);
    }
    big(l4, 0x30390050, 4);
    if (p->udp) {
        big(l4 + 4, segment, 2);
    } else {
        big(l4 + 4, SEQUENCE, 4);
        l4[12] = (uint8_t)((20 + p->options) / 4 << 4);
        l4[13] = p->flags;
        memset(l4 + 20, 1, p->options);
    }
    for (uint32_t i = 0; i < p->payload; i++)
        data[headers_size(p) + i] = (uint8_t)(i * 7 + (i >> 8));
    big(l4 + sum_offset(p), pseudo(p, data, segment), 2);
    f->offload = (struct lan_offload){.flags = FLAG_CSUM,
                                      .gso_type = gso,
                                      .hdr_len = 3, /* a sender's word is not taken for it */
                                      .gso_size = gso ? MSS : 77,
                                      .csum_start = (uint16_t)l4_offset(p),
                                      .csum_offset = (uint16_t)sum_offset(p),
                                      .buffers = 9};
    to_lan(A)->head += lan_frame_slots(f->size, lan.mtu);
    return f;
}

/* B's next frame, of which its driver has let go. */
static const struct lan_frame *next(void)
{
    struct lan_ring *r = to_vm(B);
    const struct lan_frame *f = slot(r, r->tail);
    assert_int_not_equal(r->tail, r->head);
    r->tail += lan_frame_slots(f->size, lan.mtu);
    return f;
}

static void is_plain(const struct lan_frame *f)
{
    static const struct lan_offload none;
    assert_memory_equal(&f->offload, &none, sizeof none);
}

/* The frame's checksums are right, and its lengths. */
static void is_whole(const struct packet *p, const struct lan_frame *f)
{
    const uint8_t *ip = f->data + ip_offset(p);
    uint32_t segment = f->size - l4_offset(p);
    is_plain(f);
    assert_int_equal(ones_sum(pseudo(p, f->data, segment), f->data + l4_offset(p), segment),
                     0xffff);
    if (p->six) {
        assert_int_equal(word(ip + 4), segment);
    } else {
        assert_int_equal(word(ip + 2), f->size - ip_offset(p));
        assert_int_equal(ones_sum(0, ip, 20), 0xffff);
    }
}

static void a_checksum_is_left_open_for_who_takes_it(void **state)
{
    (void)state;
    static const struct packet p = {.udp = true, .payload = 100};
    static const struct lan_offload told = {.flags = FLAG_CSUM, .csum_start = 34, .csum_offset = 6};
    to_vm(B)->takes = TAKES_CSUM;
    const struct lan_frame *sent = send(&p, 0);
    run();
    const struct lan_frame *f = next();
    assert_memory_equal(&f->offload, &told, sizeof told);
    assert_int_equal(f->size, sent->size);
    assert_memory_equal(f->data, sent->data, f->size);
}

static void a_checksum_is_finished_for_who_does_not(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 16; i++) {
        const struct packet p = {
            .six = i & 1, .udp = i & 2, .tagged = i & 4, .payload = i & 8 ? 101 : 1000};
        send(&p, 0);
        run();
        is_whole(&p, next());
    }
}

/* A sum of zero is what UDP has for "none" (RFC 768). */
static void a_sum_of_zero_is_told_as_ones(void **state)
{
    (void)state;
    static const struct packet p = {.udp = true, .payload = 2};
    struct lan_frame *f = send(&p, 0);
    uint8_t *l4 = f->data + l4_offset(&p);
    big(l4 + 8, ~ones_sum(0, l4, 8) & 0xffff, 2);
    run();
    const struct lan_frame *got_it = next();
    assert_int_equal(word(got_it->data + l4_offset(&p) + 6), 0xffff);
    is_whole(&p, got_it);
}

static void a_segment_is_whole_for_who_takes_it(void **state)
{
    (void)state;
    static const struct {
        bool six;
        uint8_t gso;
        uint32_t takes;
    } cases[] = {
        {false, TSO4, TAKES_TSO4}, {true, TSO6, TAKES_TSO6}, {false, TSO4 | ECN, TAKES_ALL}};
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        const struct packet p = {
            .six = cases[i].six, .payload = PAYLOAD, .options = 12, .flags = ACK | PUSH};
        to_vm(B)->takes = cases[i].takes;
        const struct lan_frame *sent = send(&p, cases[i].gso);
        run();
        const struct lan_frame *f = next();
        assert_int_equal(f->size, sent->size);
        assert_memory_equal(f->data, sent->data, f->size);
        assert_int_equal(f->offload.gso_type, cases[i].gso);
        assert_int_equal(f->offload.gso_size, MSS);
        assert_int_equal(f->offload.hdr_len, headers_size(&p));
        assert_int_equal(f->offload.buffers, 0);
        assert_int_equal(to_lan(A)->tail, to_lan(A)->head);
    }
}

/* Every combination of what a driver does not take. */
static void a_segment_is_cut_for_who_does_not(void **state)
{
    (void)state;
    static const uint32_t takes[] = {0, TAKES_CSUM, 0xffffffff & ~TAKES_ALL};
    for (uint32_t i = 0; i < COUNT(takes) * 4; i++) {
        const struct packet p = {.six = i & 1,
                                 .tagged = i & 2,
                                 .payload = PAYLOAD,
                                 .options = 12,
                                 .flags = ACK | PUSH | FIN | CWR};
        uint32_t done = 0;
        to_vm(B)->takes = takes[i / 4];
        send(&p, p.six ? TSO6 : TSO4);
        run();
        for (uint32_t n = 0; done < PAYLOAD; n++) {
            const struct lan_frame *f = next();
            const uint8_t *tcp = f->data + l4_offset(&p);
            uint32_t bytes = f->size - headers_size(&p);
            is_whole(&p, f);
            assert_int_equal(bytes, PAYLOAD - done < MSS ? PAYLOAD - done : MSS);
            assert_int_equal(long_word(tcp + 4), (uint32_t)(SEQUENCE + done));
            bool last = done + bytes == PAYLOAD;
            assert_int_equal(tcp[13], ACK | (last ? PUSH | FIN : 0) | (done ? 0 : CWR));
            if (!p.six)
                assert_int_equal(word(f->data + ip_offset(&p) + 4), (0xfffe + n) & 0xffff);
            for (uint32_t k = 0; k < bytes; k++)
                assert_int_equal(f->data[headers_size(&p) + k],
                                 (uint8_t)((done + k) * 7 + ((done + k) >> 8)));
            done += bytes;
        }
        assert_int_equal(to_vm(B)->tail, to_vm(B)->head);
    }
}

/* TSO of the other kind, without checksums, or ECN: cut, too. */
static void half_of_what_is_needed_is_not_enough(void **state)
{
    (void)state;
    static const struct {
        bool six;
        uint8_t gso;
        uint32_t takes;
    } cases[] = {{false, TSO4, TAKES_TSO6},
                 {true, TSO6, TAKES_TSO4},
                 {false, TSO4, TAKES_TSO4 & ~TAKES_CSUM},
                 {false, TSO4 | ECN, TAKES_TSO4}};
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        const struct packet p = {.six = cases[i].six, .payload = 2 * MSS, .flags = ACK};
        to_vm(B)->takes = cases[i].takes;
        send(&p, cases[i].gso);
        run();
        is_whole(&p, next());
        is_whole(&p, next());
        assert_int_equal(to_vm(B)->tail, to_vm(B)->head);
    }
}

/* Each of these no card could do. */
static void impossible_wishes_are_refused(void **state)
{
    (void)state;
    static const struct packet p = {.payload = PAYLOAD, .flags = ACK};
    struct lan_frame *f;
    enum { WISHES = 20 };
    for (uint32_t i = 0; i < WISHES; i++) {
        f = send(&p, TSO4);
        uint8_t *ip = f->data + ip_offset(&p), *tcp = f->data + l4_offset(&p);
        struct lan_offload *o = &f->offload;
        switch (i) {
        case 0: o->flags = 0; break;
        case 1: o->gso_type = TSO6; break;
        case 2: o->gso_type = 3; break; /* UDP's */
        case 3: o->gso_type = ECN; break;
        case 4: o->gso_size = 0; break;
        case 5: o->gso_size = 63; break;
        case 6: o->gso_size = PLAN_MTU - 39; break;
        case 7: o->gso_size = 0xffff; break;
        case 8: o->csum_start = 13; break;
        case 9: o->csum_start += 2; break;
        case 10: o->csum_start = 0xffff; break;
        case 11: o->csum_offset = 6; break;
        case 12: o->csum_offset = 0xffff; break;
        case 13: ip[0] = 0x4f; break; /* options that are not there */
        case 14: ip[0] = 0x44; break;
        case 15: ip[9] = 17; break;
        case 16: tcp[12] = 0x40; break;
        case 17: big(ip - 2, 0x0806, 2); break;
        case 18: /* only headers */ f->size = headers_size(&p); break;
        case 19: /* TCP within IP's header */
            ip[0] = 0x44;
            o->csum_start -= 4;
            tcp[8] = 0x50;
            break;
        }
        to_lan(A)->head = to_lan(A)->tail + lan_frame_slots(f->size, lan.mtu);
        run();
        assert_int_equal(got(B), 0);
        assert_int_equal(to_lan(A)->unread, i + 1);
        assert_int_equal(to_lan(A)->tail, to_lan(A)->head);
    }
    send(&p, TSO4); /* the same, unspoilt */
    f = slot(to_lan(A), to_lan(A)->tail);
    f->offload.gso_size = PLAN_MTU - 40;
    to_vm(B)->takes = TAKES_ALL;
    run();
    assert_int_equal(next()->size, headers_size(&p) + PAYLOAD);
}

/* The last place for a checksum is the frame's last two bytes, the first is behind Ethernet's. */
static void a_checksum_lies_in_its_frame(void **state)
{
    (void)state;
    static const struct packet p = {.udp = true, .payload = 100};
    static const struct {
        uint32_t start, offset;
        bool good;
    } cases[] = {{14, 0, true},    {13, 6, false},     {142, 0, false},
                 {141, 0, false},  {140, 0, true},     {34, 106, true},
                 {34, 107, false}, {0xffff, 2, false}, {34, 0xffff, false}};
    uint32_t bad = 0;
    for (uint32_t i = 0; i < 2 * COUNT(cases); i++) {
        struct lan_frame *f = send(&p, 0);
        assert_int_equal(f->size, 142);
        f->offload.csum_start = (uint16_t)cases[i / 2].start;
        f->offload.csum_offset = (uint16_t)cases[i / 2].offset;
        to_vm(B)->takes = i % 2 ? TAKES_ALL : 0;
        bad += !cases[i / 2].good;
        run();
        assert_int_equal(got(B), cases[i / 2].good);
        assert_int_equal(to_lan(A)->unread, bad);
    }
}

static void a_large_frame_that_is_not_to_be_cut_is_refused(void **state)
{
    (void)state;
    static const struct packet p = {.udp = true, .payload = LAN_FRAME(PLAN_MTU)};
    to_vm(B)->takes = TAKES_ALL;
    send(&p, 0);
    struct lan_frame *f = send(&p, 0);
    f->offload.flags = 0;
    run();
    assert_int_equal(got(B), 0);
    assert_int_equal(to_lan(A)->unread, 2);
}

/* The largest frame, in each slot of the ring. */
static void the_largest_frame_lies_in_one_piece(void **state)
{
    (void)state;
    static const struct packet p = {.payload = LAN_FRAME_MAX - 54, .flags = ACK};
    static const uint32_t mtus[] = {PLAN_MTU, PLAN_MTU_MAX};
    for (uint32_t m = 0; m < COUNT(mtus); m++) {
        teardown(NULL);
        setup_mtu(mtus[m]);
        to_vm(C)->takes = TAKES_ALL; /* the last ring of all: the sanitizer sees its end */
        for (uint32_t i = 0; i < LAN_SLOTS; i++) {
            to_lan(A)->head = to_lan(A)->tail = to_vm(C)->head = to_vm(C)->tail = i;
            struct lan_frame *sent = send(&p, TSO4);
            mac(sent->data, MAC_C);
            run();
            const struct lan_frame *f = slot(to_vm(C), i);
            assert_int_equal(f->size, LAN_FRAME_MAX);
            assert_memory_equal(f->data, sent->data, LAN_FRAME_MAX);
            assert_int_equal(to_vm(C)->head, i + lan_frame_slots(LAN_FRAME_MAX, lan.mtu));
        }
        to_lan(A)->head = to_lan(A)->tail = 0;
        send(&p, TSO4)->size++;
        to_lan(A)->head = 1;
        run();
        assert_int_equal(got(B), 0);
        assert_int_equal(to_lan(A)->unread, 1);
    }
}

/* To all, or to nobody who is known, it would be the work of thousands. */
static void a_segment_has_one_receiver(void **state)
{
    (void)state;
    static const struct packet p = {.payload = PAYLOAD, .flags = ACK};
    static const uint8_t to[] = {BROADCAST, MAC_NEW};
    for (uint32_t i = 0; i < COUNT(to); i++) {
        to_vm(B)->takes = to_vm(C)->takes = i ? TAKES_ALL : 0;
        mac(send(&p, TSO4)->data, to[i]);
        run();
        assert_int_equal(got(B) + got(C), 0);
        assert_int_equal(to_lan(A)->unread, i + 1);
    }
}

/* It takes many slots: no room for it is no room for nothing. */
static void a_ring_has_room_by_slots(void **state)
{
    (void)state;
    static const struct packet p = {.payload = LAN_FRAME_MAX - 54, .flags = ACK};
    uint32_t slots = lan_frame_slots(LAN_FRAME_MAX, lan.mtu);
    to_vm(B)->takes = TAKES_ALL;
    send(&p, TSO4);
    run();
    assert_int_equal(to_vm(B)->head, slots);
    send(&p, TSO4);
    run();
    assert_int_equal(to_vm(B)->unsent, 1);
    for (uint32_t i = slots; i < LAN_SLOTS; i++)
        put(C, MAC_B, MAC_C);
    run();
    assert_int_equal(to_vm(B)->head, LAN_SLOTS);
    assert_int_equal(to_vm(B)->unsent, 1);
    assert_null(lan_ring_free(to_vm(B), lan.mtu, 14));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_checksum_is_left_open_for_who_takes_it),
        TEST(a_checksum_is_finished_for_who_does_not),
        TEST(a_sum_of_zero_is_told_as_ones),
        TEST(a_segment_is_whole_for_who_takes_it),
        TEST(a_segment_is_cut_for_who_does_not),
        TEST(half_of_what_is_needed_is_not_enough),
        TEST(impossible_wishes_are_refused),
        TEST(a_checksum_lies_in_its_frame),
        TEST(a_large_frame_that_is_not_to_be_cut_is_refused),
        TEST(the_largest_frame_lies_in_one_piece),
        TEST(a_segment_has_one_receiver),
        TEST(a_ring_has_room_by_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
