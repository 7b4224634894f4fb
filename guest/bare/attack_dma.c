/*
 * A device of the VM's own as a weapon: an NVMe controller that is told to
 * read its commands, and to write its data, answers and messages, where they
 * do not belong. First under the eyes of the VMM, then again without one,
 * when there is no console any more: the line in this file that was not
 * content is then the value of the VM's end.
 */
#include "attack.h"
#include "nvme.h"

#include <abi/vm.h>

#define MACHINE_MEMORY 0x10000000ull /* of the plan */
#define STEP           0x4000u       /* every fourth page */
#define QUEUE_STEP     0x100000u     /* a queue elsewhere costs a reset */
#define LAST_BYTES     512u          /* of a page: then the second PRP entry's turn comes */
#define REMAPPABLE     0x10u         /* VT-d 5.1.2.2: the entry's number is in the address */
#define SUBHANDLE      0x08u
#define ENTRIES        0x400u          /* four times the kernel's table */
#define PATIENCE       200000000000ull /* TSC ticks */

/* The vectors that this guest asks for: what completions raise, what only a forged message can
 * raise, a forged table's. */
enum { OWN = 0x50, FORGED = 0x51, TABLE = 0x52, BELOW = 32 };

#define CHECK(what, ok) check(what, ok, __LINE__)

static struct nvme device;
static _Alignas(NVME_PAGE) volatile uint8_t buffer[NVME_PAGE];
static volatile uint32_t count[256];
static bool alone, intel;

static void check(const char *what, bool ok, uint32_t line)
{
    if (alone && !ok)
        guest_exit(line);
    if (!ok)
        attack_fail(what);
    if (!alone)
        guest_print("dma: %s\n", what);
}

static void on_interrupt(struct frame *f)
{
    count[f->vector]++;
    wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static bool counts(uint32_t vector, uint32_t before)
{
    for (uint64_t end = rdtsc() + PATIENCE; rdtsc() < end;)
        if (count[vector] != before)
            return true;
    return false;
}

static bool none_strange(void)
{
    for (uint32_t v = BELOW; v < 256; v++)
        if (count[v] && v != OWN && v != FORGED && v != TABLE)
            return false;
    return true;
}

static bool untouched(const volatile uint8_t *page)
{
    for (uint32_t i = 0; i < NVME_PAGE; i++)
        if (page[i] != 0xaa)
            return false;
    return true;
}

static void wipe(volatile uint8_t *page)
{
    for (uint32_t i = 0; i < NVME_PAGE; i++)
        page[i] = 0xaa;
}

/* ---- what it is for ---------------------------------------------------------- */
static void set_table(void)
{
    nvme_message(&device, 0, nvme_own_address(), OWN);
    nvme_message(&device, 1, nvme_own_address(), FORGED);
    if (!alone)
        nvme_messages_on(&device);
}

static void works(void)
{
    set_table();
    wipe(buffer);
    uint32_t before = count[OWN];
    CHECK("the device starts", nvme_start(&device, 0, 0));
    CHECK("it answers", nvme_await(&device, nvme_identify((uintptr_t)buffer, 0)));
    CHECK("its data arrive", buffer[0] == 0x36 && buffer[1] == 0x1b && buffer[NVME_PAGE - 1] == 0);
    CHECK("its interrupt arrives", counts(OWN, before));
}

/* ---- data elsewhere ------------------------------------------------------------ */
/* Beyond its memory, where the kernel's is; the IOAPIC; both kinds of IOMMU; where nothing is. */
static const uint64_t places[] = {GUEST_MEMORY, 0xfec00000, 0xfed40000, 0xfed90000, 1ull << 39};
#define PLACES (sizeof(places) / sizeof(places[0]))

static void write_to(uint64_t address)
{
    nvme_await(&device, nvme_identify(address, 0));
    nvme_await(&device, nvme_identify((uintptr_t)buffer + NVME_PAGE - LAST_BYTES, address));
}

static void write_zero(uint64_t address) { nvme_await(&device, nvme_zero(address)); }

/* Until somebody types `g`: root reads one record of the IOMMU's in a second, and more do not fit.
 * Once without a VMM. */
static void insist(void (*attack)(uint64_t), uint64_t address)
{
    if (!alone)
        guest_print("dma: insists on %lx\n", address);
    do
        attack(address);
    while (!alone && !guest_key('g'));
}

static void data_elsewhere(void)
{
    for (uint32_t i = 0; i < PLACES; i++)
        insist(write_to, places[i]);
    for (uint64_t at = GUEST_MEMORY; at < MACHINE_MEMORY; at += STEP)
        write_zero(at);
    CHECK("data elsewhere leave it as it was", untouched((volatile uint8_t *)NVME_LOOT));
}

/* ---- queues elsewhere ------------------------------------------------------------ */
/* A witness has a command there that would fill NVME_LOOT; the controller says if it cannot read,
 * or answer. */
static bool queues_are_refused(uint64_t at)
{
    bool refused = nvme_start(&device, at, 0);
    nvme_send(&device, nvme_identify((uintptr_t)buffer, 0));
    refused &= nvme_gave_up(&device) && nvme_start(&device, 0, at);
    nvme_send(&device, nvme_identify((uintptr_t)buffer, 0));
    return refused && nvme_gave_up(&device);
}

static void queues_elsewhere(void)
{
    bool refused = true;
    for (uint32_t i = 0; i < PLACES; i++)
        refused &= queues_are_refused(places[i]);
    for (uint64_t at = GUEST_MEMORY; at < MACHINE_MEMORY && refused; at += QUEUE_STEP)
        refused &= queues_are_refused(at);
    CHECK("queues elsewhere are refused", refused);
    CHECK("no command of a witness was read", untouched((volatile uint8_t *)NVME_LOOT));
}

/* ---- forged messages ------------------------------------------------------------- */
/* VT-d: each entry of the table, and those behind it. One of them is there, and the guest's own. (A
   witness has none: QEMU 10.0 does not say who writes a message that is data, so that all may use
   all entries.) */
static void forge_entries(uint32_t flags)
{
    uint32_t before = count[FORGED];
    for (uint32_t h = 0; h < ENTRIES; h++)
        write_zero(NVME_MESSAGES | REMAPPABLE | flags | h << 5);
    write_zero(NVME_MESSAGES | REMAPPABLE | flags | 0x7fff << 5 | 1 << 2);
    CHECK("one message that it forged is its own",
          counts(FORGED, before) && count[FORGED] == before + 1);
}

/* An answer is four messages: 0, 0, its place in the queue, and `what` with the phase. QEMU 10.0's
   AMD-Vi takes them for the IOAPIC's, so that not even the guest's own is let through. */
static bool message_is_refused(uint64_t core, uint32_t what)
{
    struct nvme_command command = nvme_identify((uintptr_t)buffer, 0);
    command.id = (uint16_t)what;
    bool started = nvme_start(&device, 0, NVME_MESSAGES | core << 12);
    nvme_send(&device, command);
    return started && nvme_gave_up(&device);
}

/* To root's core, its own, the witness's, all: in each mode of delivery; NMI, INIT, SMI among them.
 */
static void forge_data(void)
{
    static const uint8_t cores[] = {0, 1, 2, 0xff}, vectors[] = {0, 1, 0x20, 0x61, 0xff};
    bool refused = true;
    for (uint32_t i = 0; i < sizeof(cores); i++)
        for (uint32_t mode = 0; mode < 8; mode++)
            for (uint32_t v = 0; v < sizeof(vectors); v++)
                refused = refused && message_is_refused(cores[i], mode << 8 | vectors[v]);
    CHECK("messages of its own making are refused", refused);
}

static void forge(void)
{
    if (!intel) {
        forge_data();
    } else {
        forge_entries(0);
        forge_entries(SUBHANDLE);
    }
    works();
    insist(write_zero, NVME_MESSAGES | REMAPPABLE | (ENTRIES - 1) << 5);
    CHECK("no interrupt that it did not ask for", none_strange());
}

/* ---- a forged table ---------------------------------------------------------------- */
/* Cores 0 and 2, all, by logical IDs; where no messages go: the kernel's memory, an IOMMU, above 4
 * GiB. */
static const uint64_t receivers[] = {NVME_MESSAGES,
                                     NVME_MESSAGES | 2 << 12,
                                     NVME_MESSAGES | 0xff << 12,
                                     NVME_MESSAGES | 0xff << 12 | 4,
                                     GUEST_MEMORY,
                                     0xfed90000,
                                     1ull << 32 | NVME_MESSAGES};
/* A vector; none; NMI, INIT, SMI, ExtINT; level-triggered. */
static const uint32_t data[] = {TABLE, 2, 14, 0x400, 0x500, 0x200, 0x700, 0xc000 | TABLE};

static void forge_table(uint64_t address, uint32_t what)
{
    nvme_message(&device, 0, address, what);
    if (!alone)
        nvme_messages_on(&device);
    nvme_await(&device, nvme_identify((uintptr_t)buffer, 0));
}

static void forge_tables(void)
{
    uint32_t before = count[TABLE];
    CHECK("the device starts for forged tables", nvme_start(&device, 0, 0));
    for (uint32_t i = 0; i < sizeof(receivers) / sizeof(receivers[0]); i++)
        for (uint32_t k = 0; k < sizeof(data) / sizeof(data[0]); k++)
            forge_table(receivers[i], data[k]);
    CHECK("a forged table leads to itself at most", none_strange());
    CHECK("without a VMM it means nothing", !alone || count[TABLE] == before);
}

/* ---- with and without a VMM --------------------------------------------------------- */
static void wait_for_key(void)
{
    guest_print("dma: waits\n");
    while (!guest_key('g'))
        ;
}

static void attack_all(void)
{
    data_elsewhere();
    works();
    queues_elsewhere();
    works();
    forge();
    forge_tables();
    works();
}

static void prepare(void)
{
    char iommu[8] = "";
    guest_option("iommu", iommu, sizeof(iommu));
    intel = guest_same(iommu, "intel");
    for (uint32_t v = BELOW; v < 256; v++)
        guest_handler[v] = on_interrupt;
    wipe((volatile uint8_t *)NVME_LOOT);
    interrupts_on();
}

/* The device is left in its worst state, for the next life. */
void attack_dma(void)
{
    prepare();
    CHECK("a device", nvme_find(&device));
    CHECK("it is new", nvme_is_new(&device));
    works();
    CHECK("no machine sees it without its decoding", nvme_hears_undecoded(&device));
    wait_for_key();
    attack_all();
    guest_print("dma: done what a VMM can see\n");
    wait_for_key();
    guest_leave();
    interrupts_on();
    alone = true;
    works();
    attack_all();
    nvme_start(&device, GUEST_MEMORY, places[1]);
    guest_exit(0);
}
