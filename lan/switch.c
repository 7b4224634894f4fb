/*
 * Forwarding (IEEE 802.1D in the small). A frame's size, its headers, and what its
 * sender left to a card, are copied once out of its ring; only the copies are looked
 * at, and sent on (TOCTOU). The rest goes from ring to ring. The source is admitted and learned. It
 * goes to the port of its destination, or to all other ports if that is a group or unknown. A port
 * that does not drain its ring loses frames: the switch waits for nobody, but for a hub: frames for
 * that stay with their senders while its ring is full, and then each sender has its turn.
 */
#include <lan/switch.h>
#include <lib/string.h>

#define MAC_GROUP (1ull << 40) /* multicast and broadcast: the first byte's low bit */
#define NO_PORT   PLAN_VMS

static uint64_t mac_at(const uint8_t *bytes)
{
    uint64_t mac = 0;
    __builtin_memcpy(&mac, bytes, 6);
    return __builtin_bswap64(mac) >> 16;
}

static bool port_has(const struct switch_port *p, uint64_t mac)
{
    bool has = p->mac == mac;
    for (uint32_t i = 0; !has && i < SWITCH_LEARNED && i < p->learned_next; i++)
        has = p->learned[i] == mac;
    return has;
}

static uint32_t switch_find(const struct lan_switch *s, uint64_t mac)
{
    for (uint32_t i = 0; i < s->ports; i++)
        if (port_has(&s->port[i], mac))
            return i;
    return NO_PORT;
}

/* MAC spoofing: may port `from` send as `mac`? A MAC belongs to the port that has it in the plan,
   else to the port that used it first. A port's new MACs replace only its own, so no port can make
   the switch forget another's and take its frames. */
static bool switch_admit(struct lan_switch *s, uint32_t from, uint64_t mac)
{
    struct switch_port *p = &s->port[from];
    uint32_t owner = switch_find(s, mac);
    if (mac == 0 || mac & MAC_GROUP || (owner != from && owner != NO_PORT))
        return false;
    if (owner == NO_PORT)
        p->learned[p->learned_next++ % SWITCH_LEARNED] = mac;
    return true;
}

/* Bytes [at, at + size) of the frame under way, its front as it was checked. */
static void switch_copy(const struct lan_switch *s, uint8_t *to, uint32_t at, uint32_t size)
{
    uint32_t front = at < s->headers_size ? s->headers_size - at : 0;
    if (front > size)
        front = size;
    if (front)
        memcpy(to, s->headers + at, front);
    memcpy(to + front, s->frame->data + at + front, size - front);
}

/* Room for `size` bytes in a ring; NULL, and one more is lost, where there is none. */
static struct lan_frame *switch_room(const struct lan_switch *s, struct lan_ring *ring,
                                     uint32_t size)
{
    struct lan_frame *f = lan_ring_free(ring, s->mtu, size);
    if (!f)
        ring->unsent++;
    return f;
}

static void switch_publish(const struct lan_switch *s, struct lan_ring *ring, struct lan_frame *f,
                           uint32_t size, uint32_t index)
{
    f->size = size;
    if (lan_ring_publish(ring, s->mtu, size))
        switch_bell(index);
}

/* Cut the frame for a driver that does not take it whole. */
static void switch_cut(const struct lan_switch *s, struct lan_ring *ring, uint32_t index)
{
    const struct lan_offload *o = &s->offload;
    for (uint32_t at = o->hdr_len; at < s->size; at += o->gso_size) {
        uint32_t size = offload_segment_size(o, at, s->size);
        struct lan_frame *f = switch_room(s, ring, size);
        if (!f)
            return;
        f->offload = (struct lan_offload){.flags = 0};
        switch_copy(s, f->data, 0, o->hdr_len);
        switch_copy(s, f->data + o->hdr_len, at, size - o->hdr_len);
        offload_segment(o, f->data, size, at, at + o->gso_size >= s->size);
        switch_publish(s, ring, f, size, index);
        switch_pause();
    }
}

static void switch_deliver(const struct lan_switch *s, const struct switch_port *to, uint32_t index)
{
    struct lan_ring *ring = to->to_vm;
    bool taken = offload_is_taken(&s->offload, ring->takes);
    if (!taken && s->offload.gso_type) {
        switch_cut(s, ring, index);
        return;
    }
    struct lan_frame *f = switch_room(s, ring, s->size);
    if (!f)
        return;
    switch_copy(s, f->data, 0, s->size);
    if (!taken)
        offload_sum(&s->offload, f->data, s->size);
    f->offload = taken ? s->offload : (struct lan_offload){.flags = 0};
    switch_publish(s, ring, f, s->size, index);
}

/* Isolation: with a hub, frames go to it or come from it. */
static bool switch_joins(const struct lan_switch *s, uint32_t from, uint32_t to)
{
    return from != to && (!s->hub || from + 1 == s->hub || to + 1 == s->hub);
}

/* A segment to be cut has one receiver, who answers: to all, each such frame would be the work of
   thousands. */
static void switch_forward(struct lan_switch *s, uint32_t from)
{
    uint64_t mac = mac_at(s->headers);
    uint32_t to = mac & MAC_GROUP ? NO_PORT : switch_find(s, mac);
    if (to == NO_PORT && s->offload.gso_type) {
        s->port[from].to_lan->unread++;
        return;
    }
    for (uint32_t i = 0; i < s->ports; i++)
        if (switch_joins(s, from, i) && (to == i || to == NO_PORT))
            switch_deliver(s, &s->port[i], i);
}

/* A flood to the hub: whoever fills its ring would leave the others no place there. A segment that
   has to be cut may need more than there is, and lose what is behind. */
static bool switch_waits(const struct lan_switch *s, uint32_t from)
{
    return s->hub && from + 1 != s->hub &&
           !lan_ring_free(s->port[s->hub - 1].to_vm, s->mtu, s->size);
}

/* Copy what is looked at of the frame under way, once (TOCTOU); of a short frame more than it has,
   which goes nowhere. False: it is none that may pass. */
static bool switch_take(struct lan_switch *s)
{
    s->offload = s->frame->offload;
    s->size = lan_frame_size(s->frame);
    s->headers_size = s->offload.flags | s->offload.gso_type ? LAN_HEADERS : LAN_FRAME_MIN;
    memcpy(s->headers, s->frame->data, s->headers_size);
    return offload_check(&s->offload, s->headers, s->size, s->mtu);
}

/* Forward SWITCH_BURST slots of frames of port `from`, and the rest of the last, so that no port
 * keeps others waiting. True: there was a frame. */
static bool switch_serve(struct lan_switch *s, uint32_t from)
{
    struct switch_port *p = &s->port[from];
    struct lan_ring *ring = p->to_lan;
    uint32_t taken = 0;
    bool waits = false;
    while (taken < SWITCH_BURST) {
        s->frame = lan_ring_oldest(ring, s->mtu);
        if (!s->frame)
            break;
        bool good = switch_take(s);
        if (good && switch_waits(s, from))
            break;
        taken += lan_frame_slots(s->size, s->mtu);
        if (good && switch_admit(s, from, mac_at(s->headers + 6)))
            switch_forward(s, from);
        else
            ring->unread++;
        waits |= lan_ring_retire(ring, s->mtu, s->size);
        switch_pause();
    }
    if (waits)
        switch_bell(from);
    return taken > 0;
}

bool switch_turn(struct lan_switch *s)
{
    bool any = false;
    uint32_t first = s->next;
    for (uint32_t i = 0; i < s->ports; i++) {
        uint32_t from = (first + i) % s->ports;
        if (!switch_serve(s, from))
            continue;
        any = true;
        if (from + 1 != s->hub) /* which takes no place there itself */
            s->next = from + 1; /* the next place in a hub's ring is another's */
    }
    return any;
}

void switch_init(struct lan_switch *s, const struct lan_config *config, uint8_t *rings)
{
    memset(s, 0, sizeof *s);
    s->ports = config->ports < PLAN_VMS ? config->ports : PLAN_VMS;
    s->hub = config->hub <= s->ports ? config->hub : 0;
    s->mtu = config->mtu < PLAN_MTU_MAX ? config->mtu : PLAN_MTU_MAX;
    for (uint32_t i = 0; i < s->ports; i++) {
        s->port[i].to_lan = lan_to_switch(rings + i * LAN_PORT_STRIDE);
        s->port[i].to_vm = lan_to_vm(rings + i * LAN_PORT_STRIDE, s->mtu);
        s->port[i].mac = mac_at(config->mac[i]);
    }
}
