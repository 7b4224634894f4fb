/* What the boot stub makes of a loader's information: memory maps as firmware gives them, the page
   for other cores, the RSDP, and what it refuses. Physical memory is the test's: one block of
   information and root's image. */
#include <boot/boot.h>
#include <boot/uefi/handover.h>
#include <abi/image.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include "test.h"

#define INFO    0x7000000u
#define ROOT    0x7400000u
#define KERNEL  0x2000000ull /* and END: boot.mk tells the linker */
#define END     0x3000000ull
#define MIB     (1ull << 20)
#define LOADER1 1u /* types of UEFI */
#define NVS     10u
#define ACPI    9u
#define USUAL   7u

static _Alignas(8) uint8_t block[1u << 17];
static struct image_header root = {.magic = IMAGE_MAGIC, .entry = IMAGE_BASE, .text = 1};
static const char *sentence;
static jmp_buf back;
struct boot_info boot_info;
uint8_t core_ap_page;

void boot_set_screen(uint64_t base, uint32_t bits, uint32_t width, uint32_t height, uint32_t pitch)
{
    boot_info.screen = (struct boot_screen){base, bits / 8, width, height, pitch};
}

_Noreturn void boot_refuse(const char *why)
{
    sentence = why;
    longjmp(back, 1);
}

static const void *physical_at(uint64_t physical)
{
    if (physical == ROOT)
        return &root;
    assert_in_range(physical, INFO, INFO + sizeof block - 1);
    return block + (physical - INFO);
}

#define boot_at physical_at
#include <boot/memory.c>
#include <boot/module.c>
#include <boot/multiboot2.c>
#include <boot/uefi.c>

/* ---- what a loader hands over ---- */

static struct uefi_handover *handover;
static struct uefi_line *next_line;

static void begin(void)
{
    memset(block, 0, sizeof block);
    memset(&boot_info, 0, sizeof boot_info);
    lines = spans = 0;
    sentence = 0;
    handover = (void *)block;
    next_line = (void *)(block + 8192);
    *handover = (struct uefi_handover){
        .rsdp = 0x9e010, .map = INFO + 8192, .map_step = sizeof *next_line, .modules = 1};
    handover->module[0] = (struct uefi_module){ROOT, PAGE_SIZE, "root"};
}

static void map_line(uint32_t type, uint64_t base, uint64_t end)
{
    *next_line++ = (struct uefi_line){type, 0, base, 0, (end - base) / PAGE_SIZE, 0};
    handover->map_size += sizeof *next_line;
}

static bool read_handover(void)
{
    if (!setjmp(back)) {
        boot_uefi(INFO);
        boot_memory_finish();
        boot_module_finish();
    }
    return !sentence;
}

static void must_refuse(const char *part)
{
    assert_false(read_handover());
    assert_non_null(strstr(sentence, part));
}

static uint32_t kind_at(uint64_t address)
{
    for (uint32_t i = 0; i < boot_info.ranges; i++)
        if (address - boot_info.range[i].base < boot_info.range[i].size)
            return boot_info.range[i].kind;
    return ~0u;
}

/* ---- the tests ---- */

static void hundreds_of_lines_are_few_ranges(void **state)
{
    (void)state;
    begin();
    map_line(USUAL, 0, 0xa0000);
    map_line(USUAL, MIB, 8 * MIB);
    map_line(NVS, 8 * MIB, 9 * MIB);
    for (uint64_t at = 9 * MIB; at < 256 * MIB; at += MIB)
        map_line(LOADER1 + at / MIB % 4, at, at + MIB);
    map_line(ACPI, 256 * MIB, 257 * MIB);
    map_line(USUAL, 257 * MIB, 512 * MIB);
    for (uint64_t at = 512 * MIB; at < 544 * MIB; at += MIB) /* scraps, as servers have them */
        map_line(at / MIB % 2 ? NVS : USUAL, at, at + MIB);
    handover->rsdp = 514 * MIB + 16; /* in one of them, and so it is none */
    assert_true(handover->map_size / sizeof *next_line > 250);
    assert_true(read_handover());
    assert_true(boot_info.ranges < BOOT_RANGES);
    assert_int_equal(kind_at(0x1000), ~0u);
    assert_int_equal(kind_at(512 * MIB), RANGE_RAM); /* of the run before it */
    assert_int_equal(kind_at(514 * MIB), RANGE_RAM);
    assert_int_equal(kind_at(516 * MIB), ~0u);
    assert_int_equal(kind_at(517 * MIB), RANGE_DEVICE);
    assert_int_equal(kind_at(7 * MIB), RANGE_RAM);
    assert_int_equal(kind_at(8 * MIB), RANGE_DEVICE);
    assert_int_equal(kind_at(KERNEL - 1), RANGE_RAM);
    assert_int_equal(kind_at(KERNEL), ~0u);
    assert_int_equal(kind_at(END), RANGE_RAM);
    assert_int_equal(kind_at(256 * MIB), RANGE_DEVICE);
    assert_int_equal(kind_at(511 * MIB), RANGE_RAM);
    assert_int_equal(boot_info.rsdp, 514 * MIB + 16);
}

/* What the tool lays behind the image is the kernel's, too, and RAM, or it does not start. */
static void pool_is_longer_where_the_plan_needs_it(void **state)
{
    (void)state;
    for (uint32_t more = 1; more < 4; more++) {
        begin();
        map_line(USUAL, 0, 512 * MIB);
        boot_info.more_frames = more;
        assert_true(read_handover());
        assert_int_equal(kind_at(END), ~0u);
        assert_int_equal(kind_at(END + more * PAGE_SIZE - 1), ~0u);
        assert_int_equal(kind_at(END + more * PAGE_SIZE), RANGE_RAM);
    }
    begin();
    map_line(USUAL, 0, 512 * MIB);
    boot_info.more_frames = POOL_MOST - POOL_FRAMES + 1;
    must_refuse("kernel's place");
    for (uint32_t more = 4; more < 6; more++) {
        begin();
        map_line(USUAL, 0, END + 4 * PAGE_SIZE);
        map_line(ACPI, END + 4 * PAGE_SIZE, END + 5 * PAGE_SIZE);
        map_line(USUAL, END + 5 * PAGE_SIZE, 512 * MIB);
        boot_info.more_frames = more;
        if (more == 4)
            assert_true(read_handover());
        else
            must_refuse("kernel's place");
    }
}

static void too_many_lines_are_refused(void **state)
{
    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        begin();
        map_line(USUAL, 0, 128 * MIB);
        for (uint64_t i = 1; i < LINES + more; i++)
            map_line(i % 2 ? ACPI : USUAL, i * 1024 * MIB, i * 1024 * MIB + 4 * MIB);
        must_refuse(more ? "too many lines" : "too fragmented");
    }
}

static void page_for_cores_is_nobodys(void **state)
{
    (void)state;
    begin();
    map_line(USUAL, 0,
             0x9f000); /* the highest: that of the RSDP; below it modules, and what is no RAM */
    map_line(USUAL, MIB, 128 * MIB);
    map_line(NVS, 0x97000, 0x98000);
    handover->module[handover->modules++] = (struct uefi_module){0x98000, 0x5001, "f0"};
    assert_true(read_handover());
    assert_int_equal(core_ap_page, 0x96);
    assert_int_equal(kind_at(0x96000), ~0u);
    assert_int_equal(kind_at(0x98000), RANGE_RAM);
    assert_int_equal(kind_at(0), RANGE_DEVICE);
}

static void what_has_no_room_is_refused(void **state)
{
    (void)state;
    begin();
    map_line(USUAL, 0, 0x1000); /* page 0 is the BIOS's */
    map_line(USUAL, MIB, 128 * MIB);
    must_refuse("no page of RAM to start other cores");
    begin();
    map_line(USUAL, 0, 0x9f000);
    map_line(USUAL, MIB, 128 * MIB);
    map_line(NVS, END - PAGE_SIZE, END);
    must_refuse("kernel's place is not all RAM");
    begin();
    map_line(USUAL, 0, 0x9f000);
    map_line(USUAL, MIB, ROOT);
    must_refuse("module lies outside the RAM");
    begin();
    must_refuse("no memory map");
}

/* Root is the only module that the stub looks into. */
static void wrong_modules_are_refused(void **state)
{
    static const struct {
        uint64_t base;
        const char *name, *part;
    } rows[] = {
        {ROOT, "root", 0},
        {ROOT + 16, "root", "module is not page aligned"},
        {ROOT, "rook", "no boot module named root"},
        {INFO, "root", "named root is not a program image"},
    };
    (void)state;
    for (unsigned i = 0; i < COUNT(rows); i++) {
        begin();
        map_line(USUAL, 0, 0x9f000);
        map_line(USUAL, MIB, 128 * MIB);
        handover->module[0].base = rows[i].base;
        strcpy(handover->module[0].name, rows[i].name);
        if (rows[i].part)
            must_refuse(rows[i].part);
        else
            assert_true(read_handover());
    }
    for (unsigned more = 0; more < 2; more++) { /* as multiboot loaders give them, one by one */
        begin();
        map_line(USUAL, 0, 0x9f000);
        map_line(USUAL, MIB, 128 * MIB);
        for (unsigned i = 1; i < BOOT_MODULES; i++)
            handover->module[handover->modules++] = (struct uefi_module){ROOT, PAGE_SIZE, "f"};
        assert_true(read_handover());
        if (more && !setjmp(back))
            boot_module_add(ROOT, ROOT + PAGE_SIZE, "f", 1);
        assert_true(!more == !sentence);
    }
    assert_non_null(strstr(sentence, "too many boot modules"));
}

/* Multiboot2: the copy of ACPI 2.0's RSDP, else that of 1.0, in either order. */
static void rsdp_is_that_of_the_tags(void **state)
{
    static const struct {
        uint32_t tag[2], found; /* found: which, from 1; 0: none */
    } rows[] = {{{0, 0}, 0}, {{14, 0}, 1}, {{15, 0}, 1}, {{14, 15}, 2}, {{15, 14}, 1}};
    (void)state;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        memset(block, 0, 4096);
        uint32_t *words = (void *)block;
        words[0] = 8 + 2 * 48 + 8;
        for (unsigned t = 0; t < 2; t++) {
            words[2 + 12 * t] = rows[i].tag[t] ? rows[i].tag[t] : 99;
            words[3 + 12 * t] = 44;
        }
        words[2 + 24 + 1] = 8;
        boot_multiboot2(INFO);
        assert_int_equal(boot_info.rsdp,
                         rows[i].found ? INFO + 8 + 48 * (rows[i].found - 1) + 8 : 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_of_lines_are_few_ranges),
        cmocka_unit_test(pool_is_longer_where_the_plan_needs_it),
        cmocka_unit_test(too_many_lines_are_refused),
        cmocka_unit_test(page_for_cores_is_nobodys),
        cmocka_unit_test(what_has_no_room_is_refused),
        cmocka_unit_test(wrong_modules_are_refused),
        cmocka_unit_test(rsdp_is_that_of_the_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
