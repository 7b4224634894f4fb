/* The entropy source (virtio 1.2, 5.4): RDRAND (APM3 "RDRAND"); absent where the processor has none. */
#include <vmm/virtio.h>

#define CPUID_RDRAND (1u << 30) /* leaf 1, ECX */
#define RNG_WORDS    8u         /* given at a time; a driver that wants more asks again */
#define RNG_TRIES    10u

static bool has_rdrand(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return ecx & CPUID_RDRAND;
}

static bool rdrand(uint64_t *word)
{
    bool done = false;
    for (uint32_t i = 0; i < RNG_TRIES && !done; i++)
        __asm__ volatile("rdrand %0" : "=r"(*word), "=@ccc"(done));
    return done;
}

static enum vq_result rng_serve(struct virtio_device *d, uint32_t queue, const struct chain *c, uint32_t *written)
{
    uint64_t words[RNG_WORDS];
    uint32_t n = 0;
    (void)d, (void)queue;
    while (n < RNG_WORDS && rdrand(&words[n]))
        n++;
    *written = (uint32_t)chain_write(c, 0, words, n * sizeof words[0]);
    return VQ_OK;
}

static const struct virtio_kind rng_kind = {.id = 4, .queues = 1, .pci_class = 0xff00, .serve = rng_serve};

void virtio_rng_init(uint32_t slot)
{
    if (has_rdrand())
        virtio_add(slot, &rng_kind, 0);
}
