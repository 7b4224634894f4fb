/* The console and the control line (virtio 1.2, 5.3): one port each, on two of the VM's byte rings.
 */
#include <vmm/virtio/virtio.h>

enum { CONSOLE_RX, CONSOLE_TX };
#define CONSOLE_CHUNK 256u

/* Send bytes of the guest's to root; how many it took. */
static uint32_t console_send(const char *text, uint32_t size)
{
    uint32_t sent = console_write(text, size);
    if (sent)
        console_wrote(CONSOLE_VIRTIO, text[sent - 1]);
    return sent;
}

/* Send the rest of a chain. While root's ring is full, the chain stays, with `progress` bytes of it
   sent; root rings the worker's bell once half of a full ring is free (root/console/output.c), of
   the control line's once it has taken a line. */
static enum vq_result port_transmit(struct virtio_device *d, const struct chain *c,
                                    uint32_t (*send)(const char *text, uint32_t size))
{
    char text[CONSOLE_CHUNK];
    for (;;) {
        uint32_t size = (uint32_t)virtqueue_read(c, d->progress, text, sizeof text);
        if (size == 0)
            break;
        uint32_t sent = send(text, size);
        d->progress += sent;
        if (sent < size)
            return VQ_WAIT;
    }
    d->progress = 0;
    return VQ_OK;
}

/* Fill one buffer with input. */
static enum vq_result port_receive(const struct chain *c, uint32_t *written,
                                   uint32_t (*read)(char *text, uint32_t room))
{
    char text[CONSOLE_CHUNK];
    uint32_t room = c->write_size < sizeof text ? (uint32_t)c->write_size : (uint32_t)sizeof text;
    *written = read(text, room);
    virtqueue_write(c, 0, text, *written);
    return *written ? VQ_OK : VQ_WAIT;
}

/* The UART's driver may be the one that reads (console_hears); then the buffer waits. */
static uint32_t console_take(char *text, uint32_t room)
{
    return console_hears(CONSOLE_VIRTIO) ? console_read(text, room) : 0;
}

static enum vq_result console_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                    uint32_t *written)
{
    return queue == CONSOLE_TX ? port_transmit(d, c, console_send)
                               : port_receive(c, written, console_take);
}

static enum vq_result control_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                    uint32_t *written)
{
    return queue == CONSOLE_TX ? port_transmit(d, c, console_ask)
                               : port_receive(c, written, console_answer);
}

static bool console_idle(const struct virtio_device *d) { return (void)d, !console_ready(); }
static bool control_idle(const struct virtio_device *d) { return (void)d, !console_answered(); }

static const struct virtio_kind console_kind = {
    .id = 3, .queues = 2, .pci_class = 0x0780, .idle = console_idle, .serve = console_serve};
static const struct virtio_kind control_kind = {
    .id = 3, .queues = 2, .pci_class = 0x0780, .idle = control_idle, .serve = control_serve};

void virtio_console_init(uint32_t slot) { virtio_add(slot, &console_kind, 0); }
void virtio_control_init(uint32_t slot)
{
    if (config()->plan.control)
        virtio_add(slot, &control_kind, 0);
}
