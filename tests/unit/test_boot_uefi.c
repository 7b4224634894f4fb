/* The UEFI stub on a firmware of the test's: what it starts, and each sentence with which it does
   not. The last character of a sentence comes back here, before the stub halts. Physical memory is
   the test's, at its addresses. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "test.h"
#define system firmwares /* not the C library's */
#include <boot/uefi/main.c>
#undef system

#define MEMORY   0x1000000u /* where the file is; what lies behind it is free */
#define SIZE     0x400000u
#define FREE     (MEMORY + 0x200000u)
#define LOW_FREE (MEMORY + 0x300000u)

static struct {
    bool no_image, high, odd_tpm, deaf_tpm, no_tpm, no_acpi, no_memory, long_map, stays, taken;
    unsigned modules;
    const char *kernel;
} wrong;
static char said[256];
static jmp_buf back;
static uint64_t entered, exits, measured;
static struct efi_loaded_image file;

static EFIAPI efi_status say(struct efi_text_output *output, const uint16_t *string)
{
    (void)output;
    said[strlen(said)] = (char)string[0];
    if (string[0] == '\n')
        longjmp(back, 1);
    return 0;
}

/* Of host mode: not here. */
void host_take_memory(const struct uefi_host *of, uint64_t kernel, uint64_t size)
{
    (void)of, (void)kernel, (void)size;
}
void host_check(const struct uefi_host *of) { (void)of; }
void host_slide(const struct uefi_host *of, uint64_t entry) { (void)of, (void)entry; }

_Noreturn void uefi_enter(uint64_t entry, const struct uefi_handover *over, uint32_t magic)
{
    assert_int_equal(magic, UEFI_MAGIC);
    assert_ptr_equal(over, &handover);
    entered = entry;
    longjmp(back, 1);
}

static EFIAPI efi_status get_facts(struct efi_tpm *tpm, struct efi_tpm_facts *facts)
{
    (void)tpm;
    facts->present = !wrong.no_tpm;
    return wrong.odd_tpm;
}

static EFIAPI efi_status take(struct efi_tpm *tpm, uint64_t flags, uint64_t data, uint64_t size,
                              const struct efi_event *event)
{
    (void)tpm;
    assert_true(!flags && data > MEMORY && data + size <= FREE && event->pcr == 11);
    measured++;
    return wrong.deaf_tpm;
}

static EFIAPI efi_status allocate(int how, int type, uint64_t pages, uint64_t *at)
{
    assert_int_equal(type, UEFI_LOADER_DATA);
    if (how == EFI_AT_ADDRESS)
        return wrong.taken || *at != FREE;
    assert_true(pages * 4096 <= SIZE / 4 && *at < FOUR_GIB);
    *at = LOW_FREE;
    return wrong.no_memory;
}

static EFIAPI efi_status get_map(uint64_t *size, void *map, uint64_t *key, uint64_t *step,
                                 uint32_t *version)
{
    static const struct uefi_line lines[] = {
        {UEFI_CONVENTIONAL, 0, 0, 0, 0x9f, 0},
        {UEFI_LOADER_DATA, 0, MEMORY, 0, 0x200, 0},
        {UEFI_CONVENTIONAL, 0, FREE, 0, 0x100, 0},
    };
    if (wrong.long_map || *size < sizeof lines)
        return 1;
    memcpy(map, lines, sizeof lines);
    *size = sizeof lines;
    *step = sizeof lines[0];
    *version = 1;
    *key = 7;
    return 0;
}

static EFIAPI efi_status handle(efi_handle of, const struct efi_guid *guid, void *interface)
{
    (void)of;
    assert_true(same_guid(guid, &image_guid));
    *(struct efi_loaded_image **)interface = &file;
    return wrong.no_image;
}

static EFIAPI efi_status locate(const struct efi_guid *guid, void *registration, void *interface)
{
    static struct efi_tpm tpm = {get_facts, 0, take};
    (void)registration;
    if (!same_guid(guid, &tpm_guid))
        return 1;
    *(struct efi_tpm **)interface = &tpm;
    return 0;
}

/* The first try comes too late: the map has changed. */
static EFIAPI efi_status leave(efi_handle of, uint64_t key)
{
    (void)of;
    assert_int_equal(key, 7);
    return exits++ == 0 || wrong.stays;
}

static EFIAPI efi_status watchdog(uint64_t seconds, uint64_t code, uint64_t size, void *data)
{
    assert_true(!seconds && !code && !size && !data);
    return 0;
}

/* The file, as firmware has loaded it: a kernel of one page, and modules. */
static void load_file(void)
{
    uint8_t *base = (uint8_t *)(uintptr_t)MEMORY;
    struct efi_section *s = (void *)(base + 64 + 24);
    struct uefi_kernel *k = (void *)(base + 0x10000);
    memset(base, 0, SIZE);
    memcpy(base + 60, &(uint32_t){64}, 4);
    *k = (struct uefi_kernel){0x5000000, 8192, 4096, 0x10, 1};
    k->move[0] = 8;
    memcpy((uint8_t *)(k->move + 1) + 8, &(uint32_t){0x5000123}, 4);
    *s++ = (struct efi_section){.name = ".sbat", .size = 1, .at = 0x8000};
    *s = (struct efi_section){.size = 8192, .at = 0x10000};
    strcpy(s++->name, wrong.kernel ? wrong.kernel : "kernel");
    for (unsigned i = 0; i < wrong.modules; i++)
        *s++ = (struct efi_section){.name = "root", .size = 4096, .at = 0x20000};
    memcpy(base + 64 + 6, &(uint16_t){(uint16_t)(wrong.modules + 2)}, 2);
    file = (struct efi_loaded_image){.base = base, .size = wrong.high ? FOUR_GIB : 0x200000};
}

static void run_stub(void)
{
    static struct efi_text_output output = {0, say};
    static const struct efi_boot_services boot = {
        .allocate_pages = allocate,
        .memory_map = get_map,
        .handle_protocol = handle,
        .exit_boot_services = leave,
        .set_watchdog = watchdog,
        .locate_protocol = locate,
    };
    const struct efi_table table[] = {{acpi1_guid, 0x111}, {acpi_guid, 0x222}};
    const struct efi_system firmware = {
        .output = &output, .boot = &boot, .tables = wrong.no_acpi ? 0 : 2, .table = table};
    memset(said, 0, sizeof said);
    memset(&handover, 0, sizeof handover);
    entered = exits = measured = 0;
    load_file();
    if (!setjmp(back))
        uefi_main(0, &firmware);
}

static void file_starts(void **state)
{
    (void)state;
    for (unsigned no_tpm = 0; no_tpm < 2; no_tpm++) {
        memset(&wrong, 0, sizeof wrong);
        wrong.modules = BOOT_MODULES;
        wrong.no_tpm = no_tpm;
        run_stub();
        assert_string_equal(said, "");
        assert_int_equal(entered, FREE + 0x10);
        assert_int_equal(*(uint32_t *)(uintptr_t)(FREE + 8), 0x123 + FREE);
        assert_int_equal(handover.modules, BOOT_MODULES);
        assert_int_equal(handover.rsdp, 0x222);
        assert_int_equal(measured, no_tpm ? 0 : BOOT_MODULES + 1); /* all but .sbat */
        assert_int_equal(exits, 2);
    }
}

#define REFUSED(what, sentence)                                                                    \
    do {                                                                                           \
        memset(&wrong, 0, sizeof wrong);                                                           \
        wrong.what;                                                                                \
        run_stub();                                                                                \
        assert_string_equal(said, "hairline: " sentence "\r\n");                                   \
        assert_int_equal(entered, 0);                                                              \
    } while (0)

static void what_firmware_lacks_is_told(void **state)
{
    (void)state;
    REFUSED(no_image = true,
            "the firmware does not say where it loaded this file; update the firmware");
    REFUSED(high = true, "the firmware loaded this file above 4 GiB; update the firmware");
    REFUSED(odd_tpm = true,
            "the firmware does not say whether there is a TPM; update the firmware");
    REFUSED(deaf_tpm = true,
            "the TPM does not take a measurement; switch it off in the firmware or repair it");
    REFUSED(modules = BOOT_MODULES + 1, "this file has too many sections; build it again");
    REFUSED(kernel = "kernels", "this file has no kernel; build it again");
    REFUSED(no_acpi = true, "the firmware has no ACPI tables; switch them on in the firmware");
    REFUSED(no_memory = true, "there is no memory left; use a machine with more");
    REFUSED(long_map = true, "the firmware's memory map is too long; use another machine");
    REFUSED(taken = true,
            "below 1 GiB there is no free run of memory for the kernel; use another machine");
    REFUSED(stays = true, "the firmware does not end its services; update the firmware");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_starts),
        cmocka_unit_test(what_firmware_lacks_is_told),
    };
    void *memory = mmap((void *)(uintptr_t)MEMORY, SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory != (void *)(uintptr_t)MEMORY)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
