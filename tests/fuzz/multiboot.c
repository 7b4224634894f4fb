/*
 * What a loader hands over, by multiboot 1 and 2 and from UEFI: the input is the block of
 * information. Physical memory elsewhere is not there. What the kernel gets of
 * it must be what abi/boot.h promises, or boot refuses it.
 */
#include "fuzz.h"
#include <boot/boot.h>
#include <abi/image.h>
#include <setjmp.h>
#include <stdlib.h>

#define INFO  0x100000u /* where the block is, physical */
#define SLACK 0x4000u   /* zeros behind it, where it does not say its size, or not the right one */
#define IMAGE 0x200000u /* the kernel */
#define BYTES 0x100000u
#define ROOT  0x400000u /* root's image, of a page: its header */

/* The linker's symbols: an image of a MiB. */
__asm__(".globl image_start, kernel_end; .set image_start, 0xffffffff80200000; .set kernel_end, "
        "0xffffffff80300000");

static uint8_t *block, *root;
static uint64_t input_size;
static jmp_buf refused;
struct boot_info boot_info;
uint8_t core_ap_page;

_Noreturn void boot_refuse(const char *sentence)
{
    (void)sentence;
    longjmp(refused, 1);
}

static const void *physical_at(uint64_t physical)
{
    if (physical == ROOT)
        return root;
    if (physical < INFO || physical - INFO >= input_size)
        longjmp(refused, 1);
    return block + (physical - INFO);
}

#define boot_at physical_at
#include "../../boot/memory.c"
#include "../../boot/module.c"
#define read_map read_map1
#include "../../boot/multiboot1.c"
#undef read_map
#define TAG_END TAG_LAST
#include "../../boot/multiboot2.c"
#include "../../boot/uefi.c"

void fuzz_begin(void) {}

void boot_set_screen(uint64_t base, uint32_t bits, uint32_t width, uint32_t height, uint32_t pitch)
{
    boot_info.screen = (struct boot_screen){base, bits / 8, width, height, pitch};
}

static bool apart(const struct boot_range *r, uint64_t base, uint64_t end)
{
    return r->base + r->size <= base || r->base >= end;
}

static void check_ranges(void)
{
    fuzz_must(core_ap_page && core_ap_page < LOW_END / PAGE_SIZE,
              "there is a page for the trampoline");
    fuzz_must(boot_info.ranges > 0 && boot_info.ranges <= BOOT_RANGES,
              "there are ranges, and not too many");
    for (uint32_t i = 0; i < boot_info.ranges; i++) {
        const struct boot_range *r = &boot_info.range[i];
        fuzz_must(r->size && r->base % PAGE_SIZE == 0 && r->size % PAGE_SIZE == 0 &&
                      r->kind <= RANGE_DEVICE,
                  "a range is whole pages");
        fuzz_must(r->base + r->size <= ADDRESS_END, "a range ends where addresses do");
        fuzz_must(!i || r[-1].base + r[-1].size <= r->base, "ranges are in order, and disjoint");
        fuzz_must(r->kind != RANGE_RAM || (r->base && apart(r, LOW_END, HIGH_START)),
                  "page 0 is no RAM, nor is what is below 1 MiB from 640 KiB on");
        fuzz_must(apart(r, IMAGE, IMAGE + BYTES), "the kernel's image is in no range");
        fuzz_must(apart(r, core_ap_page * PAGE_SIZE, (core_ap_page + 1) * PAGE_SIZE),
                  "the trampoline is in no range");
        fuzz_must(apart(r, LOCAL_APIC, LOCAL_APIC + PAGE_SIZE), "the local APIC is in no range");
    }
}

static void check_modules(void)
{
    fuzz_must(boot_info.modules <= BOOT_MODULES, "not too many modules");
    for (uint32_t i = 0; i < boot_info.modules; i++) {
        const struct boot_module *m = &boot_info.module[i];
        bool inside = !m->size;
        for (uint32_t n = 0; n < boot_info.ranges; n++) {
            const struct boot_range *r = &boot_info.range[n];
            inside |= r->kind == RANGE_RAM && m->base >= r->base && m->size <= r->size &&
                      m->base - r->base <= r->size - m->size;
        }
        fuzz_must(inside && m->base % PAGE_SIZE == 0,
                  "a module is whole pages of one range of RAM, or empty");
        fuzz_must(memchr(m->name, 0, sizeof m->name), "a name ends");
    }
    uint64_t pages = (uint64_t)boot_info.root_text + boot_info.root_rodata + boot_info.root_data;
    fuzz_must(boot_info.root_base && pages, "there is root");
    fuzz_must(boot_info.root_entry - IMAGE_BASE < (uint64_t)boot_info.root_text * PAGE_SIZE,
              "root begins in its own text");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    uint8_t how = feed_8(&f);
    bool second = how & 1, sized = second && !(how & 6);
    root = calloc(1, sizeof(struct image_header));
    feed_bytes(&f, root, sizeof(struct image_header));
    if (f.left < 8)
        f = (struct feed){(const uint8_t *)"\0\0\0\0\0\0\0", 8};
    input_size = f.left;
    block = calloc(1, input_size + (sized ? 0 : SLACK));
    feed_bytes(&f, block, input_size);
    uint32_t total = (uint32_t)input_size;
    if (sized) /* it knows its size: no more of memory is looked at */
        memcpy(block, &total, sizeof total);
    memset(&boot_info, 0, sizeof boot_info);
    lines = spans = 0;
    if (!setjmp(refused)) {
        if (how & 4)
            boot_uefi(INFO);
        else if (second)
            boot_multiboot2(INFO);
        else
            boot_multiboot1(INFO);
        boot_memory_finish();
        boot_module_finish();
        check_ranges();
        check_modules();
    }
    free(block);
    free(root);
}
