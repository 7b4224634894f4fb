/*
 * The UEFI stub: an EFI application that is the whole boot image. It reads nothing but its own
 * sections, which the firmware has verified if Secure Boot is on. It measures them, copies the
 * kernel to a place that is free, ends the firmware's boot services and jumps. Every refusal is a
 * sentence on the firmware's console, and then nothing more.
 */
#include "stub.h"

#define PCR       11u
#define EVENT_IPL 0x0du /* TCG PC Client Firmware Profile 10.4.1: EV_IPL */
#define MAP_PAGES 64u
#define MEBIBYTE  (1ull << 20)

static const struct efi_guid image_guid = {
    0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
static const struct efi_guid tpm_guid = {
    0x607f766c, 0x7455, 0x42be, {0x93, 0x0b, 0xe4, 0xd7, 0x6d, 0xb2, 0x72, 0x0f}};
static const struct efi_guid graphics_guid = {
    0x9042a9de, 0x23dc, 0x4a38, {0x96, 0xfb, 0x7a, 0xde, 0xd0, 0x80, 0x51, 0x6a}};
static const struct efi_guid acpi_guid = {
    0x8868e871, 0xe4f1, 0x11d3, {0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};
static const struct efi_guid acpi1_guid = {
    0xeb9d2d30, 0x2d88, 0x11d3, {0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};

const struct efi_system *stub_system;
static const struct efi_loaded_image *image;
static const struct efi_section *section, *section_end;
struct uefi_handover handover;
static efi_handle self;
static const struct uefi_host *host; /* NULL: the machine is all Hairline's */

EFIAPI efi_status uefi_main(efi_handle self, const struct efi_system *firmware);

void stub_refuse(const char *sentence)
{
    for (uint16_t wide[2] = {0}; *sentence; sentence++) {
        wide[0] = (uint8_t)*sentence;
        stub_system->output->output(stub_system->output, wide);
    }
    if (host)
        stub_system->boot->exit(self, EFI_UNSUPPORTED, 0, 0);
    for (;;)
        __asm__ volatile("hlt");
}

void stub_copy(uint64_t to, const void *from, uint64_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

void stub_clear(uint64_t to, uint64_t size)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory");
}

static bool same_guid(const struct efi_guid *a, const struct efi_guid *b)
{
    const uint64_t *x = (const void *)a, *y = (const void *)b;
    return x[0] == y[0] && x[1] == y[1];
}

static bool is_called(const struct efi_section *s, const char name[sizeof s->name])
{
    for (unsigned i = 0; i < sizeof s->name; i++)
        if (s->name[i] != name[i])
            return false;
    return true;
}

static void find_sections(void)
{
    if (stub_system->boot->handle_protocol(self, &image_guid, &image))
        REFUSE("the firmware does not say where it loaded this file", "update the firmware");
    if ((uint64_t)image->base + image->size > FOUR_GIB)
        REFUSE("the firmware loaded this file above 4 GiB", "update the firmware");
    const uint8_t *pe = image->base + *(const uint32_t *)(const void *)(image->base + 60);
    const uint16_t *coff = (const void *)pe;
    section = (const void *)(pe + 24 + coff[10]);
    section_end = section + coff[3];
    for (const struct efi_section *s = section; s < section_end; s++)
        if (is_called(s, (char[sizeof s->name]){UEFI_HOST}))
            host = (const void *)(image->base + s->at);
}

/* The machine's TPM; NULL: it has none. */
static struct efi_tpm *find_tpm(void)
{
    struct efi_tpm *tpm;
    struct efi_tpm_facts facts = {.size = sizeof facts};
    if (stub_system->boot->locate_protocol(&tpm_guid, 0, &tpm))
        return 0;
    if (tpm->get_facts(tpm, &facts))
        REFUSE("the firmware does not say whether there is a TPM", "update the firmware");
    return facts.present ? tpm : 0;
}

static void measure(struct efi_tpm *tpm, const struct efi_section *s)
{
    struct efi_event event = {sizeof event, 14, 1, PCR, EVENT_IPL, {0}};
    stub_copy((uint64_t)event.text, s->name, sizeof s->name);
    if (tpm->measure(tpm, 0, (uint64_t)image->base + s->at, s->size, &event))
        REFUSE("the TPM does not take a measurement", "switch it off in the firmware or repair it");
}

void stub_add_module(uint64_t base, uint64_t size, const char name[sizeof handover.module->name])
{
    if (handover.modules == BOOT_MODULES)
        REFUSE("this file has too many sections", "build it again");
    struct uefi_module *m = &handover.module[handover.modules++];
    m->base = base;
    m->size = size;
    stub_copy((uint64_t)m->name, name, sizeof m->name);
}

/* What boots: the kernel, whose section is returned, and the modules, in file order. */
static const struct efi_section *take_sections(struct efi_tpm *tpm)
{
    const struct efi_section *kernel = 0;
    for (const struct efi_section *s = section; s < section_end; s++) {
        if (s->name[0] == '.')
            continue;
        if (tpm)
            measure(tpm, s);
        if (is_called(s, (char[sizeof s->name]){UEFI_KERNEL})) {
            kernel = s;
            continue;
        }
        stub_add_module((uint64_t)image->base + s->at, s->size, s->name);
    }
    if (!kernel)
        REFUSE("this file has no kernel", "build it again");
    return kernel;
}

/* ACPI 2.0's table, else that of ACPI 1.0 (UEFI 2.10, 4.6). */
static uint64_t find_rsdp(void)
{
    uint64_t old = 0;
    for (const struct efi_table *t = stub_system->table;
         t < stub_system->table + stub_system->tables; t++) {
        if (same_guid(&t->guid, &acpi_guid))
            return t->at;
        if (same_guid(&t->guid, &acpi1_guid))
            old = t->at;
    }
    if (!old)
        REFUSE("the firmware has no ACPI tables", "switch them on in the firmware");
    return old;
}

/* Where the firmware's console is drawn, if its pixels are in memory. */
static void find_screen(void)
{
    struct efi_graphics *g;
    if (stub_system->boot->locate_protocol(&graphics_guid, 0, &g) ||
        g->mode->info->format > EFI_LAST_RGB)
        return;
    handover.screen = (struct boot_screen){g->mode->base, 4, g->mode->info->width,
                                           g->mode->info->height, g->mode->info->pixels_a_line * 4};
}

static void allocate_map(void)
{
    handover.map = FOUR_GIB - 1;
    if (stub_system->boot->allocate_pages(EFI_BELOW, UEFI_LOADER_DATA, MAP_PAGES, &handover.map))
        REFUSE("there is no memory left", "use a machine with more");
}

/* Read the firmware's memory map. Returns its key, which holds until the next allocation. */
static uint64_t read_map(void)
{
    uint64_t key;
    uint32_t version;
    handover.map_size = MAP_PAGES * 4096ull;
    if (stub_system->boot->memory_map(&handover.map_size, (void *)handover.map, &key,
                                      &handover.map_step, &version))
        REFUSE("the firmware's memory map is too long", "use another machine");
    return key;
}

/* The lowest place for `size` bytes above 1 MiB that nobody has: what is above it stays in one
 * piece for VMs. */
static uint64_t lowest_place(uint64_t size)
{
    uint64_t found = UEFI_LIMIT;
    for (uint64_t at = 0; at < handover.map_size; at += handover.map_step) {
        const struct uefi_line *line = (const void *)(handover.map + at);
        uint64_t base = line->base < MEBIBYTE ? MEBIBYTE : line->base,
                 end = line->base + line->pages * 4096;
        if (line->type == UEFI_CONVENTIONAL && end > base && end - base >= size && base < found)
            found = base;
    }
    return found;
}

/* Copy the kernel to a place of its own, adjusted to that. Returns its entry's address. */
static uint64_t place_kernel(const struct efi_section *s)
{
    const struct uefi_kernel *k = (const void *)(image->base + s->at);
    read_map();
    uint64_t place = lowest_place(k->size), pages = (k->size + 4095) / 4096;
    if (place + k->size > UEFI_LIMIT ||
        stub_system->boot->allocate_pages(EFI_AT_ADDRESS, host ? UEFI_RESERVED : UEFI_LOADER_DATA,
                                          pages, &place))
        REFUSE("below 1 GiB there is no free run of memory for the kernel", "use another machine");
    stub_copy(place, k->move + k->moves, k->bytes);
    stub_clear(place + k->bytes, pages * 4096 - k->bytes);
    for (uint32_t i = 0; i < k->moves; i++) {
        uint64_t at = place + (k->move[i] & ~UEFI_WIDE);
        if (k->move[i] & UEFI_WIDE)
            *(uint64_t *)at += place - k->base;
        else
            *(uint32_t *)at += (uint32_t)(place - k->base);
    }
    if (host)
        host_take_memory(host, place, pages * 4096);
    return place + k->entry;
}

/* The map may change until boot services are gone: then it is read again (UEFI 2.10, 7.4.6). */
static void leave_firmware(void)
{
    if (stub_system->boot->exit_boot_services(self, read_map()) &&
        stub_system->boot->exit_boot_services(self, read_map()))
        REFUSE("the firmware does not end its services", "update the firmware");
}

EFIAPI efi_status uefi_main(efi_handle handle, const struct efi_system *firmware)
{
    self = handle;
    stub_system = firmware;
    stub_system->boot->set_watchdog(0, 0, 0, 0);
    find_sections();
    const struct efi_section *kernel = take_sections(host ? 0 : find_tpm());
    handover.rsdp = find_rsdp();
    handover.host = host != 0;
    handover.serial = host ? host->serial : 0;
    if (host)
        host_check(host);
    else
        find_screen();
    allocate_map();
    uint64_t entry = place_kernel(kernel);
    if (host) {
        host_slide(host, entry);
        return 0;
    }
    leave_firmware();
    uefi_enter(entry, &handover, UEFI_MAGIC);
}
