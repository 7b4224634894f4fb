/*
 * Sees what others' devices do to it. Its memory is full of commands that
 * betray it if a foreign controller reads them (nvme.h), and looked through
 * again and again; it takes all interrupts. With `messages=1` on the command
 * line each message of its own controller has a vector from the start. `q` ends
 * it: value 0, if nothing came but what its own controller did at the end.
 */
#include <guest/bare/nvme.h>

#define FROM     0x200000u                  /* behind its image */
#define TO       (GUEST_MEMORY - NVME_PAGE) /* what its own controller writes is behind that */
#define ENTRIES  16u
#define PATIENCE 200000000000ull /* TSC ticks */

enum { OWN = 0x61, NMI = 2 };

static struct nvme device;
static volatile uint32_t count[256];

static void on_interrupt(struct frame *f)
{
    count[f->vector]++;
    wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static void on_nmi(struct frame *f) { count[f->vector]++; }

static void prepare(void)
{
    struct nvme_command betrayal = nvme_identify(NVME_LOOT, 0);
    for (struct nvme_command *c = (void *)(uintptr_t)FROM; (uintptr_t)c < TO; c++)
        *c = betrayal;
    guest_handler[NMI] = on_nmi;
    for (uint32_t v = 32; v < 256; v++)
        guest_handler[v] = on_interrupt;
    guest_apic_enable();
    interrupts_on();
}

static void take_messages(void)
{
    for (uint32_t i = 0; i < ENTRIES; i++)
        nvme_message(&device, i, nvme_own_address(), OWN);
    nvme_messages_on(&device);
}

/* The first address that is not as it was; 0: none. */
static uint64_t changed(void)
{
    struct nvme_command betrayal = nvme_identify(NVME_LOOT, 0);
    const uint64_t *is = (const uint64_t *)&betrayal;
    for (volatile uint64_t *word = (void *)(uintptr_t)FROM; (uintptr_t)word < TO; word++)
        if (*word != is[(uintptr_t)word / 8 % (sizeof(betrayal) / 8)])
            return (uintptr_t)word;
    return 0;
}

static uint32_t interrupts(void)
{
    uint32_t sum = 0;
    for (uint32_t v = 0; v < 256; v++)
        sum += count[v];
    return sum;
}

/* One more command, one more interrupt: it would have noticed. */
static bool own_arrives(void)
{
    take_messages();
    bool arrives = nvme_start(&device, 0, 0) && nvme_await(&device, nvme_identify(TO, 0));
    for (uint64_t end = rdtsc() + PATIENCE; !count[OWN] && rdtsc() < end;)
        ;
    return arrives && count[OWN] == 1 && interrupts() == 1;
}

void guest_main(void)
{
    char on[2];
    if (!nvme_find(&device))
        guest_exit(1);
    prepare();
    if (guest_option("messages", on, sizeof(on)))
        take_messages();
    guest_print("witness: at work\n");
    while (!changed() && !interrupts() && !guest_key('q'))
        ;
    uint64_t address = changed();
    uint32_t came = interrupts();
    bool own = own_arrives();
    guest_print("witness: changed at %lx, %u interrupts, own %s\n", address, came,
                own ? "ok" : "FAIL");
    guest_exit(address || came || !own);
}
