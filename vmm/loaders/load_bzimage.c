/*
 * Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst): a setup
 * header in the image, a zero page that repeats and completes it, page tables
 * that map the first 4 GiB one to one.
 */
#include <vmm/loaders/load.h>
#include <lib/string.h>

/* Offsets in the image and in the zero page alike. */
enum {
    SETUP_SECTS = 0x1f1, /* 1 byte */
    HEADER_END = 0x201,  /* 1 byte: end of the header - 202h */
    HEADER_MAGIC = 0x202,
    VERSION = 0x206,
    LOADER_TYPE = 0x210,
    LOAD_FLAGS = 0x211,
    CODE32_START = 0x214,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE = 0x228,
    INITRD_MAX = 0x22c,
    XLOAD_FLAGS = 0x236,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_LIMIT = 0x290,
    /* in the zero page only */
    ACPI_RSDP_ADDR = 0x70,
    E820_ENTRIES = 0x1e8,
    E820_TABLE = 0x2d0,
    E820_SIZE = 20,
};
#define LOADED_HIGH    1u
#define LOADER_UNKNOWN 0xffu
#define KERNEL_64      1u /* xloadflags: has the 64-bit entry at +200h */
#define ENTRY_64       0x200u
#define OLDEST         0x20cu
#define LARGE_PAGE     0x200000u
#define PRESENT_WRITE  3u
#define PAGE_LARGE     0x80u

struct header {
    uint32_t setup, version, xload, initrd_max, init_size,
        end; /* `setup`: bytes before the payload */
    uint64_t preferred;
};

static uint64_t number(const uint8_t *image, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, image + offset, size);
    return value;
}

static const char *read_header(struct header *h)
{
    const uint8_t *image = load_image_at(0, 0x400);
    if (!image || memcmp(image + HEADER_MAGIC, "HdrS", 4) != 0)
        return "not a bzImage";
    uint32_t sectors = image[SETUP_SECTS];
    h->setup = 512 * (1 + (sectors ? sectors : 4));
    h->version = (uint32_t)number(image, VERSION, 2);
    h->xload = (uint32_t)number(image, XLOAD_FLAGS, 2);
    h->initrd_max = (uint32_t)number(image, INITRD_MAX, 4);
    h->preferred = number(image, PREF_ADDRESS, 8);
    h->init_size = (uint32_t)number(image, INIT_SIZE, 4);
    h->end = HEADER_MAGIC + image[HEADER_END];
    if (h->version < OLDEST || !(h->xload & KERNEL_64))
        return "no 64-bit entry (older than 3.8, or a 32-bit kernel)";
    return h->setup < config()->kernel.size && h->end <= HEADER_LIMIT ? NULL
                                                                      : "the bzImage is cut off";
}

static void put_page_tables(void)
{
    uint64_t *table = guest_memory(BOOT_TABLES, 6 * PAGE_SIZE);
    memset(table, 0, 6 * PAGE_SIZE);
    table[0] = (BOOT_TABLES + PAGE_SIZE) | PRESENT_WRITE;
    for (uint64_t i = 0; i < 4; i++)
        table[512 + i] = (BOOT_TABLES + (2 + i) * PAGE_SIZE) | PRESENT_WRITE;
    for (uint64_t i = 0; i < 4 * 512; i++)
        table[1024 + i] = i * LARGE_PAGE | PRESENT_WRITE | PAGE_LARGE;
}

static void put(uint8_t *zero_page, uint32_t offset, uint64_t value, uint32_t size)
{
    memcpy(zero_page + offset, &value, size);
}

static void put_zero_page(const struct header *h, uint64_t initrd)
{
    uint8_t *z = guest_memory(BOOT_INFO, PAGE_SIZE);
    memset(z, 0, PAGE_SIZE);
    memcpy(z + SETUP_SECTS, load_image_at(SETUP_SECTS, h->end - SETUP_SECTS), h->end - SETUP_SECTS);
    z[LOADER_TYPE] = LOADER_UNKNOWN;
    z[LOAD_FLAGS] |= LOADED_HIGH;
    put(z, CODE32_START, h->preferred, 4);
    put(z, RAMDISK_IMAGE, initrd, 4);
    put(z, RAMDISK_SIZE, initrd ? config()->initrd.size : 0, 4);
    put(z, CMD_LINE, BOOT_CMDLINE, 4);
    put(z, ACPI_RSDP_ADDR, ACPI_RSDP, 8);
    z[E820_ENTRIES] = (uint8_t)load_ranges();
    for (uint32_t i = 0; i < load_ranges(); i++) {
        struct memory_range r = load_range(i);
        put(z, E820_TABLE + E820_SIZE * i, r.base, 8);
        put(z, E820_TABLE + E820_SIZE * i + 8, r.size, 8);
        put(z, E820_TABLE + E820_SIZE * i + 16, r.type, 4);
    }
}

const char *load_bzimage(void)
{
    struct header h;
    const char *wrong = read_header(&h);
    if (wrong)
        return wrong;
    uint64_t size = config()->kernel.size - h.setup, room = size > h.init_size ? size : h.init_size,
             initrd;
    void *to = guest_memory(h.preferred, room);
    if (!to || h.preferred < 0x100000)
        return "the kernel does not fit the VM's memory";
    if (!load_place_initrd(h.preferred + room, (uint64_t)h.initrd_max + 1, &initrd))
        return "the initrd does not fit the VM's memory";
    memcpy(to, load_image_at(h.setup, size), size);
    put_page_tables();
    put_zero_page(&h, initrd);
    boot = (struct vm_boot){.long_mode = true,
                            .rip = h.preferred + ENTRY_64,
                            .rsi = BOOT_INFO,
                            .cr3 = BOOT_TABLES,
                            .gdt = boot.gdt};
    return NULL;
}
