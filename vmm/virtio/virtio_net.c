/* The network cards (virtio 1.2, 5.1), each on a port of a LAN's switch; no offloads. */
#include <lan/lan_ring.h>
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

enum { NET_MTU = 1 << 3, NET_MAC = 1 << 5, NET_STATUS = 1 << 16 }; /* features, 5.1.3 */
enum { NET_RX, NET_TX };
enum { NET_LINK_UP = 1 };

struct net_header { /* 5.1.6; every frame has one in front */
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, buffers;
};
_Static_assert(sizeof(struct net_header) == 12, "as on the ring");

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
    uint64_t size = c->read_size - sizeof(struct net_header);
    if (c->read_size < sizeof(struct net_header) + LAN_FRAME_MIN || size > LAN_FRAME(p.mtu)) {
        p.to_lan->unsent++;
        return VQ_OK;
    }
    struct lan_frame *f = lan_ring_free(p.to_lan, p.mtu);
    if (!f)
        return VQ_WAIT;
    virtqueue_read(c, sizeof(struct net_header), f->data, size);
    f->size = (uint32_t)size;
    if (lan_ring_publish(p.to_lan))
        bell_ring(VMM_SM_LAN + d->link);
    return VQ_OK;
}

/* Fill one buffer with the next frame. Frames that do not fit it, or have an impossible size, are
 * lost. */
static enum vq_result net_receive(const struct virtio_device *d, const struct chain *c,
                                  uint32_t *written)
{
    const struct port p = port(d);
    static const struct net_header header = {.buffers = 1};
    uint32_t taken = 0;
    while (taken < LAN_SLOTS && *written == 0) {
        const struct lan_frame *f = lan_ring_oldest(p.to_vm, p.mtu);
        if (!f)
            break;
        taken++;
        uint32_t size = lan_frame_size(f, p.mtu);
        if (size && c->write_size >= sizeof header + size) {
            virtqueue_write(c, 0, &header, sizeof header);
            virtqueue_write(c, sizeof header, f->data, size);
            *written = (uint32_t)sizeof header + size;
        } else {
            p.to_vm->unread++;
        }
        /* The switch waits for space in a hub's ring, and in no other. */
        if (lan_ring_retire(p.to_vm) && d->link == LINK_STORE)
            bell_ring(VMM_SM_STORE);
    }
    if (taken ==
        LAN_SLOTS) /* bounded, whatever a hostile switch does: a vCPU may wait for the lock */
        bell_ring(VMM_SM_WORK);
    return *written ? VQ_OK : VQ_WAIT;
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
                                            .features = NET_MTU | NET_MAC | NET_STATUS,
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
