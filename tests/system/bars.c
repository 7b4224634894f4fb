/*
 * Writes to the memory behind each BAR of 64 bits that lies above 4 GiB, far and wide, and reads it
 * back; says where each is. With `beyond=1` on the command line it then reads what is behind the
 * last.
 */
#include <guest/bare/pci.h>

#define FOUR_GIB 0x100000000ull
#define GIB      (1ull << 30)
#define PAGE     0x93ull /* present, writable, not cached, 1 GiB */

/* The processor's map goes to 4 GiB (guest/bare/start.S). */
static void reach(uint64_t from, uint64_t size)
{
    uint64_t root;
    __asm__ volatile("mov %%cr3, %0" : "=r"(root));
    uint64_t *pointers = (uint64_t *)(*(uint64_t *)root & ~0xfffull);
    for (uint64_t i = from / GIB; i * GIB < from + size; i++)
        pointers[i] = i * GIB | PAGE;
    __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

static uint64_t size_of(uint32_t slot, uint32_t bar)
{
    uint32_t at = PCI_BAR0 + 4 * bar, low = pci_read(slot, at), high = pci_read(slot, at + 4);
    pci_write(slot, at, ~0u), pci_write(slot, at + 4, ~0u);
    uint64_t ones = (uint64_t)pci_read(slot, at + 4) << 32 | (pci_read(slot, at) & ~15u);
    pci_write(slot, at, low), pci_write(slot, at + 4, high);
    return -ones;
}

/* A word that no other place has. */
static uint64_t word(uint64_t address) { return address * 0x9e3779b97f4a7c15ull; }

/* The last words of the first 8, 16, 32 ... bytes, up to all. */
static bool keeps(uint64_t from, uint64_t size)
{
    bool same = true;
    for (uint64_t end = 8; end <= size; end *= 2)
        *(volatile uint64_t *)(from + end - 8) = word(from + end);
    for (uint64_t end = 8; end <= size; end *= 2)
        same = same && *(volatile uint64_t *)(from + end - 8) == word(from + end);
    return same;
}

static uint64_t last;

static void look(uint32_t slot, uint32_t bar)
{
    bool memory;
    uint64_t from = pci_bar(slot, bar, &memory), size = size_of(slot, bar);
    if (!memory || from < FOUR_GIB)
        return;
    reach(from, size + GIB);
    last = from + size;
    guest_print("bars: %u.%u at %lx, %lx bytes: %s\n", slot, bar, from, size,
                keeps(from, size) ? "ok" : "FAIL");
}

void guest_main(void)
{
    char beyond[2];
    for (uint32_t slot = 0; slot < PCI_SLOTS; slot++)
        for (uint32_t bar = 0; pci_read(slot, PCI_ID) != ~0u && bar < PCI_BARS; bar++) {
            if ((pci_read(slot, PCI_BAR0 + 4 * bar) & 7) != 4)
                continue;
            pci_write(slot, PCI_COMMAND, COMMAND_MEMORY);
            look(slot, bar++);
        }
    if (guest_option("beyond", beyond, sizeof(beyond)))
        guest_print("bars: beyond is %lx\n", *(volatile uint64_t *)last);
}
