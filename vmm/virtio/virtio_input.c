/* A power button (virtio 1.2, 5.8): an input device with one key, which root presses. */
#include <lib/string.h>
#include <vmm/virtio/virtio.h>

enum { INPUT_EVENTS, INPUT_STATUS };
/* Offsets in the configuration, and what `select` asks for (5.8.4, 5.8.5). */
enum { INPUT_SELECT, INPUT_SUBSELECT, INPUT_SIZE, INPUT_DATA = 8 };
enum { SELECT_NAME = 0x01, SELECT_CODES = 0x11 };
enum { TYPE_SYNC, TYPE_KEY };
#define KEY_POWER 116u

struct input_event {
    uint16_t type, code;
    uint32_t value;
};

/* One press. */
static const struct input_event press[] = {
    {TYPE_KEY, KEY_POWER, 1}, {TYPE_SYNC, 0, 0}, {TYPE_KEY, KEY_POWER, 0}, {TYPE_SYNC, 0, 0}};
#define PRESS_EVENTS (sizeof press / sizeof press[0])

static const char name[] = "Hairline power button";
_Static_assert(INPUT_DATA + sizeof name <= VIRTIO_CONFIG &&
                   INPUT_DATA + KEY_POWER / 8 < VIRTIO_CONFIG,
               "each answer fits");

static uint32_t pressed; /* control()->presses of which the guest was told; by the device's lock */

/* The driver asks by two bytes; the answer is a size, 0 for what there is not, and data: behind
 * those, what is written is no sooner there than gone. */
static void input_configure(struct virtio_device *d, uint32_t offset, uint8_t value)
{
    d->config[offset] = value;
    memset(d->config + INPUT_SIZE, 0, VIRTIO_CONFIG - INPUT_SIZE);
    if (d->config[INPUT_SELECT] == SELECT_NAME && d->config[INPUT_SUBSELECT] == 0) {
        d->config[INPUT_SIZE] = sizeof name - 1;
        memcpy(d->config + INPUT_DATA, name, sizeof name - 1);
    } else if (d->config[INPUT_SELECT] == SELECT_CODES && d->config[INPUT_SUBSELECT] == TYPE_KEY) {
        d->config[INPUT_SIZE] = KEY_POWER / 8 + 1;
        d->config[INPUT_DATA + KEY_POWER / 8] = 1 << KEY_POWER % 8;
    }
}

/* One event a buffer; `progress`: how many of a press are told. What the driver has to say, of
 * lights, is taken and forgotten. */
static enum vq_result input_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                  uint32_t *written)
{
    if (queue == INPUT_STATUS)
        return VQ_OK;
    if (pressed == control()->presses)
        return VQ_WAIT;
    *written = (uint32_t)virtqueue_write(c, 0, &press[d->progress], sizeof press[0]);
    d->progress++;
    if (d->progress == PRESS_EVENTS) {
        d->progress = 0;
        pressed = control()->presses; /* one that came meanwhile is the same wish */
    }
    return VQ_OK;
}

static bool input_idle(const struct virtio_device *d)
{
    return (void)d, pressed == control()->presses;
}

static const struct virtio_kind input_kind = {.id = 18,
                                              .queues = 2,
                                              .pci_class = 0x0980,
                                              .configure = input_configure,
                                              .idle = input_idle,
                                              .serve = input_serve};

void virtio_input_init(uint32_t slot)
{
    pressed = 0;
    virtio_add(slot, &input_kind, 0);
}
