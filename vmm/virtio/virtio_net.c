/* The network cards (virtio 1.2, 5.1), each on a port of a LAN's switch, which sees to it that a
 * driver gets what it takes. It is not believed that it does. */
#include <lan/lan_ring.h>
#include <lib/offload.h>
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

/* Features, 5.1.3, beside those of lib/offload.h: the driver may leave us the same. */
enum { NET_CSUM = 1 << 0, NET_HOST_TSO = OFFLOAD_TSO << 4 };
enum { NET_MTU = 1 << 3, NET_MAC = 1 << 5, NET_MERGED = 1 << 15, NET_STATUS = 1 << 16 };
#define NET_FEATURES                                                                               \
    (NET_CSUM | NET_HOST_TSO | OFFLOAD_CSUM | OFFLOAD_TSO | NET_MTU | NET_MAC | NET_MERGED |       \
     NET_STATUS)
enum { NET_RX, NET_TX };
enum { NET_LINK_UP = 1 };
#define HEADER ((uint32_t)sizeof(struct lan_offload)) /* in front of every frame, 5.1.6 */

struct net_config { /* 5.1.4 */
    uint8_t mac[6];
    uint16_t status, pairs, mtu;
};

/* A port: its rings, and the MTU that they are laid out by. */
struct port {
    struct lan_ring *to_lan, *to_vm;
    uint32_t mtu;
};

static struct port port(const struct virtio_device *d)
{
    void *at = (void *)(VMM_LANPORT + d->link * LAN_PORT_STRIDE);
    uint32_t mtu = plan_mtu(&config()->plan, d->link);
    return (struct port){lan_to_switch(at), lan_to_vm(at, mtu), mtu};
}

/* Send one frame. While the switch's ring is full the chain stays (VQ_WAIT). A frame of an
 * impossible size is lost, and counted. */
static enum vq_result net_transmit(const struct virtio_device *d, const struct chain *c)
{
    const struct port p = port(d);
    uint64_t most = d->accepted & NET_HOST_TSO ? LAN_FRAME_MAX : LAN_FRAME(p.mtu);
    if (c->read_size < HEADER + LAN_FRAME_MIN || c->read_size > HEADER + most) {
        p.to_lan->unsent++;
        return VQ_OK;
    }
    uint32_t size = (uint32_t)c->read_size - HEADER;
    struct lan_frame *f = lan_ring_free(p.to_lan, p.mtu, size);
    if (!f)
        return VQ_WAIT;
    virtqueue_read(c, 0, &f->offload, c->read_size);
    f->size = size;
    if (lan_ring_publish(p.to_lan, p.mtu, size))
        bell_ring(VMM_SM_LAN + d->link);
    return VQ_OK;
}

/* Find buffers for a frame of `size` bytes with its header, from `c` on; `*buffers`, 1, counts
 * them. VQ_OK; VQ_WAIT: there are not enough yet; VQ_PART: there never are. */
static enum vq_result net_room(struct virtio_device *d, const struct chain *c, uint32_t size,
                               uint16_t *buffers)
{
    struct chain more;
    enum vq_result r = VQ_OK;
    uint64_t room = c->write_size;
    for (; room < size && r == VQ_OK; ++*buffers) {
        if (!(d->accepted & NET_MERGED) || *buffers == d->queue[NET_RX].regs.size)
            return VQ_PART;
        r = virtqueue_next(&d->queue[NET_RX], *buffers, &more);
        room += more.write_size;
    }
    return r;
}

static void net_retire(const struct virtio_device *d, const struct port *p, uint32_t size)
{
    /* The switch waits for space in a hub's ring, and in no other. */
    if (lan_ring_retire(p->to_vm, p->mtu, size) && d->link == LINK_STORE)
        bell_ring(VMM_SM_STORE);
}

/* Take the next frame, with `c` for its first buffer; `*o`: what the driver is told of it. Frames
 * that do not fit, have an impossible size, or are not what it takes, are lost. */
static enum vq_result net_begin(struct virtio_device *d, const struct port *p,
                                const struct chain *c, struct lan_offload *o)
{
    p->to_vm->takes = (uint32_t)d->accepted;
    /* Bounded, whatever a hostile switch does: a vCPU may wait for the lock. */
    for (uint32_t looked = 0; looked < LAN_SLOTS; looked += o->buffers) {
        const struct lan_frame *f = lan_ring_oldest(p->to_vm, p->mtu);
        if (!f)
            return VQ_WAIT;
        uint32_t size = lan_frame_size(f);
        *o = f->offload; /* TOCTOU: the switch may write there; once, and checked */
        bool good = offload_check(o, f->data, size, p->mtu);
        o->buffers = 1;
        good = good && offload_is_taken(o, (uint32_t)d->accepted);
        enum vq_result r = good ? net_room(d, c, HEADER + size, &o->buffers) : VQ_PART;
        d->frame = HEADER + size;
        if (r != VQ_PART)
            return r;
        p->to_vm->unread++;
        net_retire(d, p, size);
    }
    bell_ring(VMM_SM_WORK);
    return VQ_WAIT;
}

/* Fill one buffer with the next frame, or with more of it. */
static enum vq_result net_receive(struct virtio_device *d, const struct chain *c, uint32_t *written)
{
    const struct port p = port(d);
    struct lan_offload o;
    enum vq_result r = d->progress ? VQ_OK : net_begin(d, &p, c, &o);
    if (r != VQ_OK)
        return r;
    const struct lan_frame *f = lan_ring_slot(p.to_vm, p.mtu, p.to_vm->tail);
    if (d->progress == 0)
        *written = (uint32_t)virtqueue_write(c, 0, &o, HEADER);
    d->progress += *written;
    uint32_t more = (uint32_t)virtqueue_write(
        c, *written, (const uint8_t *)&f->offload + d->progress, d->frame - d->progress);
    *written += more;
    d->progress += more;
    if (d->progress < d->frame)
        return VQ_JOINED;
    d->progress = 0;
    net_retire(d, &p, d->frame - HEADER);
    return VQ_OK;
}

static bool net_idle(const struct virtio_device *d) { return lan_ring_is_empty(port(d).to_vm); }

static enum vq_result net_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                uint32_t *written)
{
    return queue == NET_TX ? net_transmit(d, c) : net_receive(d, c, written);
}

static const struct virtio_kind net_kind = {.id = 1,
                                            .queues = 2,
                                            .pci_class = 0x0200,
                                            .features = NET_FEATURES,
                                            .idle = net_idle,
                                            .serve = net_serve};

void virtio_net_init(uint32_t slot, uint32_t link)
{
    const struct plan_vm *plan = &config()->plan;
    struct virtio_device *d = virtio_add(slot, &net_kind, 0);
    struct net_config c = {.status = NET_LINK_UP, .mtu = (uint16_t)plan_mtu(plan, link)};
    for (uint32_t i = 0; i < sizeof c.mac; i++)
        c.mac[i] = plan_mac_byte(plan_index(plan), plan_lan(plan, link), i);
    memcpy(d->config, &c, sizeof c);
    d->link = link;
    bell_ring(VMM_SM_LAN + link); /* the switch may have frames of an earlier life to take */
}
