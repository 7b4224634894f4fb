/*
 * Kernel images of every kind, put into a guest's memory. File and memory are
 * blocks of just their size, so that the sanitizer sees every step beyond.
 */
#include "fuzz.h"
#include <stdlib.h>
#include <vmm/loaders/load.h>

#define BIG   0x400000u
#define SMALL 0x200000u

struct fake fake;
struct vcpu vcpus[PLAN_VCPUS];
static uint8_t *memory[2], *initrds;

void fuzz_begin(void)
{
    fake.config = calloc(1, sizeof *fake.config);
    memory[0] = calloc(1, SMALL);
    memory[1] = calloc(1, BIG);
    initrds = calloc(1, BIG);
}

static void check(uint64_t ram)
{
    const struct vm_config *c = config();
    fuzz_must(c->plan.kernel_type <= KERNEL_MULTIBOOT, "a kind that there is");
    fuzz_must(c->kernel.size >= 64, "more than nothing was loaded");
    fuzz_must(!boot.long_mode || (boot.cr3 < ram && boot.rip >= 0x100000),
              "a kernel that starts in long mode has page tables");
    fuzz_must(boot.rbx < ram && boot.rsi < ram, "what it is handed is in its memory");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    struct vm_config *c = fake.config;
    uint8_t how = feed_8(&f);
    uint8_t initrd_size = feed_8(&f);
    uint64_t file_size = f.left, ram = how & 1 ? BIG : SMALL,
             rest = (uint64_t)initrd_size << (how & 8 ? 14 : 4);
    uint8_t *file = malloc(file_size ? file_size : 1), *initrd = initrds + BIG - rest;
    feed_bytes(&f, file, file_size);
    memset(c, 0, sizeof *c);
    fake.ram = memory[how & 1];
    c->plan.memory = ram;
    c->plan.kernel_type = how >> 1 & 3;
    c->plan.sealed = c->load = how >> 4 & 1;
    c->tsc_hz = 2500000000;
    memset(c->plan.cmdline, how & 0x20 ? 'x' : 0, sizeof c->plan.cmdline);
    c->kernel = (struct vm_file){(uintptr_t)file, file_size};
    c->initrd = (struct vm_file){rest ? (uintptr_t)initrd : 0, rest};
    if (!load_guest())
        check(ram);
    free(file);
}
