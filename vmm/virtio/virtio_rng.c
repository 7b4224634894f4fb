/* The source of random bytes (virtio 1.2, 5.4): they are the processor's. */
#include <lib/hw/random.h>
#include <vmm/virtio/virtio.h>

#define RNG_CHUNK 64u /* bytes of a chain, at most: some 10 microseconds of RDRAND */
#define RNG_TRIES 10u /* after so many it is broken (SDM1 7.3.17.1) */
#define RNG_FIRST 4u  /* words, of which no two may be the same */

/* A word that is random for all we know. All ones is what processors say that lost their source. */
static bool rng_word(uint64_t *word)
{
    for (uint32_t i = 0; i < RNG_TRIES; i++)
        if (cpu_random(word) && *word != ~0ull)
            return true;
    return false;
}

/* Fill one buffer, or its beginning. Without random bytes it waits. */
static enum vq_result rng_serve(struct virtio_device *d, uint32_t queue, const struct chain *c,
                                uint32_t *written)
{
    uint64_t word;
    (void)d, (void)queue;
    while (*written < RNG_CHUNK && *written < c->write_size && rng_word(&word))
        *written += (uint32_t)virtqueue_write(c, *written, &word, sizeof word);
    return *written || c->write_size == 0 ? VQ_OK : VQ_WAIT;
}

static const struct virtio_kind rng_kind = {
    .id = 4, .queues = 1, .pci_class = 0x1000, .serve = rng_serve};

/* Fail closed: no instruction, or one that fails or repeats itself, is no device. */
void virtio_rng_init(uint32_t slot)
{
    uint64_t word[RNG_FIRST];
    if (!cpu_has_random())
        return;
    for (uint32_t i = 0; i < RNG_FIRST; i++) {
        if (!rng_word(&word[i]))
            return;
        for (uint32_t k = 0; k < i; k++)
            if (word[k] == word[i])
                return;
    }
    virtio_add(slot, &rng_kind, 0);
}
