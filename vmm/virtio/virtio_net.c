/* The network card (virtio 1.2, 5.1), on a port of the LAN switch; no offloads. */
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

static uint32_t mtu(void) { return config()->plan.mtu; }
static struct lan_ring *to_lan(void) { return lan_to_switch((void *)VMM_LANPORT); }
static struct lan_ring *to_vm(void) { return lan_to_vm((void *)VMM_LANPORT, mtu()); }

/* Send one frame. While the switch's ring is full the chain stays (VQ_WAIT). A frame of an
 * impossible size is lost, and counted. */
static enum vq_result net_transmit(const struct chain *c)
{
    uint64_t size = c->read_size - sizeof(struct net_header);
    if (c->read_size < sizeof(struct net_header) + LAN_FRAME_MIN || size > LAN_FRAME(mtu())) {
        to_lan()->unsent++;
        return VQ_OK;
    }
    struct lan_frame *f = lan_ring_free(to_lan(), mtu());
    if (!f)
        return VQ_WAIT;
    virtqueue_read(c, sizeof(struct net_header), f->data, size);
    f->size = (uint32_t)size;
    if (lan_ring_publish(to_lan()))
        bell_ring(VMM_SM_LAN);
    return VQ_OK;
}

/* Fill one buffer with the next frame. Frames that do not fit it, or have an impossible size, are
 * lost. */
static enum vq_result net_receive(const struct chain *c, uint32_t *written)
{
    static const struct net_header header = {.buffers = 1};
    uint32_t taken = 0;
    while (taken < LAN_SLOTS && *written == 0) {
        const struct lan_frame *f = lan_ring_oldest(to_vm(), mtu());
        if (!f)
            break;
        taken++;
        uint32_t size = lan_frame_size(f, mtu());
        if (size && c->write_size >= sizeof header + size) {
            virtqueue_write(c, 0, &header, sizeof header);
            virtqueue_write(c, sizeof header, f->data, size);
            *written = (uint32_t)sizeof header + size;
        } else {
            to_vm()->unread++;
        }
        lan_ring_retire(to_vm()); /* no bell: the switch does not wait for space */
    }
    if (taken ==
        LAN_SLOTS) /* bounded, whatever a hostile switch does: a vCPU may wait for the lock */
        bell_ring(VMM_SM_WORK);
    return *written ? VQ_OK : VQ_WAIT;
}

static enum vq_result net_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                uint32_t *written)
{
    (void)d;
    return queue == NET_TX ? net_transmit(c) : net_receive(c, written);
}

static const struct virtio_kind net_kind = {.id = 1,
                                            .queues = 2,
                                            .pci_class = 0x0200,
                                            .features = NET_MTU | NET_MAC | NET_STATUS,
                                            .serve = net_serve};

void virtio_net_init(uint32_t slot)
{
    if (config()->plan.lan == 0)
        return;
    struct virtio_device *d = virtio_add(slot, &net_kind, 0);
    struct net_config c = {.status = NET_LINK_UP, .mtu = config()->plan.mtu};
    memcpy(c.mac, config()->plan.mac, sizeof c.mac);
    memcpy(d->config, &c, sizeof c);
    bell_ring(VMM_SM_LAN); /* the switch may have frames of an earlier life to take */
}
