/* See nvme.h. */
#include "nvme.h"
#include "pci.h"

#define USABLE     (uint32_t)(COMMAND_MEMORY | COMMAND_MASTER)
#define CLASS_NVME 0x0108u
#define MSIX_ON    ((uint32_t)MSIX_ENABLE << 16) /* as bit of the capability's first dword */
#define PATIENCE   200000000000ull               /* TSC ticks */
#define ENABLE     (1u | 6u << 16 | 4u << 20)    /* entries of 64 and 16 bytes (3.1.5) */
#define READY      1u
#define FATAL      2u
#define IDENTIFY   6u
#define GET_LOG    2u

enum nvme_register {
    N_CAP = 0,
    N_VERSION = 8,
    N_CC = 0x14,
    N_CSTS = 0x1c,
    N_AQA = 0x24,
    N_ASQ = 0x28,
    N_ACQ = 0x30,
    N_BELLS = 0x1000
};

static _Alignas(NVME_PAGE) struct nvme_command commands[NVME_QUEUE];
static _Alignas(NVME_PAGE) volatile struct {
    uint32_t result, reserved;
    uint16_t head, queue, id, status; /* with the phase in bit 0 */
} answers[NVME_PAGE / 16];

static volatile uint32_t *at32(const struct nvme *n, uint64_t offset)
{
    return (volatile uint32_t *)(n->registers + offset);
}

static void set64(const struct nvme *n, uint64_t offset, uint64_t value)
{
    *at32(n, offset) = (uint32_t)value;
    *at32(n, offset + 4) = (uint32_t)(value >> 32);
}

static bool becomes(const struct nvme *n, uint32_t bit, uint32_t value)
{
    for (uint64_t end = rdtsc() + PATIENCE; rdtsc() < end;)
        if ((*at32(n, N_CSTS) & bit) == value)
            return true;
    return false;
}

bool nvme_find(struct nvme *n)
{
    for (n->slot = 0; n->slot < PCI_SLOTS && pci_read(n->slot, PCI_CLASS) >> 16 != CLASS_NVME;)
        n->slot++;
    if (n->slot == PCI_SLOTS)
        return false;
    pci_write(n->slot, PCI_COMMAND, USABLE);
    bool memory;
    n->registers = pci_bar(n->slot, 0, &memory);
    n->msix = pci_capability(n->slot, CAP_MSIX, 0);
    n->table = n->registers + (pci_read(n->slot, n->msix + 4) & ~7u);
    return memory && n->msix;
}

bool nvme_hears_undecoded(const struct nvme *n)
{
    uint32_t version = *at32(n, N_VERSION);
    pci_write(n->slot, PCI_COMMAND, USABLE & ~(uint32_t)COMMAND_MEMORY);
    bool shown = !(pci_read(n->slot, PCI_COMMAND) & (uint32_t)COMMAND_MEMORY),
         heard = *at32(n, N_VERSION) == version;
    pci_write(n->slot, PCI_COMMAND, USABLE);
    return shown && heard && version != 0 && version != ~0u;
}

bool nvme_is_new(const struct nvme *n) { return *at32(n, N_CC) == 0 && *at32(n, N_CSTS) == 0; }

bool nvme_start(struct nvme *n, uint64_t from, uint64_t to)
{
    *at32(n, N_CC) = 0;
    if (!becomes(n, READY, 0))
        return false;
    for (uint32_t i = 0; i < NVME_QUEUE; i++)
        answers[i].status = 0;
    n->tail = n->head = 0;
    *at32(n, N_AQA) = (NVME_QUEUE - 1) << 16 | (NVME_QUEUE - 1);
    set64(n, N_ASQ, from ? from : (uintptr_t)commands);
    set64(n, N_ACQ, to ? to : (uintptr_t)answers);
    *at32(n, N_CC) = ENABLE;
    return becomes(n, READY, READY);
}

struct nvme_command nvme_identify(uint64_t to, uint64_t rest)
{
    return (struct nvme_command){.opcode = IDENTIFY, .data = {to, rest}, .word = {1}};
}

struct nvme_command nvme_zero(uint64_t to)
{
    return (struct nvme_command){.opcode = GET_LOG, .data = {to}, .word = {1}};
}

void nvme_send(struct nvme *n, struct nvme_command command)
{
    commands[n->tail++ % NVME_QUEUE] = command;
    barrier();
    *at32(n, N_BELLS) = n->tail % NVME_QUEUE;
}

void nvme_take(struct nvme *n)
{
    n->head++;
    *at32(n, N_BELLS + (4u << (*at32(n, N_CAP + 4) & 15))) = n->head % NVME_QUEUE;
}

/* The phase is 1 on the first way through the queue. */
bool nvme_await(struct nvme *n, struct nvme_command command)
{
    uint32_t place = n->head % NVME_QUEUE, phase = (n->head / NVME_QUEUE + 1u) & 1;
    nvme_send(n, command);
    for (uint64_t end = rdtsc() + PATIENCE; (answers[place].status & 1) != phase;)
        if (rdtsc() > end)
            return false;
    nvme_take(n);
    return answers[place].status >> 1 == 0;
}

bool nvme_gave_up(const struct nvme *n) { return becomes(n, FATAL, FATAL); }

void nvme_message(const struct nvme *n, uint32_t i, uint64_t address, uint32_t data)
{
    volatile uint32_t *entry = (volatile uint32_t *)n->table + (size_t)4 * i;
    entry[3] = 1; /* masked, as long as it is half written */
    entry[0] = (uint32_t)address;
    entry[1] = (uint32_t)(address >> 32);
    entry[2] = data;
    entry[3] = 0;
}

void nvme_messages_on(const struct nvme *n) { pci_write(n->slot, n->msix, MSIX_ON); }
