/*
 * Takes all frames that come, and meanwhile touches its devices in turn, as
 * often as it can. Every 2^25 ticks it tells the longest access to each of
 * them, in ticks: `touched COUNT uart T pci T net T frames COUNT`.
 */
#include <guest/bare/bare.h>
#include <guest/bare/virtio.h>

#define EVERY   (1ull << 25)
#define BUFFER  2048u
#define LSR     0x3fdu
#define CF8     0xcf8u
#define CFC     0xcfcu
#define DEVICES 3u

static struct virtio_device net;
static struct virtio_ring ring;
static uint8_t buffer[VIRTIO_QUEUE][BUFFER];
static uint16_t seen; /* used entries */

static void touch_uart(void) { (void)in8(LSR); }

static void touch_pci(void)
{
    out32(CF8, 0x80000000u);
    (void)in32(CFC);
}

static void touch_net(void) { virtio_notify(&net, &ring); }

static void (*const touch[DEVICES])(void) = {touch_uart, touch_pci, touch_net};
static uint64_t longest[DEVICES];

static bool open_net(void)
{
    if (!virtio_find(VIRTIO_NET, &net) || !virtio_start(&net, &ring, 0))
        return false;
    for (uint16_t i = 0; i < VIRTIO_QUEUE; i++) {
        ring.desc[i].address = (uintptr_t)buffer[i];
        ring.desc[i].size = BUFFER;
        ring.desc[i].flags = DESC_WRITE;
        virtio_offer(&net, &ring, i);
    }
    return true;
}

/* Give the buffers of all frames that came back. */
static uint32_t take_frames(void)
{
    uint32_t taken = 0;
    for (; ring.used.index != seen; seen++, taken++) {
        ring.avail.entry[ring.avail.index % VIRTIO_QUEUE] =
            (uint16_t)ring.used.entry[seen % VIRTIO_QUEUE].id;
        barrier();
        ring.avail.index++;
    }
    return taken;
}

static void touch_all(uint32_t devices)
{
    for (uint32_t i = 0; i < devices; i++) {
        uint64_t before = rdtsc();
        touch[i]();
        uint64_t ticks = rdtsc() - before;
        longest[i] = ticks > longest[i] ? ticks : longest[i];
    }
}

void guest_main(void)
{
    bool with_net = open_net();
    guest_print("toucher: at work, net %u\n", (uint32_t)with_net);
    for (;;) {
        uint64_t touches = 0, frames = 0, start = rdtsc();
        for (uint32_t i = 0; i < DEVICES; i++)
            longest[i] = 0;
        for (; rdtsc() - start < EVERY; touches++) {
            touch_all(with_net ? DEVICES : DEVICES - 1);
            frames += with_net ? take_frames() : 0;
        }
        guest_print("touched %lu uart %lu pci %lu net %lu frames %lu\n", touches, longest[0],
                    longest[1], longest[2], frames);
    }
}
