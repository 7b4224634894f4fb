/* The console (virtio 1.2, 5.3): one port on the VM's byte rings. */
#include <vmm/virtio/virtio.h>

enum { CONSOLE_RX, CONSOLE_TX };
#define CONSOLE_CHUNK 256u

/* Send the rest of a chain. While root's ring is full, the chain stays, with `progress` bytes of it
   sent; root rings the worker's bell once half of a full ring is free (root/console/output.c). */
static enum vq_result console_transmit(struct virtio_device *d, const struct chain *c)
{
    char text[CONSOLE_CHUNK];
    for (;;) {
        uint32_t size = (uint32_t)virtqueue_read(c, d->progress, text, sizeof text);
        if (size == 0)
            break;
        uint32_t sent = console_write(text, size);
        d->progress += sent;
        if (sent)
            console_wrote(CONSOLE_VIRTIO, text[sent - 1]);
        if (sent < size)
            return VQ_WAIT;
    }
    d->progress = 0;
    return VQ_OK;
}

/* Fill one buffer with input. The UART's driver may be the one that reads (console_hears); then the
 * buffer waits. */
static enum vq_result console_receive(const struct chain *c, uint32_t *written)
{
    char text[CONSOLE_CHUNK];
    uint32_t room = c->write_size < sizeof text ? (uint32_t)c->write_size : (uint32_t)sizeof text;
    *written = console_hears(CONSOLE_VIRTIO) ? console_read(text, room) : 0;
    virtqueue_write(c, 0, text, *written);
    return *written ? VQ_OK : VQ_WAIT;
}

static enum vq_result console_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                    uint32_t *written)
{
    return queue == CONSOLE_TX ? console_transmit(d, c) : console_receive(c, written);
}

static const struct virtio_kind console_kind = {
    .id = 3, .queues = 2, .pci_class = 0x0780, .serve = console_serve};

void virtio_console_init(uint32_t slot) { virtio_add(slot, &console_kind, 0); }
